"""Where arrays lie that stay, weights above all. A processor remembers where a few thousand pages of memory are. A matrix of
3 MB lies on 800 of 4 kB, and a product goes through all of them again for every few columns; so a large array is laid on
large pages, where the system has them to give."""

import mmap

import numpy as np

from ..contract import Array

HUGE = 2**21  # bytes of a large page, on x86-64 and on most ARM


def put(a: Array) -> Array:
    if a.nbytes < HUGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.array(a, order="C")
    memory = mmap.mmap(-1, a.nbytes + HUGE)
    memory.madvise(mmap.MADV_HUGEPAGE)
    start = -np.frombuffer(memory, np.uint8).ctypes.data % HUGE
    out = np.frombuffer(memory, a.dtype, a.size, start).reshape(a.shape)
    out[...] = a
    return out
