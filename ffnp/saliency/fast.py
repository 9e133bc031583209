"""Covered images and their scores: the plain way, and the same numbers for less work.

1. An image that has nothing to cover under a window (on MNIST every second pair of image and 5x5 window) keeps its scores.
2. The first layer's product z = x W is known; under a window few inputs change: z' = z + (x' - x)_S W_S (kernel `patch`).
3. Forward-Forward asks for every label, and all labels share that product (see `ForwardForward.shared`).
"""

from collections.abc import Iterator

import numpy as np

from ..rules import ForwardForward
from ..rules.classifier import Classifier
from ..rules.forward_forward import Shared
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
        rule, net, k = self.score.rule, self.score.net, self.k
        if isinstance(rule, Classifier):
            return k.get(rule.forward(k, net, k.put(x), product=z).logits)
        assert isinstance(rule, ForwardForward)  # as `has_product` asked for
        shared = Shared(z, k.put((x * x).sum(axis=1)), rule.slots(k, net))
        return rule.table(k, net, shared)[:, :, [l - 1 for l in self.score.layers]].sum(axis=2)
