"""How Numba compiles the loops: additions may be reordered, so that sums vectorise, but NaN and infinity stay what they are."""

from collections.abc import Callable
from typing import Any

from numba import njit

FAST = {"reassoc", "contract", "arcp", "nsz"}


def compiled(function: Callable[..., Any], parallel: bool = False) -> Any:
    """The function, compiled when it is first called; what has been compiled is kept on disk, if any folder can be written."""
    options = {"fastmath": FAST, "error_model": "numpy", "nogil": True, "parallel": parallel}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # what Numba says where it finds no folder for its cache
        return njit(**options)(function)


def parallel(function: Callable[..., Any]) -> Any:
    """As `compiled`, for a function that shares its work out among threads."""
    return compiled(function, parallel=True)
