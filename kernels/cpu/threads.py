"""How many threads the kernels work on: as many as the `threads` block says in which they are called, one outside of all.

There is one pool, Numba's; within the block BLAS works on one thread, so that it opens no second one. Two pools on the same
cores wait for each other, and products that are cut by us have the same bits from run to run.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

import numba
from threadpoolctl import threadpool_limits

_slabs = ContextVar("slabs", default=1)
_lock, _inside, _blas = threading.Lock(), 0, ExitStack()


def slabs() -> int:
    """Into how many parts a kernel cuts its work: the number of the innermost `threads` block of this Python thread."""
    return _slabs.get()


@contextmanager
def threads(n: int | None = None) -> Iterator[None]:
    """Within the block, in this Python thread, the kernels work on `n` threads (None: on all cores).

    Results depend on n, not on the machine: where there are fewer cores, they take turns.
    """
    n = n or cores()
    before, token = numba.get_num_threads(), _slabs.set(n)
    numba.set_num_threads(min(n, numba.config.NUMBA_NUM_THREADS))
    try:
        with one_blas_thread():
            yield
    finally:
        numba.set_num_threads(before)
        _slabs.reset(token)


def cores() -> int:
    """How many this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS's number of threads belongs to the whole process: who comes first limits it, who leaves last restores it."""
    global _inside
    with _lock:
        if not _inside:
            _blas.enter_context(threadpool_limits(1, user_api="blas"))
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _blas.close()
