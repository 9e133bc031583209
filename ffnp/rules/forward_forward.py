"""Supervised Forward-Forward (Hinton 2022, arXiv:2212.13345, section 3.3). How layers learn stands in `contrast`; here are

    label      the class is written into the input: the right one makes a positive, a wrong one a negative example
    first layer  what an image gives to it is the same whatever label is written in: x W = (image part) W + (a row of W for
               the label), and the norm of x is one factor a row. So all passes share one product, and all labels do in telling
               the class (`Shared`)
    read-outs  goodness: the label whose goodness, summed over layers, is highest.  softmax: one pass with a neutral label

Published codes differ in every choice; each is a field of `ForwardForward` or `Contrast`, and presets name them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import UserError
from ..kernels.contract import Array, Kernels
from ..net import Net
from ..optim import Signals
from .contrast import Answer, Contrast, first_layer
from .rule import Moment, ReadOut, chunks, dead_units, error, one_of, scores

# Whose labels make the negatives: name -> labels from (k, y, the head's logits, rng). The permuted ones are sometimes right.
NEGATIVES: dict[str, Callable[[Kernels, Array, Array, np.random.Generator], Array]] = {
    "hard": lambda k, y, z, rng: k.draw_wrong(z, y, rng.random(len(y))),
    "uniform": lambda k, y, z, rng: k.draw_wrong(k.put(np.zeros(z.shape, z.dtype)), y, rng.random(len(y))),
    "permuted": lambda k, y, z, rng: k.take(y, rng.permutation(len(y))),
    "permuted once": lambda k, y, z, rng: k.take(y, np.random.default_rng(0).permutation(len(y))),
}


class Shared(NamedTuple):
    """The first layer's product before a label is written in: `z (B, O)` of the images, whose sums of squares are
    `squares (B,)`, and what each label adds to it, `slots (C + 1, O)`; the last row is what the neutral slots add."""

    z: Array
    squares: Array
    slots: Array


@dataclass(frozen=True)
class ForwardForward(Contrast):
    """The choices beside those of `Contrast`. Raises UserError for one that does not exist or does not go with another.

    `label`: "overlay" on the first C inputs, or "append"; `strength` of the one-hot label, `neutral` in all C for none.
    `negatives`: a name of NEGATIVES. `schedule`: all layers in every batch ("joint"), or each to its end ("layerwise").
    `read_out`: the main one. `goodness_from`: the first layer (from 1) whose goodness counts in telling the class.

    >>> from ffnp.kernels import reference as k
    >>> rng, rule = np.random.default_rng(0), ForwardForward(negatives="uniform", softmax_from=None, goodness_from=1)
    >>> net = rule.init(rng, [6, 4, 3], "fan_in_normal", "zeros", "float64")  # the label lies over the first 3 of 6 inputs
    >>> signals, = rule.signals(k, net, rng.random((5, 6)), np.array([0, 1, 2, 0, 1]), rng)
    >>> [pair], = signals.layers.values()
    >>> pair.pre.shape, pair.post.shape  # 5 positive rows and 5 negative ones below them
    ((10, 6), (10, 4))
    """

    label: str = "overlay"
    strength: float = 1.0
    neutral: float = 0.1
    negatives: str = "hard"
    schedule: str = "joint"
    read_out: str = "goodness"
    goodness_from: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("label", self.label, ("overlay", "append"))
        one_of("negatives", self.negatives, tuple(NEGATIVES))
        one_of("schedule", self.schedule, ("joint", "layerwise"))
        one_of("read_out", self.read_out, ("goodness", "softmax") if self.softmax_from else ("goodness",))
        if self.negatives == "hard" and (self.schedule == "layerwise" or not self.softmax_from):
            raise UserError("hard negatives are drawn from a head trained jointly: they need softmax_from and schedule joint")

    def init(self, rng: np.random.Generator, sizes: Sequence[int], init: str, bias: str | None, dtype: str) -> Net:
        inputs, *hidden, classes = sizes
        if self.label == "overlay" and classes > inputs:
            raise UserError(f"a label of {classes} classes does not fit over {inputs} inputs: use label append")
        first_layer("goodness_from", self.goodness_from, len(hidden))
        received = inputs + classes * (self.label == "append")
        return self.network(rng, [received, *hidden, classes], init, bias, dtype)

    def stages(self, net: Net) -> int:
        return 1 if self.schedule == "joint" else len(net.layers) + (net.head is not None)

    # ----- learning -----

    def signals(
        self, k: Kernels, net: Net, x: Array, y: Array, rng: np.random.Generator, moment: Moment = Moment()
    ) -> Iterator[Signals]:
        stage, L, shared = moment.stage, len(net.layers), self.shared(k, net, x)
        logits, head, metrics = np.zeros((len(x), net.classes), x.dtype), None, {}
        if net.head and (self.schedule == "joint" or stage == L):
            keys, first = self.keys(rng, net), self.told(k, net, shared, None)
            passes = [(x, *first), *self.upward(k, net, first[0], keys)]
            head, logits, metrics["head_loss"] = self.head_signal(k, net, passes, y, keys)
        wrong = NEGATIVES[self.negatives](k, y, logits, rng)
        if self.negatives.startswith("permuted"):
            metrics["false_negatives"] = k.agreement(wrong, y)
        trained = range(L) if self.schedule == "joint" else range(stage, min(stage + 1, L))
        positive, negative = (self.labelled(k, x, labels, net) for labels in (y, wrong))
        h = k.vstack(*(self.told(k, net, shared, labels)[0] for labels in (y, wrong)))
        layers = self.contrast(k, net, positive, negative, trained, self.keys(rng, net), (h, k.sum_squares(h)))
        yield layers._replace(head=head, metrics=layers.metrics | metrics)

    def labelled(self, k: Kernels, x: Array, y: Array, net: Net) -> Array:
        """The images x (B, I) with the labels y (B,) written into them."""
        return self.written(k, x, k.one_hot(y, net.classes, self.strength, x))

    def unlabelled(self, k: Kernels, net: Net, x: Array) -> Array:
        return self.written(k, x, k.put(np.full((len(x), net.classes), self.neutral, x.dtype)))

    def written(self, k: Kernels, x: Array, Y: Array) -> Array:
        """The images x (B, I) with label slots Y (B, C)."""
        return k.overlay(x, Y) if self.label == "overlay" else k.hstack(x, Y)

    # ----- the first layer, whatever the label -----

    def shared(self, k: Kernels, net: Net, x: Array) -> Shared:
        """What all passes of images x (B, I) have in common."""
        W, C = net.layers[0].W, net.classes
        blank = self.written(k, x, k.put(np.zeros((len(x), C), x.dtype)))
        return Shared(k.dense(blank, W, None, "linear"), k.sum_squares(blank), self.slots(k, net))

    def slots(self, k: Kernels, net: Net) -> Array:
        """What each label adds to the first layer's product, and at last what none adds, (C + 1, O)."""
        W, C = net.layers[0].W, net.classes
        written = np.vstack([self.strength * np.eye(C), np.full((1, C), self.neutral)]).astype(W.dtype)
        own = W[:C] if self.label == "overlay" else W[len(W) - C :]
        return k.dense(k.put(written), own, None, "linear")

    def told(self, k: Kernels, net: Net, shared: Shared, labels: Array | None) -> Answer:
        """The first layer's answer to the images with these labels (B,), None: with the neutral one."""
        (W, b), C = net.layers[0], net.classes
        added = self.strength**2 if labels is not None else C * self.neutral**2  # to the square of an image's norm
        normed = self.norm_input and self.norm != "none"
        factor = k.inverse_norm(shared.squares, added, self.root(len(W)), self.tiny) if normed else None
        labels = k.put(np.full(len(shared.z), C)) if labels is None else labels
        return k.activate(shared.z, factor, shared.slots, labels, b, "relu")

    # ----- telling the class -----

    def goodness_table(self, k: Kernels, net: Net, x: Array) -> np.ndarray:
        """The goodness of every label in every layer, (B, C, L)."""
        return self.table(k, net, self.shared(k, net, x))

    def table(self, k: Kernels, net: Net, shared: Shared) -> np.ndarray:
        """The same from the first layer's product."""
        B, C = len(shared.z), net.classes
        table = np.empty((B, C, len(net.layers)), shared.z.dtype)
        for c in range(C):
            h, squares = self.told(k, net, shared, k.put(np.full(B, c)))
            answers = [(h, squares), *((h, squares) for _, h, squares in self.upward(k, net, h))]
            for l, (h, squares) in enumerate(answers):
                table[:, c, l] = self.share(h) * k.get(squares)
        return table

    def by_goodness(self, k: Kernels, net: Net, x: Array) -> np.ndarray:
        """Goodness of each label, summed over the counted layers, (B, C)."""
        return self.goodness_table(k, net, x)[:, :, self.goodness_from - 1 :].sum(axis=2)

    def read_outs(self) -> dict[str, ReadOut]:
        both = {"goodness": self.by_goodness} | ({"softmax": self.by_softmax} if self.softmax_from else {})
        return dict(sorted(both.items(), key=lambda item: item[0] != self.read_out))

    # ----- what happens inside -----

    def diagnose(self, k: Kernels, net: Net, x: Array, y: Array) -> dict[str, Any]:
        """Also per layer: error by its goodness alone, mean goodness of the right label and of the wrong ones."""
        table = np.concatenate([self.goodness_table(k, net, rows) for rows in chunks(x)])  # (n, C, L)
        labels = k.get(y)
        right = table[np.arange(len(labels)), labels]
        errors = {"goodness": error(table[:, :, self.goodness_from - 1 :].sum(axis=2), labels)}
        if self.softmax_from:
            errors["softmax"] = error(scores(self.by_softmax, k, net, x), labels)
        labelled = (self.labelled(k, rows, own, net) for rows, own in zip(chunks(x), chunks(y), strict=True))
        return {
            "error": errors,
            "layer_error": [error(table[:, :, l], labels) for l in range(len(net.layers))],
            "goodness_right": right.mean(axis=0).tolist(),
            "goodness_wrong": ((table.sum(axis=1) - right).mean(axis=0) / (net.classes - 1)).tolist(),
            "dead_units": dead_units(k, self.activities(k, net, labelled)),
        }
