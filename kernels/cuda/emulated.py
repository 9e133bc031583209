"""A device without a device: the kernels are compiled to PTX all the same, and an interpreter runs it on the CPU.

It is as strict as it is slow. An access outside an array, a race, a barrier that not all threads reach, an unknown
instruction: each ends in `ffnp.kernels.ptx.machine.Fault` with the line that did it.
"""

import functools
from typing import Any

import numpy as np

from ..ptx.machine import run
from ..ptx.program import Program, parse
from .compile import ptx
from .table import Kernel


class Resident:
    """An array where no host code can reach it: only a kernel, or `Emulated.get`, reads its numbers."""

    def __init__(self, memory: np.ndarray) -> None:
        self.memory = memory
        self.shape, self.dtype, self.size = memory.shape, memory.dtype, memory.size

    def __len__(self) -> int:
        return len(self.memory)

    def __getitem__(self, rows: slice) -> "Resident":
        if not isinstance(rows, slice):
            raise TypeError(f"of an array on a device only rows [i:j] can be taken, not {rows!r}")
        return Resident(self.memory[rows])

    def reshape(self, *shape: int) -> "Resident":
        return Resident(self.memory.reshape(*shape))


class Emulated:
    """See `Device`. Fresh memory is filled with NaN, so that what is read before it is written shows."""

    def put(self, a: np.ndarray) -> Resident:
        return Resident(np.array(a, order="C"))

    def get(self, a: Resident) -> np.ndarray:
        return a.memory.copy()

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Resident:
        memory = np.empty(shape, dtype)
        memory.reshape(-1).view(np.uint8)[:] = 0xFF
        return Resident(memory)

    def launch(self, kernel: Kernel, grid: tuple[int, ...], *args: Any) -> None:
        run(program(kernel), grid, kernel.block, [a.memory if isinstance(a, Resident) else a for a in args])


@functools.cache
def program(kernel: Kernel) -> Program:
    return parse(ptx(kernel, lineinfo=True))
