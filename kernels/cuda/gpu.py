"""A graphics card: Numba writes the kernels' PTX, and NVIDIA's `cuda.core` does what has to be quick.

A step of a small net is some hundred kernels of a few microseconds each, so the time is spent by the host that launches
them. Memory comes from the driver's pool, in the order of the one stream that everything runs in: what Python no longer
holds is used again by the next kernel, and nobody waits.
"""

import functools
from ctypes import c_float
from math import prod
from typing import Any

import numpy as np
from cuda.bindings import driver
from cuda.core import Buffer, Device, LaunchConfig, Program, ProgramOptions, launch

from .compile import ptx
from .language import float32
from .table import Kernel


class Resident:
    """An array on a card, its numbers in the order of C from `address` on, in `memory`, which lives as long."""

    def __init__(self, memory: Buffer, address: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.memory, self.address, self.shape, self.dtype = memory, address, shape, dtype
        self.size = prod(shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> "Resident":
        start, stop, _ = rows.indices(len(self))
        row = prod(self.shape[1:]) * self.dtype.itemsize
        return Resident(self.memory, self.address + start * row, (max(stop - start, 0), *self.shape[1:]), self.dtype)

    def reshape(self, *shape: int) -> "Resident":
        return Resident(self.memory, self.address, shape, self.dtype)

    @functools.cached_property
    def described(self) -> tuple[int, ...]:
        """What Numba's kernels take for an array: two numbers of no use on a card, size, itemsize, address, shape, strides."""
        item = self.dtype.itemsize
        strides = (item * prod(self.shape[axis:]) for axis in range(1, len(self.shape) + 1))
        return 0, 0, self.size, item, self.address, *self.shape, *strides


class Gpu:
    """The first CUDA device; see `Device` in `device`. Each kernel is compiled for it when it is first launched."""

    def __init__(self) -> None:
        self.card = Device()
        self.card.set_current()
        self.stream = self.card.default_stream
        self.compiled: dict[str, Any] = {}

    def put(self, a: np.ndarray) -> Resident:
        a = np.ascontiguousarray(a)
        there = self.empty(a.shape, a.dtype)
        checked(*driver.cuMemcpyHtoD(there.address, a.ctypes.data, a.nbytes))
        return there

    def get(self, a: Resident) -> np.ndarray:
        here = np.empty(a.shape, a.dtype)
        self.card.set_current()
        checked(*driver.cuMemcpyDtoH(here.ctypes.data, a.address, here.nbytes))
        return here

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Resident:
        dtype = np.dtype(dtype)
        self.card.set_current()  # each thread has to say so, and every thread's work begins with an array
        memory = self.card.allocate(max(prod(shape) * dtype.itemsize, 1), stream=self.stream)
        return Resident(memory, int(memory.handle), shape, dtype)

    def launch(self, kernel: Kernel, grid: tuple[int, ...], *args: Any) -> None:
        if kernel.name not in self.compiled:
            self.compiled[kernel.name] = self.compile(kernel), kinds(kernel)
        code, own = self.compiled[kernel.name]
        launch(self.stream, sized(grid, kernel.block), code, *passed(args, own))

    def compile(self, kernel: Kernel) -> Any:
        cc = tuple(self.card.compute_capability)
        text = ptx(kernel, cc)
        name = text.partition(".entry ")[2].partition("(")[0]
        return Program(text, "ptx", ProgramOptions(arch="sm_{}{}".format(*cc))).compile("cubin").get_kernel(name)


def kinds(kernel: Kernel) -> list[Any]:
    """How `cuda.core` wants each argument: a float32 as such, an integer as it is, None: an array, as its description.

    An integer goes as 64 bits, of which the kernel reads as many as it has declared.
    """
    return [c_float if kind == float32 else None if hasattr(kind, "ndim") else int for kind in kernel.signature.args]


def passed(args: tuple[Any, ...], own: list[Any]) -> list[Any]:
    """The arguments one by one."""
    flat: list[Any] = []
    for arg, kind in zip(args, own, strict=True):
        if kind is None:
            flat += arg.described
        else:
            flat.append(kind(arg))
    return flat


@functools.cache
def sized(grid: tuple[int, ...], block: tuple[int, ...]) -> LaunchConfig:
    return LaunchConfig(grid=grid, block=block)


def checked(result: Any) -> None:
    """Raises RuntimeError with what the driver says unless all went well, this time and in the kernels before."""
    if result:
        raise RuntimeError(f"the CUDA driver says {result.name}")
