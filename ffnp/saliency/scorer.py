"""A trained net as one function of images: score(x), (B, I) in [0, 1] -> (B, C), the highest wins.

`ads`, `occlusion`, `curves` and `mu_fidelity` ask a net for nothing else, so any such function can stand in its place, one
that calls a torch module, say. `Scorer` is that function for a run of this project; its read-out says what a score is: the
goodness of a label, summed over layers, or a logit. Gradients, retraining and whatever takes a `Scorer` look inside.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from ..backend import load_backend
from ..errors import UserError
from ..kernels.contract import Array, Kernels
from ..net import Net
from ..rules import ForwardForward, MonoForward, Rule
from ..rules.rule import one_of, scores
from ..run import Run


class Score(Protocol):
    """Scores (B, C) of images x (B, I)."""

    def __call__(self, x: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Scorer:
    """The scores of a run by one of its read-outs, the main one by default.

    `layers`, from 1: those whose goodness (Forward-Forward) or logits (Mono-Forward) are added up, by default the read-out's.
    Rows that PEPITA normalises together are here taken one by one (`norm` "sample" for "batch"): a score then belongs to its
    image alone, and in ReLU layers without biases, where that only changes each row by a positive factor, classes stay.
    Raises UserError for a read-out or layers that the run does not have.
    """

    run: Run
    read_out: str = ""
    layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        names = list(self.rule.read_outs())
        object.__setattr__(self, "read_out", self.read_out or names[0])
        one_of("read-out", self.read_out, names)
        object.__setattr__(self, "layers", tuple(sorted(set(self.layers))) or self.own_layers())
        hidden = range(1, len(self.net.layers) + 1)
        if self.layers and (not self.own_layers() or not set(self.layers) <= set(hidden)):
            raise UserError(f"{self.run.preset.name} by {self.read_out} adds up no such layers as "
                            f"{', '.join(map(str, self.layers))}")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return scores(self.scored, self.k, self.net, self.k.put(self.run.prepared(x)))

    # ----- what it is made of -----

    @property
    def k(self) -> Kernels:
        """The kernels of the run's backend."""
        return load_backend(self.run.history["backend"])

    @property
    def net(self) -> Net:
        """The run's network."""
        return self.run.net

    @property
    def rule(self) -> Rule:
        """The run's rule, as it scores images one by one."""
        rule: Any = self.run.preset.rule
        return replace(rule, norm="sample") if getattr(rule, "norm", "") == "batch" else rule

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an image: (height, width[, channels])."""
        return tuple(self.run.history["shape"])

    @property
    def overlaid(self) -> int:
        """How many inputs, the first, a label is written over; what an image has there is never seen."""
        return self.net.classes if getattr(self.rule, "label", "") == "overlay" else 0

    def own_layers(self) -> tuple[int, ...]:
        """The layers that the read-out adds up, from 1; none where it does no such thing."""
        L = len(self.net.layers)
        if isinstance(self.rule, ForwardForward) and self.read_out == "goodness":
            return tuple(range(self.rule.goodness_from, L + 1))
        if isinstance(self.rule, MonoForward):
            return (L,) if self.read_out == "last" else tuple(range(1, L + 1))
        return ()

    def scored(self, k: Kernels, net: Net, x: Array) -> np.ndarray:
        """The read-out itself, of prepared images."""
        rule, counted = self.rule, [l - 1 for l in self.layers]
        if isinstance(rule, MonoForward):
            return rule.logits(k, net, x)[counted].sum(axis=0)
        if isinstance(rule, ForwardForward) and counted:
            return rule.goodness_table(k, net, x)[:, :, counted].sum(axis=2)
        return rule.read_outs()[self.read_out](k, net, x)


# ----- what is asked of the scores: the class of label y against the others -----


def margin(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    """s_y - max of the others: above 0 where y wins.  (B, C) (B,) -> (B,).

    >>> margin(np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]]), np.array([0, 2]))
    array([ 1., -4.])
    """
    return (scores * one_against(scores, y)).sum(axis=1)


def probability(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    """softmax(s)_y.  (B, C) (B,) -> (B,)."""
    P = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (P / P.sum(axis=1, keepdims=True))[np.arange(len(y)), y]


def right(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    """1 where y wins, else 0.  (B, C) (B,) -> (B,)."""
    return (scores.argmax(axis=1) == y).astype(float)


def one_against(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    """1 at y, -1 at the strongest other class: what `margin` weighs the scores with, (B, C)."""
    others = scores.copy()
    others[np.arange(len(y)), y] = -np.inf
    Y = np.eye(scores.shape[1], dtype=scores.dtype)
    return Y[y] - Y[others.argmax(axis=1)]


def one_against_all(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    """1 at y, minus 1 / C everywhere: the class against the mean of all, (B, C)."""
    C = scores.shape[1]
    return np.eye(C, dtype=scores.dtype)[y] - scores.dtype.type(1 / C)


# ----- images -----


def picture(shape: Sequence[int]) -> tuple[int, int, int]:
    """Height, width and channels of an image; rows that are no images are one line of pixels."""
    height, width, *channels = shape if len(shape) in (2, 3) else (1, int(np.prod(shape)))
    return height, width, channels[0] if channels else 1


def as_maps(values: np.ndarray, shape: Sequence[int], overlaid: int = 0) -> np.ndarray:
    """A number for each input (n, I) as maps (n, height, width): channels added up, NaN at pixels under a label."""
    maps = values.copy()
    maps[:, :overlaid] = np.nan
    return maps.reshape(len(values), *picture(shape)).sum(axis=3)
