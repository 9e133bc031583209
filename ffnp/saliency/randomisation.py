"""Does a map show what the net has learned? Take that away, and see whether the map stays (Adebayo et al. 2018,
arXiv:1810.03292).

    parameters   MPRT: weights drawn anew, from the top layer down ("top 1", "top 2" ... "all"), and one layer alone
    data         the same net trained anew on labels that were dealt out at random: no other difference
    label        the map for y against the map for another class: does it explain a class, or only mark the image?

Two maps are as similar as their pixels' ranks: Spearman's correlation, 1 for a map that does not change at all, such as an edge
detector's. Lower is better, down to 0. Much below 0 stands a map that only turned its sign, which `absolute` values unmask; but
maps that are a product with the image stay alike by them, whatever the weights, as both are 0 where the image is black.
Rows are means over images, with their intervals; weights, labels and the permutation are drawn once. Images whose map is
constant, before or after, have no correlation and do not count; and maps that all images of a class share, as those of ADS, are
C maps and no more, so that their intervals are too narrow.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from ..backend import load_backend
from ..data import Dataset
from ..errors import UserError
from ..net import Dense, dense
from ..run import Run, begin
from ..training import train
from .methods import Saliency
from .rows import Row, row
from .scorer import Scorer

Others = Mapping[str, tuple[Scorer, np.ndarray]]  # metric -> the scorer and the labels of the maps to compare with

# ----- the three measures: a row for each method (and each way to draw weights) on the net called `net` -----


def parameter_randomisation(
    net: str, score: Scorer, methods: Mapping[str, Saliency], x: np.ndarray, y: np.ndarray, seed: int = 0,
    absolute: bool = False, progress: str | None = None,
) -> list[Row]:
    """Rows "MPRT, top 1" ... "MPRT, all", "MPRT, layer 1" ...: maps of images x (n, I) for labels y (n,) before and after.

    The weights are those of seed 1 + `seed` after the run's own, whose first weights the run may still resemble.
    """
    new = score.run.history["seed"] + 1 + seed
    drawn = {name: randomised(score.run, layers, new) for name, layers in redrawn(score).items()}
    others = {f"MPRT, {name}": (replace(score, run=run), y) for name, run in drawn.items()}
    return compared(net, score, methods, x, y, others, absolute, progress)


def data_randomisation(
    net: str, score: Scorer, methods: Mapping[str, Saliency], x: np.ndarray, y: np.ndarray, data: Dataset, seed: int = 0,
    absolute: bool = False, progress: str | None = None,
) -> list[Row]:
    """Rows "data randomisation": one more training, on the permuted labels of the `data` that the run learned from."""
    run = retrained_on_permuted_labels(score.run, data, seed, progress)
    return compared(net, score, methods, x, y, {"data randomisation": (replace(score, run=run), y)}, absolute, progress)


def label_randomisation(
    net: str, score: Scorer, methods: Mapping[str, Saliency], x: np.ndarray, y: np.ndarray, seed: int = 0,
    absolute: bool = False, progress: str | None = None,
) -> list[Row]:
    """Rows "random label": for each image any class but y, all alike likely."""
    C = score.net.classes
    wrong = (y + np.random.default_rng(seed).integers(1, C, size=len(y))) % C
    return compared(net, score, methods, x, y, {"random label": (score, wrong)}, absolute, progress)


def compared(
    net: str, score: Scorer, methods: Mapping[str, Saliency], x: np.ndarray, y: np.ndarray, others: Others,
    absolute: bool, progress: str | None,
) -> list[Row]:
    """The rows of each method's maps against its maps of the same images by other nets or for other labels."""
    rows, sort = [], ", absolute" if absolute else ""
    with tqdm(total=len(methods) * (1 + len(others)), desc=progress, unit="set of maps", leave=False,
              disable=True if progress is None else None) as bar:
        for method, maps in methods.items():
            before = maps(score, x, y)
            bar.update()
            for metric, (other, labels) in others.items():
                found = similarity(before, maps(other, x, labels), absolute)
                rows.append(row(net, method, metric + sort, found, "lower"))
                bar.update()
    return rows


def similarity(a: np.ndarray, b: np.ndarray, absolute: bool = False) -> np.ndarray:
    """Spearman's rank correlation of two sets of maps (n, height, width), image by image, or of their `absolute` values.

    Over the pixels that are NaN in neither; ties share their mean rank. NaN where a map is constant.  -> (n,)

    >>> maps = np.array([[[1.0, 2.0], [3.0, 7.0]]])
    >>> similarity(maps, maps**2).round(6), similarity(maps, -maps).round(6)
    (array([1.]), array([-1.]))
    """
    from scipy.stats import rankdata

    a, b = (np.abs(maps) if absolute else maps for maps in (a, b))
    a, b = (maps.reshape(len(maps), -1) for maps in (a, b))
    seen = ~(np.isnan(a) | np.isnan(b))
    middle = (seen.sum(axis=1, keepdims=True) + 1) / 2  # the mean of all ranks, with ties or without
    ranks = (rankdata(np.where(seen, maps, np.nan), axis=1, nan_policy="omit") for maps in (a, b))
    u, v = (np.where(seen, r - middle, 0.0) for r in ranks)
    with np.errstate(invalid="ignore"):  # 0 / 0: the ranks of a constant map are all the middle one
        return (u * v).sum(axis=1) / np.sqrt((u * u).sum(axis=1) * (v * v).sum(axis=1))


# ----- the nets to compare with -----


def redrawn(score: Scorer) -> dict[str, tuple[int, ...]]:
    """Which layers to draw anew, by name: from the highest that the score reads downwards, then each below it alone."""
    L = max(score.layers, default=len(score.net.layers))
    downwards = {"all" if first == 1 else f"top {L - first + 1}": tuple(range(first, L + 1)) for first in range(L, 0, -1)}
    return downwards | {f"layer {l}": (l,) for l in range(1, L)}


def randomised(run: Run, layers: Collection[int], seed: int) -> Run:
    """The run with these layers, from 1, as an untrained run of this seed has them.

    A softmax head goes with the highest layer. It starts learning from zeros, which make every map flat, so it is drawn here
    like a layer. Feedback matrices that learn (Mono-Forward's, mirrored ones) go with the layer they belong to; those that
    do not are no part of what was learned, and stay: a map made of PEPITA's fixed F alone must not pass.
    Raises UserError for a layer that is not there.
    """
    own, fresh, L = run.net, begin(run.preset, {**run.history, "seed": seed}).net, len(run.net.layers)
    if not set(layers) <= set(range(1, L + 1)):
        raise UserError(f"there are layers 1 to {L} to draw anew, not {', '.join(map(str, layers))}")
    net = own._replace(layers=drawn(own.layers, fresh.layers, layers, L))
    if run.preset.optimisers.feedback:
        net = net._replace(feedback=drawn(own.feedback, fresh.feedback, layers, L))
    if own.head and L in layers:
        (features, C), rng = own.head.W.shape, np.random.default_rng([seed, 1])
        head = dense(rng, features, C, run.preset.init, None, run.history["dtype"])
        net = net._replace(head=head._replace(W=load_backend(run.history["backend"]).put(head.W)))
    return run._replace(net=net)


def drawn(own: tuple[Dense, ...], fresh: tuple[Dense, ...], layers: Collection[int], L: int) -> tuple[Dense, ...]:
    """The fresh ones at `layers`, else the run's own; the last of them belongs to layer L."""
    pairs = zip(own, fresh, strict=True)
    return tuple(new if l in layers else old for l, (old, new) in enumerate(pairs, L - len(own) + 1))


def retrained_on_permuted_labels(run: Run, data: Dataset, seed: int, progress: str | None = None) -> Run:
    """A run like this one, from its own seed, that was told the training labels in another order, drawn from `seed`.

    It learns for as many epochs, so it need not know those labels by heart, as the nets of the paper do.
    """
    permuted = np.random.default_rng(seed).permutation(data.y_train)
    return retrained(run, data._replace(y_train=permuted), run.history["seed"], progress)


def retrained(run: Run, data: Dataset, seed: int, progress: str | None = None) -> Run:
    """The run's preset, as the run had it, trained on `data` from this seed. Nothing is written to a folder."""
    how = {name: run.history[name] for name in ("backend", "threads", "dtype")}
    return train(run.preset, data, seed=seed, progress=progress, **how)
