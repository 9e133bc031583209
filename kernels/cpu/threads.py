"""How many threads the kernels work on: as many as the `threads` block says in which they are called, one outside of all.

There is one pool, Numba's; within the block BLAS works on one thread, so that it opens no second one. Two pools on the same
cores wait for each other, and products that are cut by us have the same bits from run to run.
"""

import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import numba
from numba.np.ufunc.parallel import get_thread_count

from ..blas import blas_threads

SMALL = 2**21  # multiply-adds, of 20 us: to share less is not worth it


class Here(threading.local):
    """What holds in this Python thread."""

    slabs = 1


here, _starting = Here(), threading.Lock()


@contextmanager
def threads(n: int | None = None) -> Iterator[None]:
    """Within the block, in this Python thread, the kernels work on `n` threads (None: on all cores).

    Results depend on n, not on the machine: where there are fewer cores, the threads take turns.
    """
    before, here.slabs = here.slabs, n or cores()
    try:
        with blas_threads(1):
            yield
    finally:
        here.slabs = before


def slabs() -> int:
    """Into how many parts a kernel cuts its work: the number of the innermost `threads` block of this Python thread."""
    return here.slabs


def share(work: int, slab: Callable[..., Any], all_at_once: Callable[..., Any], *arguments: Any) -> None:
    """slab(s, n, *arguments) for s = 0 ... n - 1, n = slabs(): in turn, or where there is enough `work`, in multiply-adds,
    `all_at_once`(n, *arguments). In a process that was forked off, only in turn: the pool's threads have not come along."""
    n = here.slabs
    team = pool() if n > 1 and work >= SMALL else None
    if team and team.process == os.getpid():
        with team.turn, working(min(n, get_thread_count())):
            all_at_once(n, *arguments)
    else:
        for s in range(n):
            slab(s, n, *arguments)


class Pool(NamedTuple):
    """Numba's threads: the process in which they live, and what to hold while they work."""

    process: int
    turn: AbstractContextManager[Any]


def pool() -> Pool:
    """Numba's pool, started. Of its kinds, the one named workqueue ends the process when two Python threads call it at once."""
    with _starting:
        return started()


@functools.cache
def started() -> Pool:
    with spinning_briefly():
        numba.get_num_threads()
    return Pool(os.getpid(), threading.Lock() if numba.threading_layer() == "workqueue" else nullcontext())


@contextmanager
def spinning_briefly() -> Iterator[None]:
    """GNU's OpenMP, if it is loaded within the block, lets a thread that waits spin for less than 1 ms, unless the user says
    how long. It would choose several; on cores that others use too, a thread that spins takes its time from the one it waits
    for."""
    ours = {} if {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys() else {"GOMP_SPINCOUNT": "30000"}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]


@contextmanager
def working(n: int) -> Iterator[None]:
    """Within the block n threads of the pool serve this Python thread."""
    before = numba.get_num_threads()
    if n == before:  # as it mostly is; to say so takes as long as a small product
        yield
        return
    numba.set_num_threads(n)
    try:
        yield
    finally:
        numba.set_num_threads(before)


def cores() -> int:
    """How many this process may run on."""
    if hasattr(os, "process_cpu_count"):  # since Python 3.13
        return os.process_cpu_count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
