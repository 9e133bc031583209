"""Every backend computes what the reference computes, leaves its arguments alone, and refuses what does not fit."""

from typing import Any

import numpy as np
import pytest
from host import every_backend, every_fast_backend, leaves, mapped
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import ARGUMENTS, arguments
from tolerance import assert_agrees, floats

from ffnp.kernels import reference
from ffnp.kernels.contract import Adam, Momentum, Pair

STEPS = ("momentum_step", "adam_step")  # they write their arguments
MOVERS = ("put", "get", "take", "vstack", "hstack", "one_hot", "agreement")  # they take arrays of any kind
CHOOSY = [name for name in ARGUMENTS if name not in MOVERS]
ALONE = (  # one array sets the precision
    "scale", "sign", "shift", "dropout", "softmax", "softmax_error", "draw_wrong", "normalise", "inverse_norm",
    "normalise_batch", "sum_squares",
)

every_kernel = pytest.mark.parametrize("kernel", ARGUMENTS)
brief = settings(max_examples=15)


def outcome(k: Any, kernel: str, args: Any) -> Any:
    """All that the kernel computes: its answer, for a step also the layer and its memory."""
    args = mapped(np.copy, args)
    answer = getattr(k, kernel)(*args)
    return (answer, *args[:-3]) if kernel in STEPS else answer


@every_fast_backend
@every_kernel
@given(st.data())
def test_a_fast_kernel_computes_what_the_reference_computes(k, kernel, data):
    args = data.draw(arguments(kernel))
    assert_agrees(kernel, outcome(k, kernel, args), outcome(reference, kernel, args), args)


@every_backend
@pytest.mark.parametrize("kernel", [name for name in ARGUMENTS if name != "draw_wrong"])
@brief
@given(st.data())
def test_an_answer_has_the_dtype_of_the_arguments(k, kernel, data):
    args = data.draw(arguments(kernel))
    assert {a.dtype for a in floats(outcome(k, kernel, args))} <= {a.dtype for a in floats(args)}


@every_backend
@every_kernel
@brief
@given(st.data())
def test_an_answer_is_contiguous(k, kernel, data):
    answer = outcome(k, kernel, data.draw(arguments(kernel)))
    assert all(a.flags.c_contiguous for a in leaves(answer) if isinstance(a, np.ndarray))


@every_backend
@every_kernel
@brief
@given(st.data())
def test_arguments_stay_as_they_were(k, kernel, data):
    before = data.draw(arguments(kernel))
    after = mapped(np.copy, before)
    getattr(k, kernel)(*after)
    written = 2 + (kernel == "adam_step") if kernel in STEPS else 0
    for a, b in zip(leaves(before[written:]), leaves(after[written:]), strict=True):
        np.testing.assert_array_equal(a, b)


@every_backend
@brief
@given(st.data())
def test_put_makes_a_copy(k, data):
    (a,) = data.draw(arguments("put"))
    there = k.k.put(a)
    a += 1
    np.testing.assert_array_equal(k.k.get(there) + 1, a)


# ----- what is refused -----

SPOILED = {
    "not contiguous": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "half precision": lambda a: a.astype(np.float16),
    "integers": lambda a: a.astype(np.int64),
}


@every_backend
@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
@pytest.mark.parametrize("kernel", CHOOSY)
@brief
@given(st.data())
def test_an_array_of_the_wrong_kind_is_refused(k, spoil, kernel, data):
    args = data.draw(arguments(kernel))
    large = [a for a in floats(args) if a.size > 1]  # a single number is always contiguous
    assume(large)
    spoiled = data.draw(st.sampled_from(large))
    with pytest.raises((ValueError, TypeError)):
        getattr(k.k, kernel)(*mapped(lambda a: spoil(a) if a is spoiled else a, args))


@every_backend
@pytest.mark.parametrize("kernel", [name for name in CHOOSY if name not in ALONE])
@brief
@given(st.data())
def test_two_precisions_do_not_mix(k, kernel, data):
    args = data.draw(arguments(kernel))
    assume(len(floats(args)) > 1)
    odd = data.draw(st.sampled_from(floats(args)))
    other = np.float64 if odd.dtype == np.float32 else np.float32
    with pytest.raises((ValueError, TypeError)):
        getattr(k.k, kernel)(*mapped(lambda a: a.astype(other) if a is odd else a, args))


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


W, b = LAYER = zeros(2, 3), zeros(3)
PAIRS = [Pair(zeros(4, 2), zeros(4, 3))]
MOMENTUM, ADAM = Momentum(0.9, 1.0, 0.1), Adam(0.9, 0.999, 0.1, 0.001, 1e-8, 0.1)
y = np.zeros(4, np.int64)
MISFITS = [
    ("vstack", zeros(4, 2), zeros(4, 3)),
    ("hstack", zeros(4, 2), zeros(3, 2)),
    ("add", zeros(4, 3), zeros(4, 2), 1.0),
    ("add", zeros(4, 3), zeros(1, 3), 1.0),
    ("add", zeros(1, 3), zeros(4, 3), 1.0),
    ("blend", zeros(4, 1), zeros(4, 3), zeros(4, 3)),
    ("blend", zeros(4, 3), zeros(1, 3), zeros(4, 3)),
    ("blend", zeros(4, 3), zeros(4, 3), zeros(3)),
    ("shift", zeros(4, 6), np.zeros((3, 2), np.int64), (2, 3)),
    ("shift", zeros(4, 6), np.zeros((1, 2), np.int64), (2, 3)),
    ("shift", zeros(4, 6), np.zeros((4, 3), np.int64), (2, 3)),
    ("shift", zeros(4, 6), np.zeros((4, 2), np.int64), (3, 3)),
    ("shift", zeros(0, 6), np.zeros((0, 2), np.int64), (3, 3)),
    ("dense", zeros(4, 3), W, b, "relu"),
    ("dense", zeros(4, 2), W, zeros(2), "relu"),
    ("dense", zeros(4, 2), W, zeros(1), "relu"),
    ("dense_squares", zeros(4, 3), W, b, "relu"),
    ("dense_squares", zeros(4, 2), W, zeros(2), "relu"),
    ("gate", zeros(4, 3), zeros(5, 3), "relu"),
    ("gate", zeros(4, 3), zeros(4, 2), "tanh"),
    ("gate", zeros(4, 3), zeros(1, 3), "linear"),
    ("project", zeros(4, 2), W),
    ("activate", zeros(4, 3), zeros(3), None, None, b, "relu"),
    ("activate", zeros(4, 3), zeros(1), None, None, b, "relu"),
    ("activate", zeros(4, 3), None, zeros(5, 2), y, b, "relu"),
    ("activate", zeros(4, 3), None, zeros(5, 1), y, b, "relu"),
    ("activate", zeros(4, 3), None, zeros(5, 3), y[:3], b, "relu"),
    ("activate", zeros(4, 3), None, zeros(5, 3), y[:1], b, "relu"),
    ("activate", zeros(4, 3), None, zeros(5, 3), None, b, "relu"),
    ("activate", zeros(4, 3), None, None, y, b, "relu"),
    ("activate", zeros(4, 3), None, None, None, zeros(2), "relu"),
    ("activate", zeros(4, 3), None, None, None, zeros(1), "relu"),
    ("softmax_error", zeros(4, 3), y[:3]),
    ("softmax_error", zeros(4, 3), y[:1]),
    ("draw_wrong", zeros(4, 3), y[:1], np.zeros(4)),
    ("draw_wrong", zeros(4, 3), y, np.zeros(1)),
    ("agreement", y, y[:1]),
    ("overlay", zeros(4, 2), zeros(4, 3)),
    ("overlay", zeros(4, 3), zeros(1, 2)),
    ("goodness_signal", zeros(4, 3), zeros(3), zeros(4), zeros(4), 1.0, 0.0),
    ("goodness_signal", zeros(4, 3), zeros(4), zeros(5), zeros(4), 1.0, 0.0),
    ("goodness_signal", zeros(4, 3), zeros(4), zeros(1), zeros(4), 1.0, 0.0),
    ("goodness_signal", zeros(4, 3), zeros(4), zeros(4), zeros(1), 1.0, 0.0),
    ("peer_signal", zeros(2), zeros(4, 3), 0.9, 0.1),
    ("peer_signal", zeros(1), zeros(4, 3), 0.9, 0.1),
    ("gradient", LAYER, [Pair(zeros(4, 3), zeros(4, 3))], 4),
    ("gradient", LAYER, [Pair(zeros(4, 1), zeros(4, 3))], 4),
    ("gradient", LAYER, [Pair(zeros(4, 2), zeros(4, 2))], 4),
    ("gradient", LAYER, [Pair(zeros(4, 2), zeros(4, 1))], 4),
    ("gradient", LAYER, [Pair(zeros(4, 2), zeros(3, 3))], 4),
    ("gradient", LAYER, [Pair(zeros(1, 2), zeros(2, 3)), Pair(zeros(2, 2), zeros(0, 3))], 4),  # only the totals fit
    ("momentum_step", LAYER, (zeros(3, 2), b), PAIRS, 4, MOMENTUM),
    ("momentum_step", LAYER, (zeros(1, 3), b), PAIRS, 4, MOMENTUM),
    ("momentum_step", LAYER, (W, zeros(1)), PAIRS, 4, MOMENTUM),
    ("momentum_step", (W, zeros(2)), (W, zeros(2)), PAIRS, 4, MOMENTUM),
    ("adam_step", LAYER, (zeros(2, 1), b), LAYER, PAIRS, 4, ADAM),
    ("adam_step", LAYER, LAYER, (W, zeros(1)), PAIRS, 4, ADAM),
    ("adam_step", LAYER, LAYER, LAYER, [Pair(zeros(4, 2), zeros(5, 3))], 4, ADAM),
]


@every_backend
@pytest.mark.parametrize(("kernel", "args"), [(kernel, args) for kernel, *args in MISFITS])
def test_shapes_that_do_not_fit_are_refused(k, kernel, args):
    with pytest.raises(ValueError):
        getattr(k, kernel)(*args)


@every_backend
def test_numbers_out_of_range_are_refused(k):
    z = zeros(4, 3)
    for kernel, *args in [("take", W, np.array([2])), ("one_hot", y + 3, 3, 1.0, W), ("softmax_error", z, y + 3),
                          ("activate", z, None, W, y + 2, b, "relu"), ("activate", z, None, W, y - 1, b, "relu")]:
        with pytest.raises(IndexError):
            getattr(k, kernel)(*args)
    for kernel, *args in [("dense", zeros(4, 2), W, b, "sign"), ("gate", z, z, "sign"),
                          ("activate", z, None, None, None, b, "sign")]:
        with pytest.raises(KeyError):
            getattr(k, kernel)(*args)
