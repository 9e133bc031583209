"""Hand-written PTX for the tests of the interpreter, and the same from Python by Numba's compiler."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from numba import cuda

from ffnp.kernels.ptx.machine import run
from ffnp.kernels.ptx.program import Program, parse

brief, data = settings(max_examples=8), st.data()
INTEGERS = (np.int32, np.uint32, np.int64, np.uint64)
each_integer = pytest.mark.parametrize("dtype", INTEGERS)
LETTERS = {"i1": "h", "i2": "h", "i4": "r", "i8": "rd", "f4": "f", "f8": "fd"}  # of a register, by what it holds
REGISTERS = """
    .reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<9>; .reg .b64 %rd<9>; .reg .f32 %f<9>; .reg .f64 %fd<9>;
    .reg .b64 %at<9>;
"""
MINE = """
    ld.param.u64 %at0, [a0]; mov.u32 %r8, %ctaid.x; mov.u32 %r7, %ntid.x; mul.lo.u32 %r8, %r8, %r7; mov.u32 %r7, %tid.x;
    add.u32 %r8, %r8, %r7; mul.wide.u32 %at1, %r8, 4; add.s64 %at1, %at0, %at1;
"""  # %r7, %r8: the thread's number in its block, in the grid; %at0, %at1: the address of the first array, of the thread's word


def module(body: str, arrays: int = 0, scalars: tuple[str, ...] = (), variables: str = "") -> str:
    """A kernel for some arrays of one dimension, then scalars of these types: [a0] is the address of the first array, [n0] its
    size, [s0] the first scalar."""
    parts = ("meminfo", "parent", "n", "itemsize", "a", "shape", "stride")
    names = [f".u64 {part}{k}" for k in range(arrays) for part in parts] + [f".{kind} s{k}" for k, kind in enumerate(scalars)]
    parameters = ", ".join(f".param {name}" for name in names)
    return f"""
        .version 8.0
        .target sm_80
        .address_size 64
        {variables}
        .visible .entry kernel({parameters})
        {{
            {REGISTERS}
            {body}
            ret;
        }}
    """


@functools.lru_cache
def program(body: str, arrays: int = 0, scalars: tuple[str, ...] = (), variables: str = "") -> Program:
    return parse(module(body, arrays, scalars, variables))


def name(dtype: Any) -> tuple[str, str]:
    """The PTX type of a dtype, and the letters of the registers it fits: int32 is s32, in %r0, %r1, ..."""
    code = np.dtype(dtype).str[1:]
    return f"{code[0].replace('i', 's')}{8 * int(code[1:])}", LETTERS[code.replace("u", "i")]


def wrapped(numbers: Iterable[int], dtype: Any) -> np.ndarray:
    """Exact integers, as many of their low bits as the type has."""
    bits = 8 * np.dtype(dtype).itemsize
    return np.array([n % 2**bits for n in numbers], f"u{bits // 8}").view(dtype)


def compute(instructions: str, *given: np.ndarray, to: Any) -> np.ndarray:
    """What the instructions leave in register 0 of the type `to`, in each thread of one block.

    Thread i finds the i-th number of the k-th array (from 1) in register k of its type: %r for 32 bits, %h 16 (and 8), %rd 64,
    %f float32, %fd float64.
    """
    out = np.zeros(len(given[0]), to)
    loads = "".join(access("ld", a.dtype, k) for k, a in enumerate(given, 1))
    body = f"mov.u32 %r8, %tid.x; {loads} {instructions} {access('st', out.dtype, 0)}"
    run(program(body, len(given) + 1), (1,), (len(out),), [out, *given])
    return out


def access(what: str, dtype: np.dtype, k: int) -> str:
    """Loads register k from the k-th array, or stores it there, at the place of the thread."""
    kind, letters = name(dtype)
    operands = f"%{letters}{k}, [%at0]" if what == "ld" else f"[%at0], %{letters}{k}"
    return (f"ld.param.u64 %at0, [a{k}]; mul.wide.u32 %at1, %r8, {dtype.itemsize}; add.s64 %at0, %at0, %at1; "
            f"{what}.global.{kind} {operands};")


@functools.lru_cache
def compiled(kernel: Callable[..., None], *types: Any) -> Program:
    """What Numba's compiler makes of a Python function, with its lines."""
    return parse(cuda.compile(kernel, types, device=False, abi="numba", cc=(8, 0), output="ptx", lineinfo=True)[0])
