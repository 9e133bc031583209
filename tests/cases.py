"""Arguments of every kernel at sizes of one's choice: just past a block or a tile, or as large as a net.

`strategies.ARGUMENTS` draws arguments that may be anything, but are small.
"""

from collections.abc import Callable
from math import ceil, inf
from typing import Any, NamedTuple

import numpy as np
from test_kernels import outcome
from tolerance import assert_agrees

from ffnp.kernels import reference
from ffnp.kernels.contract import Adam, Momentum, Pair
from ffnp.kernels.cuda.table import TABLE

EPS = float(np.finfo(np.float32).eps)


class Sizes(NamedTuple):
    """A size for each letter of the contract; I is even, for images of I / 2 by 2 numbers."""

    B: int
    I: int
    O: int
    C: int = 3


class Draw:
    """Numbers for these sizes, in float32 and always the same."""

    def __init__(self, n: Sizes) -> None:
        self.n, self.rng = n, np.random.default_rng(0)

    def real(self, letters: str, least: int = -60) -> np.ndarray:
        """-6.0, -5.9, ... 6.0: numbers that round, cancel and tie."""
        shape = [getattr(self.n, letter) for letter in letters]
        return (self.rng.integers(least, 61, shape) / 10).astype(np.float32)

    def bits(self, letters: str) -> np.ndarray:
        return (self.real(letters) > 0).astype(np.float32)

    def labels(self) -> np.ndarray:
        return self.rng.integers(0, self.n.C, self.n.B)

    def layer(self, least: int = -60) -> tuple[np.ndarray, np.ndarray]:
        return self.real("IO", least), self.real("O", least)

    def pairs(self) -> list[Pair]:
        """Two passes, and one row that is sent to all."""
        passes = [Pair(self.real("BI"), self.real("BO")) for _ in range(2)]
        return [*passes, Pair(self.real("BI"), self.real("O")[None])]


MOMENTUM = Momentum(0.9, 1.0, 0.1, decay=0.1, l2=0.1)
ADAM = Adam(0.9, 0.999, 0.1, 0.001, 1e-8, 0.1, decay=0.1, l2=0.1)
ARGUMENTS: dict[str, Callable[[Draw], tuple[Any, ...]]] = {
    "put": lambda d: (d.real("BI"),),
    "get": lambda d: (d.real("BI"),),
    "take": lambda d: (d.real("BI"), d.rng.integers(0, d.n.B, 2 * d.n.B)),
    "vstack": lambda d: (d.real("BI"), d.real("CI"), d.real("BI")),
    "hstack": lambda d: (d.real("BI"), d.real("BO"), d.real("BC")),
    "add": lambda d: (d.real("BI"), d.real("BI"), -2.5),
    "scale": lambda d: (d.real("BI"), 0.1),
    "rescale": lambda d: (d.real("BI"), d.real("IO"), 0.5, 0.25),
    "sign": lambda d: (d.real("BI"),),
    "blend": lambda d: (d.bits("BI"), d.real("BI"), d.real("BI")),
    "shift": lambda d: (d.real("BI"), np.resize([[2, -1], [-2, 1]], (d.n.B, 2)), (d.n.I // 2, 2)),
    "dense": lambda d: (d.real("BI"), d.real("IO"), d.real("O"), "tanh"),
    "dense_squares": lambda d: (d.real("BI"), d.real("IO"), d.real("O"), "relu"),
    "gate": lambda d: (d.real("BO"), d.real("BO"), "relu"),
    "project": lambda d: (d.real("BO"), d.real("IO")),
    "patch": lambda d: (d.real("BO"), d.real("BI"), d.real("BI"), d.real("IO"), d.rng.permutation(d.n.I)[: d.n.I // 2]),
    "activate": lambda d: (d.real("BO"), d.real("B"), d.real("CO"), d.labels(), d.real("O"), "relu"),
    "dropout": lambda d: (d.real("BO"), 0.5, 7),
    "one_hot": lambda d: (d.labels(), d.n.C, 0.5, d.real("BI")),
    "softmax": lambda d: (d.real("BC"),),
    "softmax_error": lambda d: (d.real("BC"), d.labels()),
    "draw_wrong": lambda d: (d.real("BC"), d.labels(), d.rng.random(d.n.B)),
    "agreement": lambda d: (d.labels(), d.labels()),
    "overlay": lambda d: (d.real("BI"), d.real("BC")),
    "normalise": lambda d: (d.real("BO"), d.n.O**0.5, 1e-8),
    "inverse_norm": lambda d: (d.real("B", least=0), 1.0, d.n.O**0.5, 1e-8),
    "normalise_batch": lambda d: (d.real("BO"),),
    "sum_squares": lambda d: (d.real("BO"),),
    "goodness_signal": lambda d: (d.real("BO"), d.real("B", least=0), d.bits("B"), d.real("B"), 0.25, 0.1),
    "peer_signal": lambda d: (d.real("O"), d.real("BO"), 0.9, 0.1),
    "gradient": lambda d: (d.layer(), d.pairs(), d.n.B),
    "momentum_step": lambda d: (d.layer(), d.layer(), d.pairs(), d.n.B, MOMENTUM),
    "adam_step": lambda d: (d.layer(), d.layer(), d.layer(least=1), d.pairs(), d.n.B, ADAM),
}


def arguments(kernel: str, n: Sizes) -> tuple[Any, ...]:
    return ARGUMENTS[kernel](Draw(n))


def assert_right(k: Any, kernel: str, n: Sizes) -> None:
    """The backend computes what the reference computes, at these sizes."""
    args = arguments(kernel, n)
    assert_agrees(kernel, outcome(k, kernel, args), outcome(reference, kernel, args), args)


# ----- products, by any kernel of the table -----

PRODUCTS = [name for name in TABLE if name.startswith("product_")]


def factors(rows: int, columns: int, depth: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, depth), dtype=np.float32), rng.standard_normal((depth, columns), dtype=np.float32)


def multiplication(k: Any, name: str, x: np.ndarray, y: np.ndarray) -> tuple[Callable[[], None], Any]:
    """What launches this kernel to multiply x and y where the backend `k` computes, and the array it will write."""
    form, tile = name.split("_")[1], int(name.split("_")[2])
    a, b = k.put(x.T if form == "tn" else x), k.put(y.T if form == "nt" else y)
    out, grid = k.device.empty((len(x), y.shape[1])), (ceil(y.shape[1] / tile), ceil(len(x) / tile))
    unwanted = k.device.empty((0, grid[0]))
    return lambda: k.device.launch(TABLE[name], grid, a, b, k.nothing, out, unwanted, 1.0, 0.0, -inf), out


def assert_product(out: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """x y, each number to within the roundings of its terms."""
    bound = len(y) * EPS * (np.abs(x) @ np.abs(y))
    assert (np.abs(out - x.astype(np.float64) @ y.astype(np.float64)) <= bound).all()
