"""Numbers at the edges of their type, which the interpreter's tests draw."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

Strategy = st.SearchStrategy[Any]


def integers(dtype: Any, count: int = 8) -> Strategy:
    """An array of an integer type; many of its numbers are 0, 1, -1, the least or the greatest."""
    limits = np.iinfo(dtype)
    edges = st.sampled_from(sorted({limits.min, max(limits.min, -1), 0, 1, 2, limits.max - 1, limits.max}))
    numbers = edges | st.integers(limits.min, limits.max)
    return st.lists(numbers, min_size=count, max_size=count).map(lambda n: np.array(n, dtype))


def floats(dtype: Any = np.float32, count: int = 8) -> Strategy:
    """An array of floats, NaN, infinities, subnormal numbers and both zeros among them."""
    return arrays(dtype, count, elements=st.floats(width=8 * np.dtype(dtype).itemsize, allow_nan=True))


@st.composite
def halfway(draw: st.DrawFn) -> list[np.ndarray]:
    """a, b, c in float32, a b + c being in the middle of two float32, or so close to it that float64 sees no difference."""
    exponent, sign = draw(st.sampled_from([-149, -148, -120, -1, 0, 40])), draw(st.sampled_from([1, -1]))
    c = np.ldexp(draw(st.integers(2**23, 2**24 - 1)), exponent)
    more, less = 1 + draw(st.integers(0, 3)) * 2.0**-23, 1 - draw(st.integers(0, 3)) * 2.0**-23
    half = (exponent - 1) // 2
    return [np.float32([n]) for n in (sign * np.ldexp(more, half), np.ldexp(less, exponent - 1 - half), c)]


def finite(count: int = 8) -> Strategy:
    """An array of finite float32 of moderate size."""
    return arrays(np.float32, count, elements=st.floats(-(2.0**60), 2.0**60, width=32))
