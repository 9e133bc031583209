"""What the backend asks of a machine: to hold arrays and to launch kernels on them. `gpu` is a real one.

An array on a device has `.shape`, `.dtype`, `.size` and `len`; `a[i:j]` are its rows, and `a.reshape(...)` the same numbers
in another shape, both without a copy.
"""

from typing import Any, Protocol

import numpy as np

from ..contract import Array
from .table import Kernel


class Device(Protocol):
    """What `Cuda` computes on."""

    def put(self, a: np.ndarray) -> Array:
        """A copy of a host array."""

    def get(self, a: Array) -> np.ndarray:
        """A copy on the host."""

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        """An array of this shape, with anything in it."""

    def launch(self, kernel: Kernel, grid: tuple[int, ...], *args: Any) -> None:
        """Runs a grid of blocks of `kernel.block` threads each; returns perhaps before it is done."""
