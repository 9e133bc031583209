"""Image data sets.

Two ship with the package, four are read from a folder or fetched, and your own arrays work as well:

    data = load("digits")                                    # offline
    data = load("mnist")                                     # from $FFNP_DATA or the cache folder; fetched if absent
    data = from_arrays(*split(x, y, 0.2, rng))               # your own
"""
from pathlib import Path

import numpy as np

from .arrays import Dataset, from_arrays, split
from .catalog import CATALOG, NAMES, Info, lookup
from .fetching import fetch, where
from .readers import READERS

__all__ = ["CATALOG", "NAMES", "Dataset", "Info", "fetch", "from_arrays", "load", "split", "where"]


def load(name: str, folder: Path | None = None) -> Dataset:
    """The data set `name`, one of NAMES; sets that are not embedded are fetched if they are absent.

    `folder` holds the sets, each in a folder of its name; by default $FFNP_DATA, or else the user's cache folder.
    DataError: an unknown name, a damaged file, or one that is absent and cannot be fetched.

    >>> data = load("digits")
    >>> data.x_train.shape, data.shape, data.classes[:3]
    ((1442, 64), (8, 8), ('0', '1', '2'))
    """
    info = lookup(name)
    home = where(name, folder) or fetch(name, folder)
    x_train, y_train, x_test, y_test = READERS[name](home, info)
    return Dataset(
        _rows(x_train, info.pixel_max), y_train.astype(np.int64),
        _rows(x_test, info.pixel_max), y_test.astype(np.int64),
        info.shape, info.classes, name,
    )


def _rows(images: np.ndarray, pixel_max: int) -> np.ndarray:
    """Images (n, ...) uint8 as rows (n, I) float32 in [0, 1]."""
    scaled: np.ndarray = np.divide(images, pixel_max, dtype=np.float32, order="C")
    return scaled.reshape(len(images), -1)
