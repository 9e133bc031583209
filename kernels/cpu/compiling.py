"""How Numba compiles the loops: what may be reordered, what becomes part of what, and that it is kept."""

import logging
from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core import event

FAST = {"reassoc", "contract", "arcp", "nsz"}  # additions may be reordered, so that sums vectorise; NaN and infinity stay


def compiled(function: Callable[..., Any], fastmath: Any = FAST, **options: Any) -> Any:
    """The function, compiled when it is first called; what has been compiled is kept on disk, if any folder can be written."""
    options |= {"fastmath": fastmath, "error_model": "numpy", "nogil": True}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # what Numba says where it finds no folder for its cache
        return njit(**options)(function)


def part(function: Callable[..., Any], fastmath: Any = FAST) -> Any:
    """A function that others call: it becomes part of each, or a process would have two of it, and which of them is called
    would depend on what was loaded first."""
    return compiled(function, fastmath, forceinline=True)


def exact(function: Callable[..., Any]) -> Any:
    """As `part`, for one that computes what is written, to the bit, so that it is the same in each: an update of weights."""
    return part(function, fastmath=False)


def parallel(function: Callable[..., Any]) -> Any:
    """As `compiled`, for a function that shares its work out among threads."""
    return compiled(function, parallel=True)


class Compiling(event.Listener):
    """Logs, once, that kernels are compiled, and where they are kept; of those that come from the disk it hears nothing."""

    said = False

    def on_start(self, what: Any) -> None:
        kernel = what.data["dispatcher"]
        if kernel.py_func.__module__.startswith(__package__) and not self.said:
            self.said, folder = True, kernel.stats.cache_path
            kept = f"once: they are kept in {folder}" if folder else "as no folder can keep them; NUMBA_CACHE_DIR names one"
            logging.getLogger(__name__).info("compiling kernels for this processor, %s", kept)

    def on_end(self, what: Any) -> None:
        pass


event.register("numba:compile", Compiling())
