"""Whole programs in the PTX interpreter: parameters, branches, memory, atomic operations, exchange between threads."""

import numpy as np
import pytest
from assembly import MINE, compute, name, program
from hypothesis import given, settings
from hypothesis import strategies as st

from ffnp.kernels.ptx.machine import run
from ffnp.kernels.ptx.program import Fault, parse

few = settings(max_examples=10)


# ----- where a thread stands -----


@few
@given(st.tuples(*[st.integers(1, 3)] * 3), st.tuples(*[st.integers(1, 4)] * 3))
def test_special_registers_count_x_first_then_y_then_z(grid, block):
    lanes = np.arange(np.prod(grid) * np.prod(block))
    for axis, k in enumerate("xyz"):
        for what, sizes, number in (("tid", block, lanes % np.prod(block)), ("ctaid", grid, lanes // np.prod(block))):
            expected = number // int(np.prod(sizes[:axis])) % sizes[axis]
            np.testing.assert_array_equal(where(f"%{what}.{k}", grid, block), expected)
            np.testing.assert_array_equal(where(f"%n{what}.{k}", grid, block), sizes[axis])


def test_a_lane_is_the_number_of_a_thread_in_its_warp_of_32():
    np.testing.assert_array_equal(where("%laneid", (2,), (7, 10)), np.tile(np.arange(70) % 32, 2))


def where(register, grid, block):
    """A special register in each thread of the grid, which finds its place by adding to a counter."""
    out = np.zeros((np.prod(grid) * np.prod(block) + 1), np.uint32)
    run(program(f"ld.param.u64 %at0, [a0]; atom.global.add.u32 %r1, [%at0], 1; mul.wide.u32 %at1, %r1, 4; "
                f"add.s64 %at1, %at0, %at1; mov.u32 %r2, {register}; st.global.u32 [%at1+4], %r2;", 1), grid, block, [out])
    return out[1:]


@pytest.mark.parametrize(("kind", "value"), [
    ("u32", 7), ("s32", -7), ("u64", 2**63), ("s64", -1), ("f32", 0.5), ("f64", 0.1), ("u8", 1)])
def test_numbers_are_passed_as_the_type_of_their_parameter(kind, value):
    dtype = np.dtype(kind.replace("s", "i")[0] + str(int(kind[1:]) // 8))
    r, out = name(dtype)[1], np.zeros(1, dtype)
    for given_value in (value, dtype.type(value)):
        run(program(f"ld.param.u64 %at0, [a0]; ld.param.{kind} %{r}1, [s0]; st.global.{kind} [%at0], %{r}1;", 1, (kind,)),
            (1,), (1,), [out, given_value])
        assert out[0] == dtype.type(value)


def test_of_a_whole_number_the_lower_bits_may_be_read():
    out = np.zeros(1, np.uint32)
    text = "ld.param.u64 %at0, [a0]; ld.param.u32 %r1, [s0]; st.global.u32 [%at0], %r1;"
    run(program(text, 1, ("u64",)), (1,), (1,), [out, 2**32 + 5])
    assert out[0] == 5
    for kind in ("f64", "u16"):
        with pytest.raises(Fault, match="a parameter of type"):
            run(program(text, 1, (kind,)), (1,), (1,), [out, 5])


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 0, 4)])
def test_an_array_is_passed_with_its_shape_and_strides(shape):
    a, out = np.zeros(shape, np.float32), np.zeros(4 + 2 * len(shape), np.int64)
    names = ["n", "itemsize", "data", *(f"shape{k}" for k in range(len(shape))), *(f"stride{k}" for k in range(len(shape)))]
    parameters = ", ".join(f".param .u64 {p}" for p in ["m", "p", *names, *"abcd", "out", "e", "f"])
    loads = "".join(f"ld.param.u64 %rd1, [{p}]; st.global.u64 [%rd0+{8 * k}], %rd1;" for k, p in enumerate(names))
    text = f".visible .entry k({parameters}) {{ .reg .b64 %rd<2>; ld.param.u64 %rd0, [out]; {loads} ret; }}"
    run(parse(text), (1,), (1,), [a, out])
    np.testing.assert_array_equal(np.delete(out, 2)[: 2 + 2 * len(shape)], [a.size, 4, *shape, *a.strides])


# ----- branches -----


def collatz(n):
    steps = 0
    while n != 1:
        n, steps = (n // 2 if n % 2 == 0 else 3 * n + 1), steps + 1
    return steps


COLLATZ = """
        mov.u32 %r0, 0;
    LOOP:
        setp.eq.u32 %p1, %r1, 1;
        @%p1 bra DONE;
        and.b32 %r2, %r1, 1;
        setp.eq.u32 %p2, %r2, 0;
        @!%p2 bra ODD;
        shr.u32 %r1, %r1, 1;
        bra.uni NEXT;
    ODD:
        mad.lo.u32 %r1, %r1, 3, 1;
    NEXT:
        add.u32 %r0, %r0, 1;
        bra.uni LOOP;
    DONE:
"""


@few
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_threads_part_at_branches_and_each_takes_its_own_way(numbers):
    steps = compute(COLLATZ, np.array(numbers, np.uint32), to=np.uint32)
    np.testing.assert_array_equal(steps, list(map(collatz, numbers)))


def test_threads_that_parted_go_on_together():
    """What follows a branch is issued once, however many ways led there."""
    text = f"""
        {MINE} and.b32 %r1, %r8, 3;
        L0: setp.eq.u32 %p1, %r1, 0; @%p1 bra L1; sub.u32 %r1, %r1, 1; bra L0;
        L1: not.b32 %r2, %r8; st.global.u32 [%at1], %r2;
    """
    report = run(program(text, 1), (2,), (8,), [out := np.zeros(16, np.uint32)])
    np.testing.assert_array_equal(out, ~np.arange(16, dtype=np.uint32))
    assert report.issued["not.b32"] == report.issued["st.global.u32"] == 1
    assert report.issued["sub.u32"] == 3


def test_threads_that_skip_some_instructions_wait_for_those_that_do_not():
    text = f"""
        {MINE} setp.gt.u32 %p1, %r8, 4; @%p1 bra SKIP; xor.b32 %r8, %r8, 64;
        SKIP: not.b32 %r2, %r8; st.global.u32 [%at1], %r2;
    """
    report = run(program(text, 1), (2,), (5,), [out := np.zeros(10, np.uint32)])
    np.testing.assert_array_equal(~out, [64, 65, 66, 67, 68, 5, 6, 7, 8, 9])
    assert report.issued["xor.b32"] == report.issued["not.b32"] == 1


def test_a_thread_that_returns_does_nothing_more():
    out = np.zeros(6, np.uint32)
    run(program(f"{MINE} setp.gt.u32 %p1, %r8, 2; @%p1 ret; st.global.u32 [%at1], 5;", 1), (2,), (3,), [out])
    np.testing.assert_array_equal(out, [5, 5, 5, 0, 0, 0])


def test_the_report_counts_instructions_and_barriers():
    report = run(program("bar.sync 0; mov.u32 %r1, 1; bar.sync 0;"), (3,), (4,), [])
    assert report.steps == 4
    assert report.issued == {"bar.sync": 2, "mov.u32": 1, "ret": 1}
    assert report.barriers == 6


# ----- memory -----

REVERSE = f"""
    {MINE} mov.u64 %rd1, tile; mul.wide.u32 %rd2, %r7, 4; add.s64 %rd3, %rd1, %rd2; ld.global.u32 %r1, [%at1];
    st.shared.u32 [%rd3], %r1; bar.sync 0; sub.s64 %rd4, %rd1, %rd2; ld.shared.u32 %r1, [%rd4+28]; st.global.u32 [%at1], %r1;
"""


def test_each_block_has_shared_memory_of_its_own():
    x = np.arange(24, dtype=np.uint32)
    run(program(REVERSE, 1, (), ".shared .align 4 .b8 tile[32];"), (3,), (8,), [x])
    np.testing.assert_array_equal(x, np.arange(24).reshape(3, 8)[:, ::-1].ravel())


def test_each_thread_has_local_memory_of_its_own():
    text = f"""
        .local .align 8 .b8 own[12];
        {MINE} mov.u64 %rd1, own; st.local.v2.u32 [%rd1], {{%r7, %r8}}; ld.local.u32 %r1, [%rd1+4]; st.global.u32 [%at1], %r1;
    """
    x = np.zeros(10, np.uint32)
    run(program(text, 1), (2,), (5,), [x])
    np.testing.assert_array_equal(x, np.arange(10))


def test_constants_are_read():
    x = np.zeros(3, np.uint32)
    table = ".const .align 4 .b8 t[12] = {1, 0, 0, 0, 2, 1, 0, 0, 255, 255, 255, 255};"
    run(program(f"{MINE} mov.u64 %rd1, t; mul.wide.u32 %rd2, %r8, 4; add.s64 %rd1, %rd1, %rd2; ld.const.u32 %r1, [%rd1]; "
                "st.global.u32 [%at1], %r1;", 1, (), table), (1,), (3,), [x])
    np.testing.assert_array_equal(x, [1, 258, 2**32 - 1])


def test_a_vector_is_loaded_and_stored_side_by_side():
    x = np.arange(8, dtype=np.float32)
    run(program("ld.param.u64 %at0, [a0]; mov.u32 %r1, %tid.x; mul.wide.u32 %at1, %r1, 16; add.s64 %at0, %at0, %at1; "
                "ld.global.v4.f32 {%f0, %f1, %f2, %f3}, [%at0]; st.global.v2.f32 [%at0+8], {%f0, %f3};", 1), (1,), (2,), [x])
    np.testing.assert_array_equal(x, [0, 1, 0, 3, 4, 5, 4, 7])


def test_lanes_may_load_from_different_arrays_in_one_instruction():
    out, x, y = np.zeros(4, np.uint32), np.uint32([10]), np.uint32([20])
    text = f"""
        {MINE} ld.param.u64 %rd1, [a1]; ld.param.u64 %rd2, [a2]; and.b32 %r1, %r8, 1; setp.eq.u32 %p1, %r1, 0;
        selp.b64 %rd3, %rd1, %rd2, %p1; ld.global.u32 %r2, [%rd3]; st.global.u32 [%at1], %r2;
    """
    run(program(text, 3), (1,), (4,), [out, x, y])
    np.testing.assert_array_equal(out, [10, 20, 10, 20])


def test_views_of_one_array_are_one_memory():
    x = np.arange(6, dtype=np.uint32)
    text = f"{MINE} ld.param.u64 %rd1, [a1]; ld.global.u32 %r1, [%at1]; st.global.u32 [%rd1], %r1;"
    run(program(text, 2), (1,), (1,), [x[2:], x[5:]])
    np.testing.assert_array_equal(x, [0, 1, 2, 3, 4, 2])


# ----- atomic operations -----

CHANGE = {
    "add": (np.int32, "s32", lambda old, x: old + x), "min": (np.int32, "s32", min), "max": (np.int32, "s32", max),
    "and": (np.uint32, "b32", lambda old, x: old & x), "or": (np.uint32, "b32", lambda old, x: old | x),
    "xor": (np.uint32, "b32", lambda old, x: old ^ x), "exch": (np.uint32, "b32", lambda old, x: x),
    "inc": (np.uint32, "u32", lambda old, x: 0 if old >= x else old + 1),
    "dec": (np.uint32, "u32", lambda old, x: x if old == 0 or old > x else old - 1),
}


@pytest.mark.parametrize("operation", CHANGE)
@few
@given(st.lists(st.integers(0, 5), min_size=1, max_size=7))
def test_atomic_operations_come_one_after_the_other_and_answer_what_they_found(operation, numbers):
    dtype, kind, change = CHANGE[operation]
    cell, x, found = np.full(1, 2, dtype), np.array(numbers, dtype), [2]
    for n in numbers:
        found.append(change(found[-1], n))
    run(program(f"{MINE} ld.param.u64 %at2, [a1]; ld.global.b32 %r1, [%at1]; atom.global.{operation}.{kind} %r2, [%at2], %r1; "
                "st.global.b32 [%at1], %r2;", 2), (len(x),), (1,), [x, cell])
    assert cell[0] == found.pop()
    np.testing.assert_array_equal(x, found)


def test_compare_and_swap_writes_only_what_is_expected():
    cell = np.uint32([3])
    x = np.uint32([3, 4, 3])
    run(program(f"{MINE} ld.param.u64 %at2, [a1]; ld.global.b32 %r1, [%at1]; atom.global.cas.b32 %r2, [%at2], %r1, 4; "
                "st.global.b32 [%at1], %r2;", 2), (1,), (3,), [x, cell])
    np.testing.assert_array_equal(x, [3, 4, 4])
    assert cell[0] == 4


def test_a_reduction_is_an_atomic_operation_without_an_answer():
    total, x = np.float32([0.5]), np.arange(9, dtype=np.float32)
    run(program(f"{MINE} ld.param.u64 %at2, [a1]; ld.global.f32 %f1, [%at1]; red.global.add.f32 [%at2], %f1;", 2),
        (3,), (3,), [x, total])
    assert total[0] == 36.5


# ----- between the threads of a warp -----

PARTNER = {  # of thread t, in pieces of `width` threads
    "bfly": lambda t, b, width: t ^ b, "down": lambda t, b, width: t + b, "up": lambda t, b, width: t - b,
    "idx": lambda t, b, width: t // width * width + b % width}


@pytest.mark.parametrize("mode", PARTNER)
@few
@given(st.integers(0, 63), st.sampled_from([8, 16, 32]))
def test_a_shuffle_takes_the_number_of_a_partner_in_its_piece_of_the_warp_or_ones_own(mode, b, width):
    """Only bfly may reach into a piece further down. Of b the low five bits count."""
    x = np.random.default_rng(0).integers(0, 2**32, 64, np.uint32)
    clamp = 32 - width << 8 | (0 if mode == "up" else 31)
    took = compute(f"shfl.sync.{mode}.b32 %r0|%p1, %r1, {b}, {clamp}, -1;", x, to=np.uint32)
    found = compute(f"shfl.sync.{mode}.b32 %r2|%p1, %r1, {b}, {clamp}, -1; selp.u32 %r0, 1, 0, %p1;", x, to=np.uint32)
    t = np.arange(64) % 32
    partner, first = PARTNER[mode](t, b % 32, width), t // width * width
    inside = partner >= first if mode == "up" else partner < first + width
    source = np.where(inside, partner, t) + np.repeat([0, 32], 32)
    np.testing.assert_array_equal(took, x[source])
    np.testing.assert_array_equal(found, inside)
