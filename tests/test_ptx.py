"""The instructions for integers, bits and comparisons compute what the PTX manual says, against Python's exact integers."""

import math

import numpy as np
import pytest
from assembly import brief, compute, data, each_integer, name, wrapped
from hypothesis import given
from hypothesis import strategies as st
from words import floats, integers

from ffnp.kernels.ptx import program as language
from ffnp.kernels.ptx.machine import run


def wide(dtype):
    return np.dtype(f"{np.dtype(dtype).kind}{2 * np.dtype(dtype).itemsize}")


def test_the_example_in_the_docstring_doubles_an_array():
    text = language.__doc__[language.__doc__.index(".visible"):language.__doc__.index("Here every name")]
    before, after = (", ".join(f".param .u64 {what}{n}" for n in range(k)) for what, k in (("before", 4), ("after", 2)))
    x = np.arange(5, dtype=np.float32)
    run(language.parse(text.replace(".param .u64 array", f"{before}, .param .u64 array, {after}")), (1,), (5,), [x])
    np.testing.assert_array_equal(x, 2 * np.arange(5))


# ----- integers -----

EXACT = {  # of two integers and the width of their type
    "add": lambda a, b, width: a + b,
    "sub": lambda a, b, width: a - b,
    "mul.lo": lambda a, b, width: a * b,
    "mul.hi": lambda a, b, width: a * b >> width,
    "min": lambda a, b, width: min(a, b),
    "max": lambda a, b, width: max(a, b),
    "div": lambda a, b, width: -1 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1),
    "rem": lambda a, b, width: -1 if b == 0 else abs(a) % abs(b) * (-1 if a < 0 else 1),
}


@pytest.mark.parametrize("opcode", EXACT)
@each_integer
@brief
@given(data)
def test_integers_compute_exactly_and_wrap_around(opcode, dtype, data):
    kind, r = name(dtype)
    a, b = data.draw(integers(dtype)), data.draw(integers(dtype))
    expected = [EXACT[opcode](int(x), int(y), 8 * a.itemsize) for x, y in zip(a, b, strict=True)]
    answer = compute(f"{opcode}.{kind} %{r}0, %{r}1, %{r}2;", a, b, to=dtype)
    np.testing.assert_array_equal(answer, wrapped(expected, dtype))


@pytest.mark.parametrize("opcode", ["neg", "abs"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@brief
@given(data)
def test_negation_and_size_wrap_around_at_the_least_integer(opcode, dtype, data):
    kind, r = name(dtype)
    a = data.draw(integers(dtype))
    expected = [-int(x) if opcode == "neg" else abs(int(x)) for x in a]
    np.testing.assert_array_equal(compute(f"{opcode}.{kind} %{r}0, %{r}1;", a, to=dtype), wrapped(expected, dtype))


@each_integer
@brief
@given(data)
def test_a_product_and_sum_keeps_the_low_bits(dtype, data):
    kind, r = name(dtype)
    a, b, c = (data.draw(integers(dtype)) for _ in range(3))
    expected = [int(x) * int(y) + int(z) for x, y, z in zip(a, b, c, strict=True)]
    np.testing.assert_array_equal(
        compute(f"mad.lo.{kind} %{r}0, %{r}1, %{r}2, %{r}3;", a, b, c, to=dtype), wrapped(expected, dtype))


@pytest.mark.parametrize("dtype", [np.int32, np.uint32])
@brief
@given(data)
def test_a_wide_product_keeps_all_bits(dtype, data):
    kind = name(dtype)[0]
    a, b, c = data.draw(integers(dtype)), data.draw(integers(dtype)), data.draw(integers(wide(dtype)))
    product = [int(x) * int(y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_array_equal(
        compute(f"mul.wide.{kind} %rd0, %r1, %r2;", a, b, to=wide(dtype)), wrapped(product, wide(dtype)))
    total = [p + int(z) for p, z in zip(product, c, strict=True)]
    np.testing.assert_array_equal(
        compute(f"mad.wide.{kind} %rd0, %r1, %r2, %rd3;", a, b, c, to=wide(dtype)), wrapped(total, wide(dtype)))


@pytest.mark.parametrize("opcode", ["and", "or", "xor", "not"])
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64])
@brief
@given(data)
def test_bits_are_combined_one_by_one(opcode, dtype, data):
    r, bits = name(dtype)[1], 8 * np.dtype(dtype).itemsize
    a, b = data.draw(integers(dtype)), data.draw(integers(dtype))
    sources = f"%{r}1" if opcode == "not" else f"%{r}1, %{r}2"
    expected = ~a if opcode == "not" else getattr(np, f"bitwise_{opcode}")(a, b)
    np.testing.assert_array_equal(compute(f"{opcode}.b{bits} %{r}0, {sources};", a, b, to=dtype), expected)


@each_integer
@brief
@given(data)
def test_a_shift_by_the_width_or_more_leaves_only_the_sign(dtype, data):
    kind, r = name(dtype)
    bits = 8 * np.dtype(dtype).itemsize
    a = data.draw(integers(dtype))
    by = np.uint32(data.draw(st.permutations([0, 1, 5, 16, bits - 1, bits, bits + 1, 2**32 - 1])))
    left = [int(x) << min(int(n), bits) for x, n in zip(a, by, strict=True)]
    right = [int(x) >> min(int(n), bits) for x, n in zip(a, by, strict=True)]
    np.testing.assert_array_equal(compute(f"shl.b{bits} %{r}0, %{r}1, %r2;", a, by, to=dtype), wrapped(left, dtype))
    np.testing.assert_array_equal(compute(f"shr.{kind} %{r}0, %{r}1, %r2;", a, by, to=dtype), wrapped(right, dtype))


# ----- comparison and choice -----

HOLDS = {
    "eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "lt": lambda a, b: a < b, "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b,
}
CHOOSE = "selp.u32 %r0, 1, 0, %p1;"


@pytest.mark.parametrize("relation", HOLDS)
@each_integer
@brief
@given(data)
def test_integers_compare_by_their_sign(relation, dtype, data):
    kind, r = name(dtype)
    a, b = data.draw(integers(dtype)), data.draw(integers(dtype))
    answer = compute(f"setp.{relation}.{kind} %p1, %{r}1, %{r}2; {CHOOSE}", a, b, to=np.uint32)
    np.testing.assert_array_equal(answer, [HOLDS[relation](int(x), int(y)) for x, y in zip(a, b, strict=True)])


@pytest.mark.parametrize("relation", HOLDS)
@brief
@given(floats(), floats())
def test_with_nan_only_the_unordered_comparisons_hold(relation, a, b):
    for x, y in ((a, b), (a, a)):
        nan = [math.isnan(p) or math.isnan(q) for p, q in zip(x, y, strict=True)]
        holds = [HOLDS[relation](float(p), float(q)) for p, q in zip(x, y, strict=True)]
        ordered = compute(f"setp.{relation}.f32 %p1, %f1, %f2; {CHOOSE}", x, y, to=np.uint32)
        unordered = compute(f"setp.{relation}u.f32 %p1, %f1, %f2; {CHOOSE}", x, y, to=np.uint32)
        np.testing.assert_array_equal(ordered, np.logical_and(holds, np.logical_not(nan)))
        np.testing.assert_array_equal(unordered, np.logical_or(holds, nan))


@brief
@given(floats(), floats())
def test_nan_can_be_asked_for(a, b):
    nan = np.isnan(a) | np.isnan(b)
    np.testing.assert_array_equal(compute(f"setp.nan.f32 %p1, %f1, %f2; {CHOOSE}", a, b, to=np.uint32), nan)
    np.testing.assert_array_equal(compute(f"setp.num.f32 %p1, %f1, %f2; {CHOOSE}", a, b, to=np.uint32), ~nan)


@pytest.mark.parametrize(("opcode", "function"), [("and", np.logical_and), ("or", np.logical_or), ("xor", np.logical_xor)])
def test_predicates_combine(opcode, function):
    a, b = np.int32([0, 0, 1, 1]), np.int32([0, 1, 0, 1])
    test = f"setp.ne.s32 %p2, %r1, 0; setp.ne.s32 %p3, %r2, 0; {opcode}.pred %p4, %p2, %p3; not.pred %p1, %p4; {CHOOSE}"
    np.testing.assert_array_equal(compute(test, a, b, to=np.uint32), ~function(a, b))


def test_a_guard_decides_thread_by_thread_who_obeys():
    x = np.int32([-1, 1, -5, 0])
    text = "mov.s32 %r0, 7; setp.lt.s32 %p1, %r1, 0; @%p1 mov.s32 %r0, %r1; @!%p1 add.s32 %r0, %r0, %r1;"
    answer = compute(text, x, to=np.int32)
    np.testing.assert_array_equal(answer, [-1, 8, -5, 7])
