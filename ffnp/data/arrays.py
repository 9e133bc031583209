"""A data set in memory, made from a file or from the user's own arrays."""
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import DataError


class Dataset(NamedTuple):
    """Images as rows, labels as integers; every array is C-contiguous.

    `x_train (n, I)`, `x_test (m, I)`: float32, in [0, 1] for the named sets. `y_train (n,)`, `y_test (m,)`: int64, 0..C-1.
    `shape`: x.reshape(-1, *shape) are images that can be displayed. `classes`: the name of each label.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    name: str


def from_arrays(
    x_train: ArrayLike,
    y_train: ArrayLike,
    x_test: ArrayLike,
    y_test: ArrayLike,
    classes: Sequence[str] | None = None,
    name: str = "arrays",
) -> Dataset:
    """A Dataset from the user's own arrays.

    x (n, I), or images (n, height, width[, channels]), which are flattened; values are kept, so scale pixels first.
    y (n,) integers 0..C-1. Without `classes` the labels name themselves, and y_train must use each of them.
    DataError: ragged, empty or infinite arrays, x and y of different lengths, images of different shapes, other labels.

    >>> data = from_arrays(np.zeros((4, 2, 3)), [0, 1, 0, 1], np.ones((2, 2, 3)), [0, 1], classes=("dark", "light"))
    >>> data.x_train.shape, data.shape, data.classes
    ((4, 6), (2, 3), ('dark', 'light'))
    """
    images, test_images = _images(x_train, "x_train"), _images(x_test, "x_test")
    labels, test_labels = _labels(y_train, len(images), "y_train"), _labels(y_test, len(test_images), "y_test")
    shape = images.shape[1:]
    if test_images.shape[1:] != shape:
        raise DataError(f"x_test has images of shape {test_images.shape[1:]}, x_train has {shape}")
    names = tuple(classes) if classes is not None else _own_names(labels)
    for title, given in (("y_train", labels), ("y_test", test_labels)):
        if given.max() >= len(names):
            raise DataError(f"{title} has label {given.max()}, but there are only {len(names)} classes")
    rows, test_rows = images.reshape(len(images), -1), test_images.reshape(len(test_images), -1)
    return Dataset(rows, labels.astype(np.int64), test_rows, test_labels.astype(np.int64), shape, names, name)


def split(
    x: ArrayLike, y: ArrayLike, test_share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x_train, y_train, x_test, y_test: of each class, a random `test_share` of the rows, rounded, is for the test.

    x (n, ...), y (n,); the order of the rows is kept. Returns copies.
    DataError: a share outside (0, 1), x and y of different lengths, or nothing left on one side.

    >>> x, y = np.arange(10), np.repeat([0, 1], 5)
    >>> [len(part) for part in split(x, y, 0.2, np.random.default_rng(0))]
    [8, 8, 2, 2]
    """
    x, y = _array(x, "x"), _array(y, "y")
    if y.ndim != 1 or x.ndim == 0 or len(x) != len(y):
        raise DataError(f"x of shape {x.shape} needs one label a row, but y has shape {y.shape}")
    if not 0 < test_share < 1:
        raise DataError(f"test_share is {test_share}, but must lie between 0 and 1")
    test = np.zeros(len(y), bool)
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        test[rows[: round(test_share * len(rows))]] = True
    if test.all() or not test.any():
        raise DataError(f"test_share {test_share} of {len(y)} rows leaves nothing on one side of the split")
    return x[~test], y[~test], x[test], y[test]


def _array(values: ArrayLike, title: str) -> np.ndarray:
    """An array of real numbers."""
    try:
        array = np.asarray(values)
    except ValueError:  # rows of different lengths
        raise DataError(f"{title} is not a rectangular array") from None
    if array.dtype.kind not in "biuf":
        raise DataError(f"{title} holds {array.dtype} values, not real numbers")
    return array


def _images(values: ArrayLike, title: str) -> np.ndarray:
    array = _array(values, title)
    if array.ndim < 2 or array.size == 0:
        raise DataError(f"{title} has shape {array.shape}, but needs one row or image for each of at least one example")
    with np.errstate(over="ignore"):  # what overflows float32 is reported below
        array = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(array).all():
        raise DataError(f"{title} holds values that are not finite in float32")
    return array


def _labels(values: ArrayLike, count: int, title: str) -> np.ndarray:
    array = _array(values, title)
    if array.dtype.kind not in "iu":
        raise DataError(f"{title} holds {array.dtype} values, but labels are integers")
    if array.shape != (count,):
        raise DataError(f"{title} has shape {array.shape}, but {count} labels are needed: one for each image")
    if array.min() < 0:
        raise DataError(f"{title} has label {array.min()}, but labels start at 0")
    return array


def _own_names(labels: np.ndarray) -> tuple[str, ...]:
    """The labels as their own names. A gap is an error: labels that start at 1 are the usual mistake."""
    used = np.unique(labels)
    if used[-1] >= len(used):
        missing = int(np.argmax(used != np.arange(len(used))))
        raise DataError(f"y_train never uses label {missing}, but its highest is {used[-1]}; labels are 0..C-1")
    return tuple(map(str, used))
