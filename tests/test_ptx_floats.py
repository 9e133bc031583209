"""The instructions for floats and conversions compute what the PTX manual says, against exact fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
from assembly import INTEGERS, brief, compute, data, each_integer, name, wrapped
from hypothesis import assume, given, settings
from words import finite, floats, halfway, integers

from ffnp.kernels.ptx.program import Fault

# ----- floats -----


@pytest.mark.parametrize(("opcode", "function"), [
    ("add", np.add), ("add.rn", np.add), ("sub", np.subtract), ("sub.rn", np.subtract), ("mul", np.multiply),
    ("mul.rn", np.multiply), ("div.rn", np.divide), ("div.approx", np.divide), ("min", np.fmin), ("max", np.fmax),
    ("copysign", lambda sign, size: np.copysign(size, sign)),
])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@brief
@given(data)
def test_two_floats_compute_as_in_numpy(opcode, function, dtype, data):
    kind, f = name(dtype)
    a, b = data.draw(floats(dtype)), data.draw(floats(dtype))
    with np.errstate(all="ignore"):
        expected = function(a, b)
    np.testing.assert_array_equal(compute(f"{opcode}.{kind} %{f}0, %{f}1, %{f}2;", a, b, to=dtype), expected)


@pytest.mark.parametrize(("opcode", "function"), [
    ("neg", np.negative), ("abs", np.abs), ("sqrt.rn", np.sqrt), ("sqrt.approx", np.sqrt), ("rcp.rn", lambda x: 1 / x),
    ("rsqrt.approx", lambda x: 1 / np.sqrt(x)), ("ex2.approx", np.exp2), ("lg2.approx", np.log2), ("tanh.approx", np.tanh),
    ("sin.approx", np.sin), ("cos.approx", np.cos),
])
@brief
@given(floats())
def test_a_function_of_one_float_is_right_to_its_rounding(opcode, function, x):
    with np.errstate(all="ignore"):
        expected = function(x.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(compute(f"{opcode}.f32 %f0, %f1;", x, to=np.float32), expected)


def test_of_two_zeros_the_greater_is_plus_and_the_less_is_minus():
    a, b = np.float32([0.0, -0.0]), np.float32([-0.0, 0.0])
    assert not np.signbit(compute("max.f32 %f0, %f1, %f2;", a, b, to=np.float32)).any()
    assert np.signbit(compute("min.f32 %f0, %f1, %f2;", a, b, to=np.float32)).all()


def rounded(exact: Fraction, mode: str) -> float:
    """The float32 that an exact number rounds to: rn nearest, ties to even; rm down; rz towards zero."""
    near = np.float32(float(exact))
    around = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    if mode == "rn":
        return min(around, key=lambda f: (abs(Fraction(float(f)) - exact), int(f.view(np.uint32)) & 1))
    below = mode == "rm" or exact > 0
    side = [f for f in around if (Fraction(float(f)) <= exact if below else Fraction(float(f)) >= exact)]
    return max(side) if below else min(side)


def assert_fused(mode, a, b, c):
    exact = [Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)) for x, y, z in zip(a, b, c, strict=True)]
    assume(all(abs(e) < 2.0**127 for e in exact))
    answer = compute(f"fma.{mode}.f32 %f0, %f1, %f2, %f3;", a, b, c, to=np.float32)
    np.testing.assert_array_equal(answer, [rounded(e, mode) for e in exact])


@pytest.mark.parametrize("mode", ["rn", "rm", "rz"])
@given(finite(), finite(), finite())
def test_a_fused_product_and_sum_is_rounded_once(mode, a, b, c):
    assert_fused(mode, a, b, c)


@pytest.mark.parametrize("mode", ["rn", "rm", "rz"])
@settings(max_examples=150)
@given(halfway())
def test_a_fused_product_and_sum_is_rounded_once_close_to_the_middle(mode, numbers):
    assert_fused(mode, *numbers)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_product_that_float64_cannot_see_decides_which_way_to_round(sign):
    """1 + 2^-23 is odd, and plus or minus 2^-24 halfway to its neighbour: a hair less stays, half itself would not."""
    c = np.float32([1 + 2.0**-23])
    a, b = np.float32([sign * 2.0**-24 * (1 + 2.0**-23)]), np.float32([1 - 2.0**-23])
    fused = "fma.rn.f32 %f0, %f1, %f2, %f3;"
    np.testing.assert_array_equal(compute(fused, a, b, c, to=np.float32), c)
    np.testing.assert_array_equal(compute(fused, a, np.float32([1]), c, to=np.float32), c + sign * np.float32(2.0**-23))


@pytest.mark.parametrize("mode", ["rm", "rz"])
@settings(max_examples=60)
@given(halfway())
def test_a_sum_is_rounded_down_or_towards_zero(mode, numbers):
    a, _, c = numbers
    answer = compute(f"add.{mode}.f32 %f0, %f1, %f2;", a, c, to=np.float32)
    np.testing.assert_array_equal(answer, [rounded(Fraction(float(a[0])) + Fraction(float(c[0])), mode)])


def test_float64_products_and_sums_are_known_to_the_nearest_only():
    x = np.array([0.5, 3.0])
    np.testing.assert_array_equal(compute("fma.rn.f64 %fd0, %fd1, %fd1, %fd1;", x, to=np.float64), x * x + x)
    with pytest.raises(Fault, match="float32 only"):
        compute("fma.rz.f64 %fd0, %fd1, %fd1, %fd1;", x, to=np.float64)


@brief
@given(floats(), floats())
def test_ftz_takes_subnormal_numbers_for_zero_and_returns_none(a, b):
    def flushed(x):
        return np.where(np.abs(x) < np.finfo(np.float32).tiny, np.copysign(np.float32(0), x), x)
    with np.errstate(all="ignore"):
        expected = flushed(flushed(a) * flushed(b))
    answer = compute("mul.ftz.f32 %f0, %f1, %f2;", a, b, to=np.float32)
    np.testing.assert_array_equal(answer, expected)
    np.testing.assert_array_equal(np.signbit(answer[answer == 0]), np.signbit(expected[answer == 0]))


@brief
@given(floats())
def test_sat_clips_to_the_unit_interval_and_makes_nan_zero(x):
    expected = np.clip(np.nan_to_num(x), 0, 1)
    np.testing.assert_array_equal(compute("cvt.sat.f32.f32 %f0, %f1;", x, to=np.float32), expected)


# ----- conversion -----


@pytest.mark.parametrize("to", INTEGERS)
@each_integer
@brief
@given(data)
def test_integers_are_widened_by_their_sign_and_cut_to_their_low_bits(dtype, to, data):
    (kind, r), (result, q) = name(dtype), name(to)
    a = data.draw(integers(dtype))
    np.testing.assert_array_equal(compute(f"cvt.{result}.{kind} %{q}0, %{r}1;", a, to=to), wrapped(map(int, a), to))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16])
@brief
@given(data)
def test_narrow_integers_are_loaded_by_their_sign_and_stored_as_low_bits(dtype, data):
    a = data.draw(integers(dtype))
    np.testing.assert_array_equal(compute("add.s16 %h0, %h1, 1;", a, to=dtype), wrapped([int(x) + 1 for x in a], dtype))
    np.testing.assert_array_equal(compute(f"cvt.s32.{name(dtype)[0]} %r0, %h1;", a, to=np.int32), a)


@each_integer
@settings(max_examples=30)
@given(data)
def test_integers_become_the_nearest_float(dtype, data):
    kind, r = name(dtype)
    a = data.draw(integers(dtype))
    answer = compute(f"cvt.rn.f32.{kind} %f0, %{r}1;", a, to=np.float32)
    np.testing.assert_array_equal(answer, [rounded(Fraction(int(x)), "rn") for x in a])


ROUND = {"rni": round, "rzi": math.trunc, "rmi": math.floor, "rpi": math.ceil}  # Python's round takes ties to even, as rni


@pytest.mark.parametrize("mode", ROUND)
@each_integer
@brief
@given(data)
def test_floats_become_integers_rounded_as_asked_and_the_nearest_there_is(mode, dtype, data):
    kind, r = name(dtype)
    x = data.draw(floats())
    limits = np.iinfo(dtype)
    nothing = (limits.min or limits.max // 2 + 1) if limits.bits == 64 else 0
    whole = [nothing if math.isnan(f) else f if math.isinf(f) else ROUND[mode](float(f)) for f in x]
    expected = [int(min(max(w, limits.min), limits.max)) for w in whole]
    np.testing.assert_array_equal(compute(f"cvt.{mode}.{kind}.f32 %{r}0, %f1;", x, to=dtype), np.array(expected, dtype))


def test_nan_in_float64_becomes_the_highest_bit():
    for kind, dtype in {"s32": np.int32, "u32": np.uint32}.items():
        answer = compute(f"cvt.rzi.{kind}.f64 %r0, %fd1;", np.array([np.nan]), to=dtype)
        np.testing.assert_array_equal(answer.view(np.uint32), [2**31])


@pytest.mark.parametrize("mode", ROUND)
@brief
@given(finite())
def test_floats_lose_their_fraction_as_asked(mode, x):
    answer = compute(f"cvt.{mode}.f32.f32 %f0, %f1;", x, to=np.float32)
    np.testing.assert_array_equal(answer, np.float32([ROUND[mode](float(f)) for f in x]))


@brief
@given(floats(), floats(np.float64))
def test_floats_change_width_with_one_rounding(narrow, broad):
    np.testing.assert_array_equal(compute("cvt.f64.f32 %fd0, %f1;", narrow, to=np.float64), narrow.astype(np.float64))
    with np.errstate(over="ignore"):
        expected = broad.astype(np.float32)
    np.testing.assert_array_equal(compute("cvt.rn.f32.f64 %f0, %fd1;", broad, to=np.float32), expected)


@pytest.mark.parametrize("opcode", ["cvt.f32.s32 %f0, %r1", "cvt.s32.f32 %r0, %f1", "cvt.f32.f64 %f0, %fd1"])
def test_a_conversion_that_must_round_has_to_say_how(opcode):
    with pytest.raises(Fault, match="how to round"):
        compute(f"{opcode};", np.zeros(1, np.int32), to=np.float32)


def test_bits_of_a_float_are_read_as_an_integer():
    x = np.float32([1.0, -2.5, np.inf])
    np.testing.assert_array_equal(compute("mov.b32 %r0, %f1;", x, to=np.uint32), x.view(np.uint32))
