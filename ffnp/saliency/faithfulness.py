"""Does a map name the pixels that the net looks at? Measures that change the image and ask the net again, without retraining.

    curves         p_t = softmax(s(x_t))_y, t = 0 .. T: the pixels of `start` take their values from `to` in decreasing order
                   of the map, of signed values, t / T of them in x_t; the measure is the area under p, by the trapezoid
    deletion       from x to a baseline: the pixels that matter first, so the lower the better  (RISE: Petsiuk et al. 2018,
    insertion      from a baseline to x: the higher the better                                   arXiv:1806.07421)
    pixel flipping from x to 1 - x: the lower the better  (Bach et al. 2015, doi:10.1371/journal.pone.0130140)
    mu-fidelity    corr_S(sum_{i in S} map_i, v(x) - v(x_S)) over random sets S of pixels, x_S = x with S at a baseline,
                   v = s_y - mean_c s_c: the higher the better  (Bhatt et al. 2020, arXiv:2005.00631, faithfulness)

Two baselines, as each hides something: of black pixels a black baseline takes nothing away, and what is blurred is still there
a little. All channels of a pixel move together; pixels where the map is NaN, under a label say, never move.
What is asked is what a pixel, as it is, does for the label. A gradient answers another question, what brightening it would do.
Forward-Forward's scores are sums of goodness, whose softmax is close to 0 or 1 for most images: its curves jump. So curves of
one net compare methods; those of two nets also differ by how sure the nets are.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ..errors import UserError
from ..rules.rule import CHUNK, at_least
from .controls import CONTROLS
from .methods import Saliency
from .rows import Row, row
from .scorer import Score, Scorer, one_against_all, picture, probability

STEPS, SUBSETS, SHARE = 10, 64, 0.2  # T of the curves; sets S of mu-fidelity, and the share of the pixels in each


# ----- curves -----


def curves(
    score: Score, y: np.ndarray, maps: np.ndarray, start: np.ndarray, to: np.ndarray, steps: int = STEPS, seed: int = 0
) -> np.ndarray:
    """The probability of the labels y (n,) on the way from images `start` to `to`, both (n, I).  -> (n, steps + 1).

    In each step an equal share of the image's pixels moves. Raises UserError for maps (n, height, width) of other images, and
    for less than 1 step.
    """
    at_least(1, steps=steps)
    channels = channels_of(maps, start)
    ranks, count = ranked(maps, np.random.default_rng(seed))
    found = np.empty((len(start), steps + 1))
    for rows in few(len(start), steps + 1):
        moved = ranks[rows] * steps < np.arange(steps + 1)[:, None, None] * count[rows, None]  # (steps + 1, rows, pixels)
        images = np.where(np.repeat(moved, channels, axis=2), to[rows], start[rows])
        found[rows] = asked(score, images, y[rows]).T
    return found


def ranked(maps: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The rank of every pixel, 0 the highest, NaN last, (n, pixels); and how many of an image's are not NaN, (n,).

    Equal pixels, a map's zeros say, come in random order: any fixed one, from the top left on, is a map of its own, and a
    method would be rewarded or punished for what it did not say.
    """
    flat = maps.reshape(len(maps), -1)
    order = np.lexsort((rng.random(flat.shape), -flat))
    return order.argsort(axis=1), (~np.isnan(flat)).sum(axis=1)


def asked(score: Score, images: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The probability of y (n,) for images (T, n, I); one that is no other than the one before it is not asked again."""
    new = np.ones(images.shape[:2], bool)
    new[1:] = (images[1:] != images[:-1]).any(axis=2)
    values = np.empty(new.shape)
    values[new] = probability(score(images[new]), np.broadcast_to(y, new.shape)[new])
    last = np.maximum.accumulate(np.where(new, np.arange(len(images))[:, None], 0), axis=0)
    return np.take_along_axis(values, last, axis=0)


def area(curves: np.ndarray) -> np.ndarray:
    """Under each curve (n, steps + 1), drawn over shares from 0 to 1, by the trapezoid.  -> (n,).

    >>> area(np.array([[1.0, 0.5, 0.0], [1.0, 1.0, 1.0]]))
    array([0.5, 1. ])
    """
    return (curves[:, :-1] + curves[:, 1:]).mean(axis=1) / 2


# ----- mu-fidelity -----


def mu_fidelity(
    score: Score, x: np.ndarray, y: np.ndarray, maps: np.ndarray, to: np.ndarray, subsets: int = SUBSETS, share: float = SHARE,
    seed: int = 0,
) -> np.ndarray:
    """The correlation of each image x (n, I) for its map (n, height, width), over random sets of `share` of its pixels.

    Maps of several methods (..., n, height, width) are held against the same sets, of pixels where none is NaN.  -> (..., n).
    NaN where it is not defined: for a constant map, or scores that no set changes. Scores, not probabilities: what is summed up
    over S is to be held against something that adds up, and a probability of 1 stays where it is whatever is taken away.
    Raises UserError for maps of other images, and unless 0 < share < 1.
    """
    at_least(1, subsets=subsets)
    if not 0 < share < 1:
        raise UserError(f"the share of pixels in a set must be above 0 and below 1, not {share}")
    channels, rng = channels_of(maps, x), np.random.default_rng(seed)
    values = maps.reshape(*maps.shape[:-2], -1).astype(float)  # (..., n, pixels)
    free = ~np.isnan(values).reshape(-1, *values.shape[-2:]).any(axis=0)
    # All sets of an image are of one size, so a constant less changes no correlation; a constant map becomes exactly 0.
    values -= values.max(axis=-1, where=free, initial=-np.inf, keepdims=True)
    before, sums, drops = advantage(score, x, y), [], []
    for _ in range(subsets):
        S = drawn(free, share, rng)
        drops.append(before - advantage(score, np.where(np.repeat(S, channels, axis=1), to, x), y))
        sums.append(values.sum(axis=-1, where=S))
    return pearson(np.stack(sums, axis=-1), np.stack(drops, axis=-1))


def drawn(free: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """For each image a random set of `share` of its free pixels, rounded down but not to none.  (n, pixels) -> the same."""
    size = np.maximum(1, (share * free.sum(axis=1)).astype(int))
    noise = np.where(free, rng.random(free.shape), np.inf)
    return free & (noise <= np.take_along_axis(np.sort(noise, axis=1), size[:, None] - 1, axis=1))


def advantage(score: Score, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """v = s_y - mean_c s_c, (n,)."""
    s = score(x).astype(float)
    return (one_against_all(s, y) * s).sum(axis=1)


def pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The correlation over the last axis, NaN where one of the two is constant."""
    a, b = (each - each[..., :1] for each in (a, b))  # exactly 0 if constant, which less a rounded mean it would not be
    a, b = (each - each.mean(axis=-1, keepdims=True) for each in (a, b))
    with np.errstate(invalid="ignore"):  # 0 / 0
        return (a * b).sum(axis=-1) / np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))


# ----- all of it -----


class Way(NamedTuple):
    """A curve's `start` and `to`, names of `grounds`, and whether "lower" or "higher" is better."""

    start: str
    to: str
    better: str


WAYS: dict[str, Way] = {
    "deletion (zero)": Way("image", "zero", "lower"),
    "deletion (blur)": Way("image", "blur", "lower"),
    "insertion (zero)": Way("zero", "image", "higher"),
    "insertion (blur)": Way("blur", "image", "higher"),
    "pixel flipping": Way("image", "flipped", "lower"),
}
BASELINES = ("zero", "blur")  # of mu-fidelity


def grounds(x: np.ndarray, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The images x (n, I) in [0, 1], and all that may stand in their place."""
    return {"image": x, "zero": np.zeros_like(x), "blur": blurred(x, shape), "flipped": 1 - x}


def blurred(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Each channel through a Gaussian, its deviation a fifth of each side, which leaves no more than a blot."""
    from scipy.ndimage import gaussian_filter

    height, width, channels = picture(shape)
    return gaussian_filter(x.reshape(-1, height, width, channels), (0, height / 5, width / 5, 0)).reshape(x.shape)


class Faithfulness(NamedTuple):
    """`rows` for `rows.table`; and the `curves` themselves, net -> name of WAYS -> method -> (n, steps + 1)."""

    rows: list[Row]
    curves: dict[str, dict[str, dict[str, np.ndarray]]]


def faithfulness(
    scorers: Mapping[str, Scorer], methods: Mapping[str, Mapping[str, Saliency]], x: np.ndarray, y: np.ndarray,
    steps: int = STEPS, subsets: int = SUBSETS, progress: str | None = None,
) -> Faithfulness:
    """Every measure of every method, and of all controls, on images x (n, I) in [0, 1] with labels y (n,).

    `methods`: for each net, by its name in `scorers`, the methods that it serves. `progress`: the words before a bar on stderr.
    It takes n (steps + 1) forward passes for each curve, at most, and n subsets for mu-fidelity with each baseline. A net of
    another kind can stand for a `Scorer` if it has `shape` and `overlaid` beside its scores, and its methods ask no more.
    """
    methods = {net: {**methods[net], **CONTROLS} for net in scorers}
    total, found = sum(map(len, methods.values())) * (len(WAYS) + len(BASELINES)), Faithfulness([], {})
    with tqdm(total=total, desc=progress, unit="row", leave=False, disable=True if progress is None else None) as bar:
        for net, score in scorers.items():
            maps = {name: method(score, x, y) for name, method in methods[net].items()}
            found.curves[net] = {way: {} for way in WAYS}
            for one, curve in curve_rows(net, score, x, y, maps, steps):
                found.curves[net][one.metric][one.method] = curve
                found.rows.append(one)
                bar.update()
            for one in mu_rows(net, score, x, y, maps, subsets):
                found.rows.append(one)
                bar.update()
    return found


def curve_rows(
    net: str, score: Scorer, x: np.ndarray, y: np.ndarray, maps: Mapping[str, np.ndarray], steps: int
) -> Iterator[tuple[Row, np.ndarray]]:
    """The rows of WAYS for every method, each with its curves."""
    ground = grounds(x, score.shape)
    for name, way in WAYS.items():
        for method, each in maps.items():
            found = curves(score, y, each, ground[way.start], ground[way.to], steps)
            yield row(net, method, name, area(found), way.better), found


def mu_rows(
    net: str, score: Scorer, x: np.ndarray, y: np.ndarray, maps: Mapping[str, np.ndarray], subsets: int
) -> Iterator[Row]:
    """The rows of mu-fidelity for every method, by either baseline."""
    ground = grounds(x, score.shape)
    for baseline in BASELINES:
        values = mu_fidelity(score, x, y, np.stack(list(maps.values())), ground[baseline], subsets)
        for method, each in zip(maps, values, strict=True):
            yield row(net, method, f"mu-fidelity ({baseline})", each, "higher")


# ----- images and maps -----


def channels_of(maps: np.ndarray, x: np.ndarray) -> int:
    """Of images x (n, I) that have maps (..., n, height, width). Raises UserError where these are not maps of these images."""
    *_, n, height, width = maps.shape
    if n != len(x) or x.shape[1] % (height * width):
        raise UserError(f"maps of shape {maps.shape} are not maps of images of shape {x.shape}")
    return x.shape[1] // (height * width)


def few(n: int, images: int) -> Iterator[slice]:
    """The rows from 0 to n, so many at a time that with that many `images` each they are about CHUNK."""
    size = max(1, CHUNK // images)
    return (slice(i, i + size) for i in range(0, n, size))
