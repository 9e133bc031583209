"""What the PTX interpreter must not let pass: accesses out of bounds, races, unmet barriers. It names who did it, and where."""

import numpy as np
import pytest
from assembly import MINE, module, program

from ffnp.kernels.ptx.machine import run
from ffnp.kernels.ptx.program import Fault, parse

TILE = ".shared .align 4 .b8 tile[256];"
SHARED = f"{MINE} mov.u64 %rd0, tile; mul.wide.u32 %rd1, %r7, 4; add.s64 %rd1, %rd0, %rd1;"  # %rd1: the thread's word
WRITE, READ, MEET = "st.shared.u32 [%rd1], %r7;", "ld.shared.u32 %r1, [%rd0];", "bar.sync 0;"
FIRST = "setp.eq.u32 %p1, %r7, 0;"
LAST = "setp.eq.u32 %p1, %r7, 7;"


def launch(text, grid=1, block=8, arrays=(), variables=TILE):
    arrays = arrays or (np.zeros(64, np.uint32),)
    return run(program(text, len(arrays), (), variables), (grid,), (block,), arrays)


def refuses(match, text, **how):
    with pytest.raises(Fault, match=match) as caught:
        launch(text, **how)
    return str(caught.value)


# ----- bounds -----


@pytest.mark.parametrize("byte", [-4, 256, 4096, 2**40, -(2**40), 2**46])
@pytest.mark.parametrize("access", [
    "ld.global.u32 %r1, [%at2];", "st.global.u32 [%at2], %r1;", "atom.global.add.u32 %r2, [%at2], %r1;"])
def test_an_index_that_leaves_its_array_never_finds_another(access, byte):
    neighbours = [np.zeros(64, np.uint32) for _ in range(4)]
    refuses("out of bounds", f"{MINE} add.s64 %at2, %at0, {byte}; {access}", arrays=neighbours)


@pytest.mark.parametrize("byte", [-4, 256, 512, 2**40])
@pytest.mark.parametrize("variables", [TILE + ".shared .align 4 .b8 other[4096];", ".shared .align 4 .b8 other[4096];" + TILE])
def test_an_index_that_leaves_a_shared_array_never_finds_another(variables, byte):
    refuses("out of bounds", f"mov.u64 %rd1, tile; add.s64 %rd1, %rd1, {byte}; st.shared.u32 [%rd1], 1;", variables=variables)


@pytest.mark.parametrize("byte", [-4, 12])
def test_an_index_that_leaves_local_memory_is_out_of_bounds(byte):
    text = module(f".local .align 4 .b8 own[12]; mov.u64 %rd1, own; st.local.u32 [%rd1+{byte}], 1;")
    with pytest.raises(Fault, match="out of bounds"):
        run(parse(text), (1,), (2,), [])


def test_the_last_bytes_of_a_wide_access_are_checked_too():
    launch("ld.param.u64 %at0, [a0]; ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%at0+240];")
    refuses("out of bounds", "ld.param.u64 %at0, [a0]; ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%at0];",
            arrays=(np.zeros(3, np.uint32),))


def test_an_array_of_no_size_has_nothing_to_read():
    refuses("out of bounds", "ld.param.u64 %at0, [a0]; ld.global.u8 %h1, [%at0];", arrays=(np.zeros(0, np.float32),))


@pytest.mark.parametrize("text", [
    "mov.u64 %rd1, 0; ld.global.u32 %r1, [%rd1];",
    "mov.u64 %rd1, tile; ld.global.u32 %r1, [%rd1];",
    "ld.param.u64 %rd1, [a0]; st.shared.u32 [%rd1], 1;",
    "mov.u64 %rd1, -4; st.u32 [%rd1], 1;",
])
def test_an_address_of_another_space_is_out_of_bounds(text):
    refuses("out of bounds", text)


@pytest.mark.parametrize(("byte", "access"), [
    (1, "st.global.u16 [%at2], %h1;"), (2, "ld.global.u32 %r1, [%at2];"), (4, "ld.global.u64 %rd1, [%at2];"),
    (8, "ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%at2];"),
])
def test_an_address_must_be_a_multiple_of_the_width(byte, access):
    text = f"{MINE} setp.ne.u32 %p1, %r8, 0; @%p1 ret; add.s64 %at2, %at0, BYTE; {access}"
    launch(text.replace("BYTE", "16"))
    refuses("misaligned", text.replace("BYTE", str(byte)))


def test_a_view_is_as_misaligned_as_it_is_in_its_array():
    text = "ld.param.u64 %at0, [a0]; ld.global.v2.f32 {%f0, %f1}, [%at0];"
    whole = np.zeros(8, np.float32)
    launch(text, arrays=(whole[2:],))
    refuses("misaligned", text, arrays=(whole[1:],))


@pytest.mark.parametrize("text", ["mov.u64 %rd1, t; st.u32 [%rd1], 1;", "mov.u64 %rd1, t; red.add.u32 [%rd1], 1;"])
def test_constants_cannot_be_written(text):
    refuses("read-only", text, block=1, variables=".const .align 4 .b8 t[4] = {1, 2, 3, 4};")


def test_an_array_that_is_not_writeable_cannot_be_written():
    x = np.zeros(64, np.uint32)
    x.flags.writeable = False
    refuses("read-only", f"{MINE} st.global.u32 [%at1], 1;", arrays=(x,))


# ----- shared memory before it is written -----


@pytest.mark.parametrize("read", [READ, "atom.shared.add.u32 %r1, [%rd0], 1;", "ld.volatile.shared.u32 %r1, [%rd0];"])
def test_a_word_of_shared_memory_that_nobody_wrote_cannot_be_read(read):
    launch(f"{SHARED} {FIRST} @%p1 st.shared.u32 [%rd0], 1; {MEET} {read}")
    refuses("no thread has written", f"{SHARED} {read}")


def test_what_one_block_wrote_is_not_written_in_another():
    only_block_0 = f"{SHARED} mov.u32 %r6, %ctaid.x; setp.eq.u32 %p1, %r6, 0; @%p1 {WRITE} {MEET} ld.shared.u32 %r1, [%rd1];"
    launch(only_block_0, grid=1)
    refuses("no thread has written", only_block_0, grid=2)


# ----- races -----

RACES = {
    "several write one word at once": "st.shared.u32 [%rd0], %r7;",
    "several write one number into one word at once": "st.shared.u32 [%rd0], 1;",
    "one writes, then another": f"{FIRST} @%p1 {WRITE} setp.eq.u32 %p2, %r7, 1; @%p2 st.shared.u32 [%rd0], 1;",
    "one writes, many read": f"{WRITE} {READ}",
    "many read, the first writes": f"{WRITE} {MEET} {READ} {FIRST} @%p1 st.shared.u32 [%rd0], 9;",
    "many read, the last writes": f"{WRITE} {MEET} {READ} {LAST} @%p1 st.shared.u32 [%rd0], 9;",
    "one reads, another writes": f"{WRITE} {MEET} {FIRST} @%p1 {READ} {LAST} @%p1 st.shared.u32 [%rd0], 9;",
    "all update, one reads": f"{WRITE} {MEET} atom.shared.add.u32 %r1, [%rd0], 1; {FIRST} @%p1 {READ}",
    "all update, one writes": f"{WRITE} {MEET} atom.shared.add.u32 %r1, [%rd0], 1; {LAST} @%p1 st.shared.u32 [%rd0], 9;",
    "all read, all update": f"{WRITE} {MEET} {READ} atom.shared.add.u32 %r1, [%rd0], 1;",
    "one writes, all update": f"{WRITE} {MEET} {FIRST} @%p1 st.shared.u32 [%rd0], 9; atom.shared.add.u32 %r1, [%rd0], 1;",
    "one writes, all read what may change": f"""
        {WRITE} {MEET} {FIRST} @%p1 st.shared.u32 [%rd0], 9; ld.volatile.shared.u32 %r1, [%rd0];
    """,
    "one reads a byte of what another writes": f"{WRITE} {MEET} {FIRST} @%p1 {WRITE} ld.shared.u8 %h1, [%rd0+3];",
    "one reads four words, of which another writes one": f"""
        {WRITE} {MEET} setp.eq.u32 %p1, %r7, 3; @%p1 {WRITE} ld.shared.v4.u32 {{%r1, %r2, %r3, %r4}}, [%rd0];
    """,
}


@pytest.mark.parametrize("text", RACES.values(), ids=RACES.keys())
def test_two_threads_at_one_word_race_if_one_writes_and_no_barrier_is_between(text):
    refuses("a race", f"{SHARED} {text}")


FAIR = {
    "each its own": f"{WRITE} ld.shared.u32 %r1, [%rd1]; {WRITE}",
    "many read at once": f"{WRITE} {MEET} {READ} {READ}",
    "a barrier after writing": f"{WRITE} {MEET} {READ}",
    "a barrier after reading": f"{WRITE} {MEET} {READ} {MEET} {WRITE}",
    "updates of one word": f"{WRITE} {MEET} atom.shared.add.u32 %r1, [%rd0], 1; atom.shared.max.u32 %r1, [%rd0], 1;",
    "updates, and reading what may change": f"""
        {WRITE} {MEET} atom.shared.add.u32 %r1, [%rd0], 1; ld.volatile.shared.u32 %r1, [%rd0];
    """,
    "updates, a barrier, reads": f"{WRITE} {MEET} atom.shared.add.u32 %r1, [%rd0], 1; {MEET} {READ}",
}


@pytest.mark.parametrize("text", FAIR.values(), ids=FAIR.keys())
def test_accesses_that_do_not_race_pass(text):
    launch(f"{SHARED} {text}", grid=2)


GLOBAL_RACES = {
    "two blocks write": "st.global.u32 [%at0], 1;",
    "one writes, barrier, another block reads": f"{FIRST} @%p1 st.global.u32 [%at1], 1; {MEET} ld.global.u32 %r1, [%at0];",
    "all read, the first writes": f"ld.global.u32 %r1, [%at0]; {MEET} setp.eq.u32 %p1, %r8, 0; @%p1 st.global.u32 [%at0], 1;",
    "all read, the last writes": f"ld.global.u32 %r1, [%at0]; {MEET} setp.eq.u32 %p1, %r8, 15; @%p1 st.global.u32 [%at0], 1;",
    "all update, barrier, one reads": f"red.global.add.u32 [%at0], 1; {MEET} {FIRST} @%p1 ld.global.u32 %r1, [%at0];",
    "one block reads in two epochs, the other writes": f"""
        mov.u32 %r6, %ctaid.x; setp.eq.u32 %p1, %r6, 0; @%p1 ld.global.u32 %r1, [%at0]; {MEET} @%p1 ld.global.u32 %r1, [%at0];
        setp.eq.u32 %p2, %r8, 8; @%p2 st.global.u32 [%at0], 1;
    """,
}


@pytest.mark.parametrize("text", GLOBAL_RACES.values(), ids=GLOBAL_RACES.keys())
def test_no_barrier_is_between_two_blocks(text):
    refuses("a race", f"{MINE} {text}", grid=2)


def test_within_a_block_a_barrier_orders_global_memory_too():
    text = f"{MINE} st.global.u32 [%at1], %r8; {{}} xor.b32 %r8, %r8, 1; mul.wide.u32 %at1, %r8, 4; add.s64 %at1, %at0, %at1; "
    launch(text.format(MEET) + "ld.global.u32 %r1, [%at1];", grid=2)
    refuses("a race", text.format("") + "ld.global.u32 %r1, [%at1];", grid=2)


def test_views_of_one_array_race_with_each_other():
    x = np.zeros(64, np.uint32)
    text = f"{MINE} ld.param.u64 %at2, [a1]; ld.global.u32 %r1, [%at2]; st.global.u32 [%at1], 1;"
    launch(text, arrays=(x[:8], x[8:]))
    refuses("a race", text, arrays=(x[:8], x[7:]))


def test_neighbours_of_one_byte_do_not_race_in_an_array_of_bytes():
    text = f"{MINE} cvt.u64.u32 %at1, %r8; add.s64 %at1, %at0, %at1; st.global.u8 [%at1], 1;"
    x = np.zeros(16, np.bool_)
    launch(text, grid=2, arrays=(x,))
    assert x.all()
    refuses("a race", text, grid=2, arrays=(np.zeros(4, np.uint32),))


# ----- barriers -----


def test_a_block_that_all_reach_a_barrier_need_not_wait_for_another():
    report = launch(f"{MINE} mov.u32 %r6, %ctaid.x; setp.eq.u32 %p1, %r6, 0; @%p1 bra END; {MEET} {MEET} END:", grid=3)
    assert report.barriers == 4


def test_two_barriers_do_not_meet():
    refuses("wait at another", f"{MINE} {FIRST} @%p1 bra ELSE; {MEET} bra END; ELSE: {MEET} END:")


def test_a_shuffle_needs_the_thread_it_asks():
    refuses("not here", f"{MINE} {FIRST} @%p1 ret; shfl.sync.bfly.b32 %r1, %r8, 1, 31, -1;")
    launch(f"{MINE} setp.lt.u32 %p1, %r7, 2; @%p1 ret; shfl.sync.bfly.b32 %r1, %r8, 1, 31, -1;")


def test_a_thread_that_has_ended_meets_nobody():
    refuses("have ended", f"{MINE} {FIRST} @%p1 ret; {MEET}")


# ----- launches -----


@pytest.mark.parametrize(("grid", "block"), [
    ((0,), (1,)), ((1,), (0,)), ((1,), (1025,)), ((1,), (32, 33)), ((1,), (1, 1, 65)), ((1, 65536), (1,)), ((1, 1, 1, 1), (1,)),
])
def test_a_launch_that_no_device_takes_is_refused(grid, block):
    with pytest.raises(Fault, match="a grid|a block"):
        run(program("mov.u32 %r1, 1;"), grid, block, [])


@pytest.mark.parametrize("args", [
    [], [1], [np.zeros(2)], [np.zeros((2, 2)), 1], [np.zeros(4)[::2], 1], [np.zeros(2), 1.5]])
def test_arguments_that_do_not_fit_the_parameters_are_refused(args):
    kernel = program("mov.u32 %r1, 1;", 1, ("u32",))
    run(kernel, (1,), (1,), [np.zeros(2), 1])
    with pytest.raises(Fault):
        run(kernel, (1,), (1,), args)


def test_a_kernel_that_never_ends_is_stopped():
    with pytest.raises(Fault, match="still running"):
        run(program("AGAIN: bra AGAIN;"), (1,), (1,), [], limit=1000)


def test_a_fault_names_instruction_source_thread_and_block():
    """Of the thread that is the 16th of the grid."""
    text = module(f"{MINE} setp.ne.u32 %p1, %r8, 16; @%p1 bra END;\n.loc 3 42 1\n st.global.u32 [%at0+64], 1; END:", 1)
    with pytest.raises(Fault) as caught:
        run(parse(text + '\n.file 3 "tiles.py"\n'), (3,), (6,), [np.zeros(4, np.uint32)])
    assert str(caught.value) == ("out of bounds: 4 bytes at byte 64 of argument array 0 of 16: "
                                 "`st.global.u32 [%at0+64], 1;` tiles.py:42, thread 4 of block 2")
