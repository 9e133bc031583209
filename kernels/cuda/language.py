"""The one import of the language that the kernels are written in: Numba's CUDA Python.

All kernels keep to a part of it that the compiler turns into plain float32 code: indices, bounds and strides are uint32
(signed ones cost a wrap-around test on every access and keep loads from being vectors), literals are float32 (a bare 0.1
makes double precision), and sums go through shared memory in a fixed order (the same bits every time).
"""

from numba import cuda, float32, int64, uint32, uint64, void

__all__ = ["cuda", "float32", "int64", "uint32", "uint64", "void"]
