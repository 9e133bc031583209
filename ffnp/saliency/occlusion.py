"""Occlusion: what changes when a window of the image is covered (Zeiler & Fergus 2014, arXiv:1311.2901).

    image     x' = x with the inputs under the window replaced by those of `to` (zeros)
    per image D_w = v(x) - v(x'),  v the margin s_y - max_c s_c
    ADS       D_w = accuracy of the images - accuracy of the covered images, over a set, or over the images of one class:
              Accuracy Differential Saliency (Bakhshi 2024, arXiv:2409.15365)
    map       a pixel has the mean D_w of the windows that cover it; NaN if none does, or if a label is written over it
    noise     of n images, b are right only without the window and c only with it: D_w = (b - c) / n. Were the window of no
              use, b of b + c would be a fair coin's count: McNemar's test (1947), in its exact, binomial form

The image is covered before any label is written into it. How this is fast stands in `fast`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ..errors import UserError
from .fast import covered
from .scorer import Score, margin, picture, right

Value = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (B, C) scores and (B,) labels -> (B,)


class Windows(NamedTuple):
    """All places of a window: the `columns` of the inputs it covers, and the `cover` (windows, height, width) of 0 and 1."""

    columns: list[np.ndarray]
    cover: np.ndarray

    def spread(self, drops: np.ndarray) -> np.ndarray:
        """A number for each window (..., windows) as a map (..., height, width): the mean of the windows on each pixel."""
        n, *size = self.cover.shape
        weights = self.cover.reshape(n, -1)
        with np.errstate(invalid="ignore"):  # 0 / 0 where no window comes
            return (drops @ (weights / weights.sum(axis=0))).reshape(*drops.shape[:-1], *size)


def windows(shape: Sequence[int], window: tuple[int, int], stride: tuple[int, int]) -> Windows:
    """The places of a window (height, width) that starts at 0, stride, 2 stride ... and stops at the far edge, cut off there.

    Raises UserError for a window that is empty or larger than the image, and for a stride below 1.
    """
    height, width, channels = picture(shape)
    if not (1 <= window[0] <= height and 1 <= window[1] <= width):
        raise UserError(f"a window of {window[0]}x{window[1]} pixels does not fit on an image of {height}x{width}")
    if min(stride) < 1:
        raise UserError(f"the stride must be at least 1 pixel, not {stride[0]}x{stride[1]}")
    inputs = np.arange(height * width * channels).reshape(height, width, channels)
    columns, cover = [], []
    for top in starts(height, window[0], stride[0]):
        for left in starts(width, window[1], stride[1]):
            place = np.zeros((height, width))
            place[top : top + window[0], left : left + window[1]] = 1
            columns.append(inputs[place > 0].ravel())
            cover.append(place)
    return Windows(columns, np.array(cover))


def starts(length: int, window: int, stride: int) -> range:
    """Where windows begin along a side, so that the last one reaches its end."""
    return range(0, min(length, length - window + stride), stride)


def drops(
    score: Score, x: np.ndarray, y: np.ndarray, places: Windows, value: Value = margin, to: np.ndarray | None = None,
    progress: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """v(x) of each image (n,), and what each window takes away from it (n, windows).

    `to` (n, I): what stands in the place of covered inputs, zeros by default. `progress`: the words before a bar on stderr.
    """
    to = np.zeros_like(x) if to is None else to
    before = value(score(x), y)
    after = np.repeat(before[:, None], len(places.columns), axis=1)
    bar = tqdm(total=after.size, desc=progress, unit="image", leave=False, disable=True if progress is None else None)
    with bar:
        for w, looked_at, rows, scores in covered(score, x, to, places.columns):
            after[rows, w] = value(scores, y[rows])
            bar.update(looked_at)
    return before, before[:, None] - after


def occlusion(
    score: Score, x: np.ndarray, y: np.ndarray, shape: Sequence[int], window: tuple[int, int] = (5, 5),
    stride: tuple[int, int] = (2, 2), overlaid: int = 0, to: np.ndarray | None = None, progress: str | None = None,
) -> np.ndarray:
    """Maps (n, height, width) of the drop of each image's margin, by goodness or by logits as the score has it.

    Images x (n, I) are of `shape`; `overlaid`: how many inputs, the first, a label is written over; for `to` see `drops`.
    Raises UserError as `windows`.

    >>> score = lambda x: np.stack([1 - x[:, 0], x[:, 0]], axis=1)  # class 1 where the first pixel is lit
    >>> occlusion(score, np.array([[1.0, 0.0, 1.0, 0.0]]), np.array([1]), (2, 2), window=(1, 1), stride=(1, 1))
    array([[[2., 0.],
            [0., 0.]]])
    """
    places = windows(shape, window, stride)
    _, dropped = drops(score, x, y, places, margin, to, progress)
    return blank_labels(places.spread(dropped), overlaid, shape)


class ADS(NamedTuple):
    """Accuracy Differential Saliency: `map` (height, width) of all images and `class_maps` (C, height, width), in shares of 1;
    the `p_values` of both; and McNemar's `counts` that they come from, b and c, (2, windows) and (C, 2, windows)."""

    accuracy: float
    map: np.ndarray
    class_maps: np.ndarray
    p_values: np.ndarray
    class_p_values: np.ndarray
    counts: np.ndarray
    class_counts: np.ndarray


def ads(
    score: Score, x: np.ndarray, y: np.ndarray, shape: Sequence[int], classes: int, window: tuple[int, int] = (5, 5),
    stride: tuple[int, int] = (2, 2), overlaid: int = 0, progress: str | None = None,
) -> ADS:
    """The maps of images x (n, I) of `shape` with labels y (n,); NaN for a class without images.

    `overlaid`: how many inputs, the first, a label is written over. A pixel's p-value is the least of the windows that cover
    it times their number (Bonferroni), NaN if there is none; that there are many pixels is left to the reader.
    Raises UserError as `windows`.

    >>> score = lambda x: np.stack([1 - x[:, 0], x[:, 0]], axis=1)  # class 1 where the first pixel is lit
    >>> x, y = np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]]), np.array([1, 0])
    >>> ads(score, x, y, (2, 2), classes=2, window=(1, 1), stride=(1, 1)).map  # covered, it costs one image of two
    array([[0.5, 0. ],
           [0. , 0. ]])
    """
    places = windows(shape, window, stride)
    before, dropped = drops(score, x, y, places, right, progress=progress)
    groups = [np.ones(len(y), bool), *(y == c for c in range(classes))]
    maps, p_values, counts = zip(*(of_group(dropped[rows], places) for rows in groups), strict=True)
    maps, p_values = (blank_labels(np.array(a), overlaid, shape) for a in (maps, p_values))
    return ADS(float(before.mean()), maps[0], maps[1:], p_values[0], p_values[1:], counts[0], np.array(counts[1:]))


def of_group(dropped: np.ndarray, places: Windows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Map, p-values and counts of images whose right answers (n, windows) became wrong, 1, wrong ones right, -1, or stayed."""
    counts = np.array([(dropped == 1).sum(axis=0), (dropped == -1).sum(axis=0)])
    mean = np.full(dropped.shape[1], np.nan) if not len(dropped) else (counts[0] - counts[1]) / len(dropped)
    p, number = np.where(places.cover > 0, mcnemar(*counts)[:, None, None], 1.0).min(axis=0), places.cover.sum(axis=0)
    return places.spread(mean), np.where(number > 0, np.minimum(number * p, 1.0), np.nan), counts


def mcnemar(b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The exact two-sided p-value of b against c discordant pairs: 2 P[Binomial(b + c, 1/2) <= min(b, c)], at most 1.

    >>> mcnemar(np.array([5, 3]), np.array([0, 3])).round(4)
    array([0.0625, 1.    ])
    """
    from scipy.stats import binom

    return np.minimum(1.0, 2 * binom.cdf(np.minimum(b, c), b + c, 0.5))


def blank_labels(maps: np.ndarray, overlaid: int, shape: Sequence[int]) -> np.ndarray:
    """The maps (..., height, width) with NaN at the pixels of which an input is under a label."""
    height, width, channels = picture(shape)
    under = (np.arange(height * width * channels) < overlaid).reshape(height, width, channels).any(axis=2)
    return np.where(under, np.nan, maps)
