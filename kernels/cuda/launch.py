"""Launching kernels of `TABLE` on a device: how many blocks, and in which form the arrays."""

from math import ceil, inf
from typing import Any

import numpy as np

from ..contract import Array, Number
from .device import Device
from .table import TABLE


class Launcher:
    """What several kernels of the contract are made of. An empty grid is not launched."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.nothing = device.empty((0,))  # stands where an array is not wanted

    def launch(self, name: str, grid: tuple[int, ...], *args: Any) -> None:
        """Raises TypeError for an array of other dimensions than the kernel takes, and for one of the host: a card would read
        anything as the former, and bring the latter there and back."""
        kernel = TABLE[name]
        for arg, kind in zip(args, kernel.signature.args, strict=True):
            if isinstance(arg, np.ndarray) or len(getattr(arg, "shape", ())) != getattr(kind, "ndim", 0):
                raise TypeError(f"{name} takes {kind} on the device, not {type(arg).__name__} {getattr(arg, 'shape', arg)}")
        if all(grid):
            self.device.launch(kernel, grid, *args)

    def each(self, name: str, n: int, *args: Any) -> None:
        """One thread for each of n numbers."""
        self.launch(name, (ceil(counted(n) / TABLE[name].block[0]),), *args)

    def alike(self, name: str, a: Array, *args: Any) -> Array:
        """The answer of a kernel that takes `a` number by number: an array of its shape."""
        out = self.device.empty(a.shape)
        self.each(name, a.size, *(flat(arg) if getattr(arg, "shape", ()) else arg for arg in (a, *args, out)))
        return out

    def total(self, x: Array, factor: float) -> Number:
        """factor times the sum of all x: each block adds up its share, then one block what they found."""
        out = self.device.empty((shares(x.size),))
        self.launch("total", out.shape, flat(x), factor, out)
        return out if len(out) == 1 else self.total(out, 1.0)

    def column_sums(self, h: Array, factor: float, old: Array, beta: float, out: Array) -> Array:
        """out <- beta old + factor sum_B(h).  (B, O) (O,) -> (O,)."""
        self.launch("column_sums", (ceil(h.shape[1] / TABLE["column_sums"].block[0]),), h, factor, old, beta, out)
        return out

    def copy(self, a: Array, column: int, out: Array) -> None:
        """Writes a matrix into the columns of another from `column` on."""
        self.each("copy", a.size, a, column, out)

    def indices(self, wanted: np.ndarray, n: int) -> Array:
        """Integers below n, chosen on the host, on the device; as in NumPy, -1 is the last. Raises IndexError out of range."""
        outside = wanted[(wanted < -n) | (wanted >= n)]
        if len(outside):
            raise IndexError(f"index {outside[0]} is out of bounds for size {n}")
        return self.device.put(np.where(wanted < 0, wanted + n, wanted).astype(np.int64))

    # ----- products -----

    def product(self, form: str, a: Array, b: Array, out: Array, alpha: float = 1.0, beta: float = 0.0,
                bias: Array | None = None, floor: float = -inf, squares: bool = False) -> Array | None:
        """out <- max(alpha op(a) op(b) + beta out + bias, floor), see `products`; of each row the sum of squares, if wanted.

        Raises ValueError for more rows than a grid has room for.
        """
        rows, columns = out.shape
        tile = widest(rows, columns)
        grid = ceil(columns / tile), ceil(rows / tile)
        if grid[1] > 65535:
            raise ValueError(f"a product of {columns} columns may have up to {65535 * tile} rows on CUDA, not {rows}")
        parts = self.device.empty((rows if squares else 0, grid[0]))
        biases = self.nothing if bias is None else bias
        self.launch(f"product_{form}_{tile}", grid, a, b, biases, out, parts, alpha, beta, floor)
        if not squares:
            return None
        total = self.device.empty((rows,))
        self.each("add_up", rows, parts, total)
        return total


def flat(a: Array) -> Array:
    """The numbers of an array in one row, without a copy."""
    return a.reshape(a.size)


def counted(n: int) -> int:
    """n. Raises ValueError for more numbers than threads can count in uint32, their strides and whole blocks included."""
    if n > 2**31:
        raise ValueError(f"the CUDA backend takes arrays of up to 2^31 numbers, not {n}")
    return n


def shares(n: int) -> int:
    """How many blocks share out n numbers: one for each 1024, but 1024 at most."""
    return min(max(ceil(counted(n) / 1024), 1), 1024)


def widest(rows: int, columns: int) -> int:
    """The tile of a product: the wider, the less memory is read, but a card wants blocks for all of its multiprocessors.

    On an H100, which has 132 of them, a tile of 128 is the fastest from some 128 blocks on, one of 64 from 64 blocks on.
    """
    if min(rows, columns) <= 16:
        return 16
    fast = (tile for tile in (128, 64) if ceil(rows / tile) * ceil(columns / tile) >= tile)
    return next(fast, 16)
