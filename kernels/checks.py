"""What a host backend refuses: arrays that the contract does not admit."""

from collections.abc import Callable, Sequence

import numpy as np

from .contract import Array, Layer, Pair

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def check(*arrays: Array | None) -> None:
    """Raises ValueError unless all arrays are C-contiguous and of one dtype, float32 or float64. A None is left out."""
    given = [a for a in arrays if a is not None]
    for a in given:
        if a.dtype not in FLOATS or a.dtype != given[0].dtype or not a.flags.c_contiguous:
            raise ValueError(f"a kernel takes C-contiguous arrays of one dtype, float32 or float64, not {a.dtype} "
                             f"{a.shape} with strides {a.strides}")


def check_shape(shape: tuple[int, ...], *arrays: Array | None) -> None:
    """Raises ValueError unless all arrays have this shape. A None is left out."""
    for a in arrays:
        if a is not None and a.shape != shape:
            raise ValueError(f"an array of shape {a.shape} stands where {shape} fits")


def check_step(layers: Sequence[Layer], pairs: list[Pair], check: Callable[..., None] = check) -> None:
    """Raises ValueError unless the layers, one and its memory, look alike and every pair fits them; each passes `check`."""
    W = layers[0][0]
    for w, b in layers:
        check(W, w, b)
        check_shape(W.shape, w)
        check_shape(W.shape[1:], b)
    for pre, post in pairs:
        check(W, pre, post)
        check_shape((len(pre), len(W)), pre)
        check_shape((1 if len(post) == 1 else len(pre), W.shape[1]), post)


def check_activate(z: Array, factor: Array | None, rows: Array | None, labels: Array | None, b: Array | None) -> None:
    """Raises ValueError unless these fit the kernel `activate`, IndexError for a label that has no row."""
    check(z, factor, rows, b)
    check_shape(z.shape[:1], factor, labels)
    check_shape(z.shape[1:], b)
    if (rows is None) != (labels is None):
        raise ValueError("rows and labels come together or not at all")
    if rows is not None and labels is not None:
        check_shape((len(rows), z.shape[1]), rows)
        check_labels(labels, len(rows))


def check_labels(labels: Array, n: int) -> None:
    """Raises IndexError for a label that is none of 0 ... n - 1."""
    if len(labels) and not (labels.min() >= 0 and labels.max() < n):
        raise IndexError(f"labels from {labels.min()} to {labels.max()} do not all stand in {n} rows")
