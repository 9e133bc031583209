"""The CUDA kernels, as compiled and run by the interpreter: what the reference computes, and as a card wants to be asked."""

import math
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cases import Sizes
from cases import arguments as sized
from host import OnHost, leaves, mapped
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from platforms import needs_compilers
from strategies import ARGUMENTS, arguments, chances, wild_logits
from test_kernels import MISFITS, STEPS, outcome
from tolerance import assert_agrees

from ffnp.kernels import reference
from ffnp.kernels.cuda.backend import Cuda, rounded_down
from ffnp.kernels.cuda.compile import ptx
from ffnp.kernels.cuda.emulated import Emulated
from ffnp.kernels.cuda.launch import shares
from ffnp.kernels.cuda.table import TABLE

pytestmark = [needs_compilers, pytest.mark.no_cover]  # others cover the same lines, and to count them takes as long again


class Deaf(Emulated):
    """Nothing comes back from it."""

    def get(self, a: Any) -> np.ndarray:
        raise AssertionError("the host waits for the device")


k = OnHost(Cuda(Emulated()))
KERNELS = [name for name in ARGUMENTS if name not in ("put", "get")]  # what `OnHost` itself calls
every_kernel = pytest.mark.parametrize("kernel", KERNELS)
singles = st.just(np.float32)
few, fewer = settings(max_examples=10), settings(max_examples=3)
EDGES = [  # of blocks that take 128 numbers of a row, 256 numbers or 64 rows, 8 rows of 32 columns, 1024 numbers of a sum
    Sizes(1, 4, 1), Sizes(7, 4, 31), Sizes(8, 4, 32), Sizes(9, 4, 33), Sizes(3, 4, 127), Sizes(3, 4, 128), Sizes(3, 4, 129),
    Sizes(3, 6, 300), Sizes(255, 4, 1), Sizes(256, 4, 1), Sizes(257, 4, 1, C=2), Sizes(40, 64, 70),
]


@every_kernel
@few
@given(st.data())
def test_a_kernel_computes_what_the_reference_computes(kernel, data):
    args = data.draw(arguments(kernel, singles))
    assert_agrees(kernel, outcome(k, kernel, args), outcome(reference, kernel, args), args)


@pytest.mark.parametrize("sizes", EDGES, ids=str)
@every_kernel
def test_a_kernel_is_right_up_to_the_edges_of_its_blocks(kernel, sizes):
    args = sized(kernel, sizes)
    assert_agrees(kernel, outcome(k, kernel, args), outcome(reference, kernel, args), args)


@every_kernel
@fewer
@given(st.data())
def test_arguments_stay_as_they_were(kernel, data):
    before = data.draw(arguments(kernel, singles))
    after = mapped(np.copy, before)
    getattr(k, kernel)(*after)
    written = 2 + (kernel == "adam_step") if kernel in STEPS else 0
    for a, b in zip(leaves(before[written:]), leaves(after[written:]), strict=True):
        np.testing.assert_array_equal(a, b)


@every_kernel
def test_two_runs_give_the_same_bits(kernel):
    once, again = (leaves(outcome(k, kernel, sized(kernel, EDGES[-1]))) for _ in range(2))
    assert [np.asarray(a).tobytes() for a in once] == [np.asarray(a).tobytes() for a in again]


@pytest.mark.parametrize("kernel", TABLE.values(), ids=TABLE.keys())
def test_no_sum_is_in_the_order_in_which_threads_happen_to_come(kernel):
    assert not re.search(r"\b(atom|red)\.", ptx(kernel, lineinfo=True))


@every_kernel
def test_no_kernel_makes_the_host_wait(kernel):
    k = Cuda(Deaf())
    args = sized(kernel, Sizes(5, 4, 3))
    host = {"take": 1, "shift": 1, "patch": 4, "draw_wrong": 2}.get(kernel)
    getattr(k, kernel)(*(a if i == host else mapped(k.put, a) for i, a in enumerate(args)))


def test_an_array_of_the_host_is_refused():
    """Numba would bring it along, there and back, at every launch."""
    a = np.zeros(3, np.float32)
    with pytest.raises(TypeError, match="blend takes array\\(float32, 1d, C\\) on the device, not ndarray \\(3,\\)"):
        k.k.blend(k.k.put(a), k.k.put(a), a)


def test_an_array_of_other_dimensions_is_refused():
    """A card would read its shape past the end of what it is passed."""
    with pytest.raises(TypeError, match="sum_squares takes array\\(float32, 2d, C\\) on the device, not Resident \\(3,\\)"):
        k.sum_squares(np.zeros(3, np.float32))


def test_of_an_array_on_a_device_only_rows_can_be_taken():
    there = k.k.put(np.zeros((3, 4), np.float32))
    assert there[1:].shape == (2, 4)
    with pytest.raises(TypeError, match="only rows .* can be taken, not 0"):
        there[0]


def test_put_makes_a_copy():
    a = np.arange(3)
    there = k.k.put(a)
    a += 1
    np.testing.assert_array_equal(k.k.get(there) + 1, a)


# ----- what is refused -----


@pytest.mark.parametrize("kernel", [name for name in KERNELS if name != "agreement"])
@fewer
@given(st.data())
def test_double_precision_is_refused(kernel, data):
    args = data.draw(arguments(kernel, singles))
    odd = data.draw(st.sampled_from([a for a in leaves(args) if getattr(a, "dtype", None) == np.float32]))
    with pytest.raises(TypeError, match="the CUDA backend computes in float32, not float64"):
        getattr(k, kernel)(*mapped(lambda a: a.astype(np.float64) if a is odd else a, args))


@pytest.mark.parametrize("kernel", ["activate", "one_hot", "softmax_error", "draw_wrong", "agreement"])
def test_short_labels_are_refused(kernel):
    args = sized(kernel, Sizes(3, 4, 5))
    with pytest.raises(TypeError, match="labels are int64, not int32"):
        getattr(k, kernel)(*mapped(lambda a: a.astype(np.int32) if a.dtype == np.int64 else a, args))


@pytest.mark.parametrize(("kernel", "args"), [(kernel, args) for kernel, *args in MISFITS])
def test_shapes_that_do_not_fit_are_refused(kernel, args):
    with pytest.raises(ValueError):
        getattr(k, kernel)(*args)


@pytest.mark.parametrize("wrong", [4, -5])
def test_an_index_out_of_range_is_refused(wrong):
    a, index = np.zeros((4, 4), np.float32), np.array([0, wrong])
    with pytest.raises(IndexError, match=f"index {wrong} is out of bounds for size 4"):
        k.take(a, index)
    with pytest.raises(IndexError, match=f"index {wrong} is out of bounds for size 4"):
        k.patch(a, a, a, a, index)


def test_an_activation_that_does_not_exist_is_refused():
    a, b = np.zeros((4, 4), np.float32), np.zeros(4, np.float32)
    for kernel, *args in [("dense", a, a, b), ("dense_squares", a, a, b), ("gate", a, a), ("activate", a, b, None, None, b)]:
        with pytest.raises(KeyError):
            getattr(k, kernel)(*args, "sign")


@pytest.mark.parametrize("count", [lambda n: k.k.each("scale", n), shares], ids=["a thread each", "shared out"])
def test_more_numbers_than_threads_can_count_are_refused(count):
    with pytest.raises(ValueError, match="up to 2\\^31 numbers, not 2147483649"):
        count(2**31 + 1)


def test_more_rows_than_a_grid_has_room_for_are_refused():
    with pytest.raises(ValueError, match="a product of 10 columns may have up to 1048560 rows on CUDA, not 1048561"):
        k.k.product("nn", None, None, SimpleNamespace(shape=(1048561, 10)))


# ----- what a device does with numbers that should not be -----


@pytest.mark.parametrize("label", [-1, 3, 2**32])
def test_a_label_that_does_not_exist_makes_its_row_nan(label):
    y, z = np.array([1, label, 2]), np.ones((3, 3), np.float32)
    e, loss = k.softmax_error(z, y)
    h, squares = k.activate(z, None, z, y, None, "relu")
    np.testing.assert_array_equal(np.isnan(h).all(axis=1), [False, True, False])
    np.testing.assert_array_equal(np.isnan(squares), [False, True, False])
    np.testing.assert_array_equal(np.isnan(k.one_hot(y, 3, 1.0, z)).all(axis=1), [False, True, False])
    np.testing.assert_array_equal(np.isnan(e).all(axis=1), [False, True, False])
    assert np.isnan(loss)


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
def test_nan_passes_through_every_activation(activation):
    x, one, zero = np.array([[np.nan, 1]], np.float32), np.eye(2, dtype=np.float32), np.zeros(2, np.float32)
    h, squares = k.activate(x, None, None, None, zero, activation)
    np.testing.assert_array_equal(np.isnan(h), [[True, False]])
    np.testing.assert_array_equal(np.isnan(k.dense(x, one, None, activation)), [[True, True]])
    assert np.isnan(squares).all()


@few
@given(wild_logits())
def test_wrong_labels_are_never_right(args):
    z, y, u = args
    drawn = k.draw_wrong(z.astype(np.float32), y, u)
    assert (drawn != y).all()
    assert ((drawn >= 0) & (drawn < z.shape[1])).all()


def test_wrong_labels_are_never_right_where_logits_are_nan():
    z, y = np.full((2, 3), np.nan, np.float32), np.array([0, 1])
    assert (k.draw_wrong(z, y, np.array([0.0, 0.9])) != y).all()


@given(chances({"B": 9}, np.float32))
def test_chances_become_the_next_smaller_single(u):
    near = rounded_down(u)
    assert near.dtype == np.float32
    assert (near <= u).all()
    assert (np.nextafter(near, np.float32(1)) > u).all()


def test_the_highest_rate_drops_every_unit():
    np.testing.assert_array_equal(k.dropout(np.ones((40, 40), np.float32), math.nextafter(1, 0), 0), 0)


@few
@given(arguments("normalise", singles))
def test_a_row_too_small_to_square_stays(args):
    h = args[0] * np.float32(1e-30)
    assume(h.any())
    np.testing.assert_array_equal(k.normalise(h, 1.0, 0.0), h)
