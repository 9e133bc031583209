"""Numba's simulator as a device: each of a block's threads is one of the CPU's, and the kernels run as plain Python."""

from typing import Any

import numpy as np

from ffnp.kernels.contract import Array
from ffnp.kernels.cuda.language import cuda
from ffnp.kernels.cuda.table import Kernel


class Simulated:
    """See `Device`. It takes a process that numba was imported in with `NUMBA_ENABLE_CUDASIM=1`."""

    def put(self, a: np.ndarray) -> Array:
        return cuda.to_device(np.ascontiguousarray(a))

    def get(self, a: Array) -> np.ndarray:
        return a.copy_to_host()

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        return cuda.device_array(shape, dtype)

    def launch(self, kernel: Kernel, grid: tuple[int, ...], *args: Any) -> None:
        cuda.jit(kernel.function)[grid, kernel.block](*args)
