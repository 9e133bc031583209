"""What every learning rule offers, and the few helpers they share."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..errors import UserError
from ..kernels.contract import Array, Kernels
from ..net import Net
from ..optim import Signals

ReadOut = Callable[[Kernels, Net, Array], np.ndarray]
CHUNK = 1000  # rows per evaluation pass: bounds memory whatever the size of the data


class Moment(NamedTuple):
    """Where training stands: `epoch` from 1 within `stage`, from 0 (see `Rule.stages`)."""

    stage: int = 0
    epoch: int = 1


class Rule(Protocol):
    """A learning rule: settings as fields, and the functions below. None of them changes its arguments.

    >>> from ffnp.kernels import reference as k
    >>> from ffnp.rules import Backprop
    >>> rng, rule = np.random.default_rng(0), Backprop()
    >>> net = rule.init(rng, [3, 4, 2], "he_normal", "zeros", "float64")
    >>> signals, = rule.signals(k, net, rng.random((5, 3)), np.array([0, 1, 1, 0, 1]), rng)
    >>> {l: (pair.pre.shape, pair.post.shape) for l, (pair,) in sorted(signals.layers.items())}
    {0: ((5, 3), (5, 4)), 1: ((5, 4), (5, 2))}
    """

    def init(self, rng: np.random.Generator, sizes: Sequence[int], init: str, bias: str | None, dtype: str) -> Net:
        """A new network for `sizes` = inputs, hidden widths ..., classes, drawn as `net.stack` does.

        Raises UserError where they do not fit the rule, and for an initialiser that does not exist.
        """

    def stages(self, net: Net) -> int:
        """How many times over the rule wants all its epochs: 1, or one per layer if layers are trained in turn."""

    def signals(
        self, k: Kernels, net: Net, x: Array, y: Array, rng: np.random.Generator, moment: Moment = Moment()
    ) -> Iterator[Signals]:
        """The signals of one batch, x (B, I) and y (B,): once, or as often as the rule moves the weights within a batch.

        What is yielded is applied, in place, before the next is asked for.
        """

    def read_outs(self) -> dict[str, ReadOut]:
        """Ways to tell the class, the main one first: name -> scores (B, C) of x (B, I), highest wins."""

    def diagnose(self, k: Kernels, net: Net, x: Array, y: Array) -> dict[str, Any]:
        """Numbers for the history, of images x (n, I) with labels y (n,): `error` of each read-out, a share of 1, dead units,
        and what the rule has to tell of each layer."""


def one_of(name: str, value: object, allowed: Sequence[object]) -> None:
    """Raises UserError unless `value` is among `allowed`."""
    if value not in allowed:
        raise UserError(f"{name} must be one of {', '.join(map(str, allowed))}, not {value!r}")


def at_least(low: float, **values: float) -> None:
    """Raises UserError for a value below `low`, by its name."""
    for name, value in values.items():
        if not value >= low:
            raise UserError(f"{name} must be at least {low}, not {value}")


def proper_rate(name: str, value: float) -> None:
    """Raises UserError unless 0 <= value < 1."""
    if not 0 <= value < 1:
        raise UserError(f"{name} must be at least 0 and below 1, not {value}")


def chunks(x: Array) -> Iterator[Array]:
    """The rows of x, CHUNK at a time."""
    return (x[i : i + CHUNK] for i in range(0, len(x), CHUNK))


def scores(read_out: ReadOut, k: Kernels, net: Net, x: Array) -> np.ndarray:
    """The read-out's scores of all rows, (n, C)."""
    return np.concatenate([read_out(k, net, rows) for rows in chunks(x)])


def dead_units(k: Kernels, activities: Iterable[Sequence[Array]]) -> list[int]:
    """Per layer, the units that are silent on every row; for each chunk of rows, the activity (B, O) of all layers."""
    alive = [[(k.get(h) != 0).any(axis=0) for h in hs] for hs in activities]
    return [int(np.sum(~np.any(layer, axis=0))) for layer in zip(*alive, strict=True)]


def error(scores: np.ndarray, y: np.ndarray) -> float:
    """The share of rows whose highest score is not at y."""
    return float(np.mean(scores.argmax(axis=1) != y))
