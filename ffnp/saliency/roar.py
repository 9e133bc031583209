"""ROAR: remove and retrain (Hooker et al. 2019, arXiv:1806.10758). Were the pixels that a map ranks first the ones needed?

    remove    the share t of each image's pixels that its map ranks highest, in training and test images alike, becomes the
              training images' mean of those pixels
    retrain   the same preset from new seeds, on the removed images; the test accuracy, lower is better

A net that was not retrained may fail because it never saw such images; this one did. Maps of all images explain the class that
the trained net predicts: the true label of a test image, in the shape of what is missing, would tell the net the answer. The
predicted one still tells some of it (Rong et al. 2022, arXiv:2202.00449), and blurred maps gain for no better reason than that
neighbours stand in for one another (arXiv:2304.13836): so a map counts only against the controls "random" and "blurred random".

A row costs `seeds` trainings, so all of it methods * shares * seeds, and maps of all training images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..data import Dataset
from ..errors import UserError
from ..rules.rule import chunks
from .faithfulness import ranked
from .methods import Saliency
from .randomisation import retrained
from .rows import Row, row
from .scorer import Scorer, picture, right

SHARES = (0.1, 0.3, 0.5)
SEEDS = 5


def roar(
    net: str, score: Scorer, methods: Mapping[str, Saliency], data: Dataset, shares: Sequence[float] = SHARES,
    seeds: int = SEEDS, progress: str | None = None,
) -> list[Row]:
    """Rows "ROAR, 30 %" for each method on the net called `net` and the `data` it learned from.

    Of each test image the share of seeds that are right on it counts; the interval is one over images, as of every row.
    The seeds follow the run's own. Raises UserError for a share outside [0, 1] or no seed at all.
    """
    if seeds < 1 or not all(0 <= share <= 1 for share in shares):
        raise UserError(f"ROAR needs at least 1 seed and shares from 0 to 1, not {seeds} and {', '.join(map(str, shares))}")
    rows: list[Row] = []
    total = len(methods) * len(shares) * seeds
    predicted = [(x, score(x).argmax(axis=1)) for x in (data.x_train, data.x_test)]
    for method, maps in methods.items():
        train_maps, test_maps = (maps(score, x, y) for x, y in predicted)
        for share in shares:
            metric, poorer = f"ROAR, {100 * share:.3g} %", removed(data, train_maps, test_maps, share)
            hits = []
            for seed in range(seeds):
                words = progress and f"{progress} {len(rows) * seeds + seed + 1}/{total}, {method}: {metric}"
                hits.append(hit(score, poorer, score.run.history["seed"] + 1 + seed, words))
            rows.append(row(net, method, metric, np.mean(hits, axis=0), "lower"))
    return rows


def hit(score: Scorer, data: Dataset, seed: int, progress: str | None) -> np.ndarray:
    """1 for each test image that the net, retrained on `data` from this seed, tells the class of by the scorer's read-out."""
    again = replace(score, run=retrained(score.run, data, seed, progress))
    return right(again(data.x_test), data.y_test)


def removed(data: Dataset, train_maps: np.ndarray, test_maps: np.ndarray, share: float) -> Dataset:
    """The data with the pixels that the maps (n, height, width) rank highest replaced by those of the mean training image."""
    mean = data.x_train.mean(axis=0, dtype=np.float64).astype(data.x_train.dtype)
    channels = picture(data.shape)[2]

    def without(x: np.ndarray, maps: np.ndarray) -> np.ndarray:
        return np.where(highest(maps, share).repeat(channels, axis=1), mean, x)
    return data._replace(x_train=without(data.x_train, train_maps), x_test=without(data.x_test, test_maps))


def highest(maps: np.ndarray, share: float) -> np.ndarray:
    """Where the highest `share` of each map's pixels stands, (n, pixels) of True and False; NaN, under a label, is no pixel."""
    rng, chosen = np.random.default_rng(0), []
    for few in chunks(maps):
        ranks, count = ranked(few, rng)
        chosen.append(ranks < np.round(share * count)[:, None])
    return np.concatenate(chosen)
