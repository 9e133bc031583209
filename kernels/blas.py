"""BLAS's own threads. Their number belongs to the whole process, so this is the one place that sets it."""

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from threadpoolctl import LibController, ThreadpoolController

_lock = threading.Lock()
_wanted: list[int] = []  # by the blocks that are open
_before: dict[str, int] = {}  # library -> its number outside of all blocks


@contextmanager
def blas_threads(n: int) -> Iterator[None]:
    """Within the block BLAS works on at most `n` threads, in the whole process: of all open blocks the least n holds.
    When the last one is left, in whatever order, each library works on as many as before."""
    settle(_wanted.append, n)
    try:
        yield
    finally:
        settle(_wanted.remove, n)


def settle(change: Callable[[int], None], n: int) -> None:
    """Changes what is wanted, and sets every library to it."""
    with _lock:
        change(n)
        for library in libraries(len(sys.modules)).lib_controllers:
            before = _before.setdefault(library.filepath, library.get_num_threads())
            free(library)
            library.set_num_threads(min(_wanted, default=before))
            free(library)
        if not _wanted:
            _before.clear()


def free(library: LibController) -> None:
    """Has it listen to any Python thread: from 3.8 on, threadpoolctl listens to the one that set it first."""
    if hasattr(library, "clear_controlling_thread"):
        library.clear_controlling_thread(force=True)


@functools.lru_cache(1)
def libraries(modules: int) -> ThreadpoolController:
    """The BLAS libraries of this process. A search takes milliseconds, so it is made anew only with more `modules` imported."""
    return ThreadpoolController().select(user_api="blas")
