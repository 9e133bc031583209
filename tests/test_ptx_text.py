"""What PTX text the interpreter understands: one whole kernel of instructions it knows, and nothing else."""

import numpy as np
import pytest
from assembly import compute, module

from ffnp.kernels.ptx.machine import run
from ffnp.kernels.ptx.program import Fault, parse

REFUSED = {
    "an unknown instruction": "fma.rx.f32 %f0, %f1, %f2, %f3;",
    "an unknown modifier": "add.rn.bf16x2 %r0, %r1, %r2;",
    "a type that an instruction does not have": "shl.f32 %f0, %f1, 2;",
    "no type": "add %r0, %r1, %r2;",
    "too few operands": "add.s32 %r0, %r1;",
    "a load from nowhere": "ld.global.f32 %f0;",
    "too many operands": "add.s32 %r0, %r1, %r2, %r3;",
    "a register that is not declared": "add.s32 %r0, %r1, %r99;",
    "a register that is too wide": "add.s32 %r0, %r1, %rd2;",
    "a result that is too wide": "add.s32 %rd0, %r1, %r2;",
    "a predicate as a number": "add.s32 %r0, %r1, %p2;",
    "a number as a predicate": "selp.s32 %r0, %r1, %r2, %r3;",
    "a guard that is no predicate": "@%r1 add.s32 %r0, %r1, %r2;",
    "a product wider than all types": "mul.wide.s64 %rd0, %rd1, %rd2;",
    "a parameter from a register": "ld.param.u64 %rd0, [%rd1];",
    "a jump to a number": "bra 5;",
    "a brace as an operand": "add.s32 %r0, {%r1}, %r2;",
    "more in braces than fit": "st.global.u32 [%at0], {%r1, %r2};",
    "a parenthesis": "add.s32 %r0, (%r1), %r2;",
    "an opcode in capitals": "@%p1 ADD.s32 %r0, %r1, %r2;",
    "a float of another width": "add.f32 %f0, %f1, 0d3FF0000000000000;",
    "a constant as a result": "mov.u32 5, %r1;",
    "a label that is nowhere": "bra NOWHERE;",
    "a name as a number": "mov.u32 %r0, tile;",
    "a vector of the wrong length": "ld.global.v4.f32 {%f0, %f1}, [%at0];",
    "an address without brackets": "ld.global.f32 %f0, %at0;",
    "a barrier for some threads": "bar.sync 1;",
    "a barrier that counts": "bar.red.popc.u32 %r0, 0, %p1;",
    "a call": "call.uni (%r0), f, (%r1);",
    "a directive": ".extern .shared .align 4 .b8 more[];",
    "a type of register": ".reg .f16 %z<2>;",
    "nonsense": "?;",
    "flushing integers": "add.ftz.s32 %r0, %r1, %r2;",
    "clipping a copy between memories": "ld.global.sat.f32 %f0, [%at0];",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_understood_is_refused_even_if_it_would_not_run(text):
    with pytest.raises(Fault):
        run(parse(module(f"ret; {text}")), (1,), (1,), [])


KERNEL = module("")
FRAGMENTS = {
    "nothing": "",
    "a header": KERNEL[: KERNEL.index(".visible")],
    "no return": KERNEL.replace("ret;", ""),
    "a return for some": KERNEL.replace("ret;", "@%p1 ret;"),
    "an open brace": KERNEL.rstrip(" }\n"),
    "two closing braces": KERNEL + "}",
    "two kernels": KERNEL + KERNEL,
    "a function": ".visible .func f() { ret; }",
    "a structure as a parameter": KERNEL.replace("kernel()", "kernel(.param .align 8 .b8 a[16])"),
    "a type of variable": module("", variables=".shared .align 4 .f16 tile[4];"),
}


@pytest.mark.parametrize("text", FRAGMENTS.values(), ids=FRAGMENTS.keys())
def test_a_text_that_is_not_one_whole_kernel_is_refused(text):
    assert parse(KERNEL).name == "kernel"
    with pytest.raises(Fault):
        parse(text)


def test_advice_to_the_assembler_changes_nothing():
    assert parse(module('.pragma "nounroll";')).instructions == parse(module("")).instructions


def test_a_scope_has_registers_of_its_own():
    x = np.int32([1, 2])
    answer = compute("{ .reg .b32 %r1; mov.b32 %r1, 50; } mov.b32 %r0, %r1;", x, to=np.int32)
    np.testing.assert_array_equal(answer, x)


def test_instructions_know_their_line_of_source():
    kernel = parse('.file 1 "a//b.py"\n' + module(".loc 1 7 3\n mov.u32 %r1, 0; .loc 1 0 0\n mov.u32 %r2, 0;"))
    assert [i.source for i in kernel.instructions] == ["a//b.py:7", "", ""]
