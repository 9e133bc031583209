"""Covered images and their scores: the plain way, and the same numbers for less work.

1. An image that has nothing to cover under a window (on MNIST every second pair of image and 5x5 window) keeps its scores.
2. The first layer's product z = x W is known; under a window few inputs change: z' = z + (x' - x)_S W_S (kernel `patch`).
3. Forward-Forward asks for every label, and all labels share that product: each adds a row of W, and the norm of the input
   becomes one factor a row, as (x / r) W = (x W) / r (kernel `activate`). Further layers are normalised in the same way.
"""

from collections.abc import Iterator

import numpy as np

from ..kernels.contract import Array, Kernels
from ..net import Net
from ..rules import ForwardForward
from ..rules.classifier import Classifier
from ..rules.rule import CHUNK
from .scorer import Score, Scorer

ROWS = 2 * CHUNK  # a window changes about half of them
Covered = Iterator[tuple[int, int, np.ndarray, np.ndarray]]  # window, images it was held over, rows it changed, their scores


def covered(score: Score, x: np.ndarray, to: np.ndarray, columns: list[np.ndarray]) -> Covered:
    """For every window, given by the columns S it covers, the images x (n, I) with x_S replaced by to_S, and their scores.

    Rows that are left out have the scores of the image as it is.
    """
    return sparing(score, x, to, columns) if isinstance(score, Scorer) else plain(score, x, to, columns)


def plain(score: Score, x: np.ndarray, to: np.ndarray, columns: list[np.ndarray]) -> Covered:
    """Every image under every window."""
    for w, S in enumerate(columns):
        masked = x.copy()
        masked[:, S] = to[:, S]
        yield w, len(x), np.arange(len(x)), score(masked)


def sparing(score: Scorer, x: np.ndarray, to: np.ndarray, columns: list[np.ndarray]) -> Covered:
    """Only the images that a window changes, ROWS at a time, from their known products where the net allows it."""
    for start in range(0, len(x), ROWS):
        before, after = x[start : start + ROWS], to[start : start + ROWS]
        known = Product(score, before, after) if has_product(score) else None
        for w, S in enumerate(columns):
            rows = np.flatnonzero((before[:, S] != after[:, S]).any(axis=1))
            if not len(rows):
                scores = np.empty((0, score.net.classes))
            elif known:
                scores = known.scores(rows, S)
            else:
                _, _, _, scores = next(plain(score, before[rows], after[rows], [S]))
            yield w, len(before), start + rows, scores


def has_product(score: Scorer) -> bool:
    """Whether the net begins as `Product` takes it to; a rule with a forward pass of its own may not."""
    kind = type(score.rule)
    if issubclass(kind, ForwardForward):
        return score.read_out == "goodness" and kind.goodness_table is ForwardForward.goodness_table
    return issubclass(kind, Classifier) and kind.forward is Classifier.forward


class Product:
    """Images x (n, I) with the first layer's product z = x W (n, O), ready to have columns replaced by those of `to`."""

    def __init__(self, score: Scorer, x: np.ndarray, to: np.ndarray) -> None:
        self.score, self.k = score, score.k
        self.x, self.to = score.run.prepared(x).copy(), score.run.prepared(to).copy()
        self.x[:, : score.overlaid] = self.to[:, : score.overlaid] = 0  # a label will stand there
        self.W = score.net.layers[0].W[: x.shape[1]]  # without the rows of an appended label
        self.there = self.k.put(self.x), self.k.put(self.to)
        self.z = self.k.dense(self.there[0], self.W, None, "linear")

    def scores(self, rows: np.ndarray, S: np.ndarray) -> np.ndarray:
        """The scores (rows, C) of some images with the columns S replaced."""
        z, before, after = (self.k.take(a, rows) for a in (self.z, *self.there))
        z = self.k.patch(z, before, after, self.W, S)
        x = self.x[rows]
        x[:, S] = self.to[rows][:, S]
        lit = x.any(axis=1)
        if not lit.all():  # nothing is left: z is 0, not what rounding left of it, which a norm would blow up
            zero = self.k.put(np.zeros((1, z.shape[1]), z.dtype))
            z = self.k.take(self.k.vstack(z, zero), np.where(lit, np.arange(len(z)), len(z)))
        if isinstance(self.score.rule, Classifier):
            return logits(self.k, self.score.rule, self.score.net, z)
        return goodness(self.score, z, (x * x).sum(axis=1))


def logits(k: Kernels, rule: Classifier, net: Net, z: Array) -> np.ndarray:
    """(n, C), for products z (n, O) of the first layer."""
    (_, b), *later = net.layers
    f = [rule.activation] * len(later) + ["linear"]
    h, _ = k.activate(z, nothing(k, z), k.put(np.ones(len(z), z.dtype)), b, f[0])
    for layer, activation in zip(later, f[1:], strict=True):
        h = k.dense(rule.passed_on(k, h, None), *layer, activation)
    return k.get(h)


def goodness(score: Scorer, z: Array, squares: np.ndarray) -> np.ndarray:
    """Of every label, (n, C), for products z (n, O) of the images alone, and their sums of squares (n,)."""
    k, rule, ((W, b), *later) = score.k, score.rule, score.net.layers[: max(score.layers)]
    assert isinstance(rule, ForwardForward)  # as `has_product` asked for
    slots = k.get(W)[: score.net.classes] if rule.label == "overlay" else k.get(W)[-score.net.classes :]
    scale = factor(rule, squares + rule.strength**2, len(W)) if rule.norm_input else np.ones_like(squares)
    found = []
    for row in rule.strength * slots:
        h, own = k.activate(z, k.put(row), k.put(scale), b, "relu")
        goods = [rule.share(h) * k.get(own)]
        for W_l, b_l in later:
            z_l = k.dense(h, W_l, None, "linear")
            h, own = k.activate(z_l, nothing(k, z_l), k.put(factor(rule, k.get(own), len(W_l))), b_l, "relu")
            goods.append(rule.share(h) * k.get(own))
        found.append(sum(goods[l - 1] for l in score.layers))
    return np.stack(found, axis=1)


def factor(rule: ForwardForward, squares: np.ndarray, units: int) -> np.ndarray:
    """1 / the norm of rows with these sums of squares, (n,); see the kernel `normalise`."""
    if rule.norm == "none":
        return np.ones_like(squares)
    norm = np.sqrt(squares) / (units**0.5 if rule.norm == "rms" else 1.0) + rule.tiny
    return 1 / np.where(squares > 0, norm, np.ones_like(squares))


def nothing(k: Kernels, z: Array) -> Array:
    """A row that adds nothing to z (n, O)."""
    return k.put(np.zeros(z.shape[1], z.dtype))
