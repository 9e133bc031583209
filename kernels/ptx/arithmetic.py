"""What instructions compute, number by number, where NumPy has no function of that meaning."""

from collections.abc import Callable

import numpy as np

from .lanes import Value

TINY = np.finfo(np.float32).tiny  # the smallest normal number


# ----- float32 -----


def fma(a: Value, b: Value, c: Value) -> Value:
    """a b + c with one rounding. The product of two float32 is exact in float64; of the sum, see `odd_sum`.

    Rounding the sum to float64 and then to float32 goes wrong only if the first rounding lands halfway between two float32.
    Such a number is not 0 and ends in 28 zero bits: only if there is one are the sums rounded with more care.
    """
    if a.dtype != np.float32:
        return a * b + c  # rounded twice: float64 has no wider type to go to
    product, c = a.astype(np.float64) * b, c.astype(np.float64)
    total = product + c
    if ((total.view(np.int64) & 0xFFFFFFF == 0) & (total != 0)).any():
        total = odd_sum(product, c)
    return total.astype(np.float32)


def odd_sum(x: Value, y: Value) -> Value:
    """x + y in float64, rounded to odd: the neighbour with an odd last bit unless exact. Rounding that again is harmless.

    The rounding error of a sum is a float64 itself (Knuth's two-sum). Source: Boldo & Melquiond, IEEE Trans. Comp. 57, 2008.
    """
    total = x + y
    part = total - x
    error = (x - (total - part)) + (y - part)
    bits = total.view(np.int64)
    outward = np.where((error > 0) == (total > 0), 1, -1)
    inexact = (error != 0) & np.isfinite(total)
    return np.where(inexact & (bits & 1 == 0), bits + outward, bits).view(np.float64)


def down(total: Value) -> Value:
    near = total.astype(np.float32)
    return np.where(near > total, np.nextafter(near, np.float32(-np.inf)), near)


def towards_zero(total: Value) -> Value:
    near = total.astype(np.float32)
    return np.where(np.abs(near) > np.abs(total), np.nextafter(near, np.float32(0)), near)


def fused(rounded: Callable[[Value], Value]) -> Callable[[Value, Value, Value], Value]:
    """a b + c, rounded in one direction."""
    return lambda a, b, c: rounded(odd_sum(a.astype(np.float64) * b, c.astype(np.float64)))


def added(rounded: Callable[[Value], Value]) -> Callable[[Value, Value], Value]:
    """a + b, rounded in one direction."""
    return lambda a, b: rounded(odd_sum(a.astype(np.float64), b.astype(np.float64)))


def via_float64(function: Callable[[Value], Value]) -> Callable[[Value], Value]:
    """A function of float32 that a GPU approximates, here to its rounding."""
    return lambda x: function(x.astype(np.float64)).astype(x.dtype)


def flush(x: Value) -> Value:
    """Numbers too small to be normal become zero of the same sign."""
    return np.where(np.abs(x) < TINY, np.copysign(np.float32(0), x), x)


def saturate(x: Value) -> Value:
    """Into [0, 1]; NaN becomes 0."""
    return np.fmin(np.fmax(x, x.dtype.type(0)), x.dtype.type(1))


def maximum(a: Value, b: Value) -> Value:
    """Of a number and NaN the number; of 0 and -0 the 0."""
    if a.dtype.kind != "f":
        return np.maximum(a, b)
    return np.where(a == b, np.where(np.signbit(a), b, a), np.fmax(a, b))


def minimum(a: Value, b: Value) -> Value:
    """Of a number and NaN the number; of 0 and -0 the -0."""
    if a.dtype.kind != "f":
        return np.minimum(a, b)
    return np.where(a == b, np.where(np.signbit(a), a, b), np.fmin(a, b))


# ----- integers -----


def divide(a: Value, b: Value) -> Value:
    """Towards zero. By 0, which PTX leaves open: all bits set, as GPUs answer."""
    return np.where(b == 0, ~np.zeros_like(b), (a - np.fmod(a, b)) // b)


def remainder(a: Value, b: Value) -> Value:
    """With the sign of a. By 0, which PTX leaves open: all bits set."""
    return np.where(b == 0, ~np.zeros_like(b), np.fmod(a, b))


def high_half(a: Value, b: Value) -> Value:
    """The upper half of the bits of a product."""
    product = np.asarray(a, object) * np.asarray(b, object)  # Python's integers have no width
    return np.asarray(product >> 8 * a.dtype.itemsize, object).astype(a.dtype)


def shift_left(a: Value, by: Value) -> Value:
    """By its width or more: 0."""
    width = 8 * a.dtype.itemsize
    return np.where(by < width, a << np.minimum(by, width - 1).astype(a.dtype), a.dtype.type(0))


def shift_right(a: Value, by: Value) -> Value:
    """By its width or more: 0, or -1 for negative signed numbers."""
    width = 8 * a.dtype.itemsize
    shifted = a >> np.minimum(by, width - 1).astype(a.dtype)
    return shifted if a.dtype.kind == "i" else np.where(by < width, shifted, a.dtype.type(0))


def to_integer(x: Value, dtype: np.dtype) -> Value:
    """Of a float without fraction: the nearest there is in an integer type. NaN becomes 0, or where one of the two types has
    64 bits, only the highest bit is set."""
    limits, bits = np.iinfo(dtype), 8 * dtype.itemsize
    nothing = np.array((8 in (x.dtype.itemsize, dtype.itemsize)) << bits - 1, f"u{dtype.itemsize}").view(dtype)
    inside = (x > limits.min) & (x < limits.max)
    ends = np.where(x > 0, dtype.type(limits.max), dtype.type(limits.min))
    whole = np.where(inside, x, 0).astype(dtype)
    return np.where(np.isnan(x), nothing, np.where(inside, whole, ends))
