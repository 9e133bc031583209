"""Instructions that only compute: read registers, apply one function to them, write a register.

Two modifiers go with float32 arithmetic: `.ftz` flushes subnormal numbers to zero, `.sat` clips the result to [0, 1].
What a GPU only approximates (`.approx`) is computed to the last bit here, so this is no test of the error it makes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from . import arithmetic as do
from .lanes import Lanes, Value
from .operands import Machine, source, target
from .program import TYPES, Fault, Instruction

Step = Callable[[Machine, Lanes, int], bool]  # obeys, for these lanes, at this pc; True if they go on elsewhere
Function = Callable[..., Value]


class Rule(NamedTuple):
    """How to obey instructions of one name. `kinds`: for each type after the name the first letters it may have."""

    kinds: tuple[str, ...]
    operands: int
    step: Callable[..., Step]  # of the instruction and its types


def computing(instruction: Instruction, function: Function, result: str, *kinds: str) -> Step:
    """result <- function(sources), the sources being of these kinds."""
    to, *given = instruction.operands
    loose = instruction.name.startswith("cvt")  # alone may narrow and widen
    write = target(to, result, wide=loose)
    reads = [source(operand, kind, narrow=loose) for operand, kind in zip(given, kinds, strict=True)]
    function = modified(function, instruction.name.split("."), {result, *kinds})

    def step(machine: Machine, lanes: Lanes, pc: int) -> bool:
        write(machine, function(*[read(machine) for read in reads]), lanes)
        return False
    return step


def modified(function: Function, parts: list[str], kinds: set[str]) -> Function:
    """The function with .ftz and .sat."""
    if not {"ftz", "sat"} & set(parts):
        return function
    if kinds != {"f32"}:
        raise Fault("only float32 arithmetic is flushed or clipped")
    inner: Function = (lambda *xs: do.flush(function(*map(do.flush, xs)))) if "ftz" in parts else function
    return (lambda *xs: do.saturate(inner(*xs))) if "sat" in parts else inner


def same(count: int, kinds: str, function: Function) -> Rule:
    """The result and all `count` sources are of the one type that the name ends with."""
    return Rule((kinds,), count + 1, lambda i, kind: computing(i, function, kind, *[kind] * count))


def comparing(kinds: str, function: Function) -> Rule:
    """Two numbers of the type; the result is a predicate."""
    return Rule((kinds,), 3, lambda i, kind: computing(i, function, "pred", kind, kind))


def shifting(kinds: str, function: Function) -> Rule:
    """A number of the type, and by how many bits."""
    return Rule((kinds,), 3, lambda i, kind: computing(i, function, kind, kind, "u32"))


def single(count: int, function: Function) -> Rule:
    """As `same`, for float32 only."""
    def step(i: Instruction, kind: str) -> Step:
        if kind != "f32":
            raise Fault("it is known for float32 only")
        return computing(i, function, kind, *[kind] * count)
    return Rule(("f",), count + 1, step)


def widening(function: Function, sources: int) -> Rule:
    """Two sources of the type; the result, and a third source, are twice as wide."""
    def step(i: Instruction, kind: str) -> Step:
        wide = f"{kind[0]}{2 * int(kind[1:])}"
        if wide not in TYPES:
            raise Fault("there is no wider type")
        return computing(i, lambda a, b, *c: function(a.astype(TYPES[wide]), b.astype(TYPES[wide]), *c),
                         wide, kind, kind, *[wide] * (sources - 2))
    return Rule(("su",), sources + 1, step)


def cast(i: Instruction, result: str, kind: str) -> Step:
    """To a type that holds the number, or to the low bits of an integer."""
    to, of = TYPES[result], TYPES[kind]
    if "f" in (to.kind, of.kind) and (to.kind != of.kind or to.itemsize < of.itemsize):
        raise Fault("it does not say how to round")
    return computing(i, lambda x: x.astype(to), result, kind)


def rounding(function: Function) -> Rule:
    """A float to one without fraction, in an integer type or its own."""
    def step(i: Instruction, result: str, kind: str) -> Step:
        if result[0] != "f":
            return computing(i, lambda x: do.to_integer(function(x), TYPES[result]), result, kind)
        return computing(i, function, result, result)
    return Rule(("suf", "f"), 2, step)


COMPUTING = {
    "mov": same(1, "bsufp", lambda x: x),
    "selp": Rule(("bsuf",), 4, lambda i, kind: computing(i, lambda a, b, p: np.where(p, a, b), kind, kind, kind, "pred")),
    # addresses: the spaces of memory are one here
    **{f"cvta.{space}": same(1, "u", lambda x: x) for space in ("to.global", "to.shared", "to.local", "shared", "local")},

    # numbers
    "add": same(2, "suf", np.add),
    "sub": same(2, "suf", np.subtract),
    "neg": same(1, "sf", np.negative),
    "abs": same(1, "sf", np.abs),
    "min": same(2, "suf", do.minimum),
    "max": same(2, "suf", do.maximum),

    # integers
    "mul.lo": same(2, "su", np.multiply),
    "mul.hi": same(2, "su", do.high_half),
    "mul.wide": widening(np.multiply, 2),
    "mad.lo": same(3, "su", lambda a, b, c: a * b + c),
    "mad.wide": widening(lambda a, b, c: a * b + c, 3),
    "div": same(2, "su", do.divide),
    "rem": same(2, "su", do.remainder),

    # floats: rn is to the nearest, rm down, rz towards zero
    "add.rn": same(2, "f", np.add),
    "add.rm": single(2, do.added(do.down)),
    "add.rz": single(2, do.added(do.towards_zero)),
    "sub.rn": same(2, "f", np.subtract),
    "mul": same(2, "f", np.multiply),
    "mul.rn": same(2, "f", np.multiply),
    "fma.rn": same(3, "f", do.fma),
    "fma.rm": single(3, do.fused(do.down)),
    "fma.rz": single(3, do.fused(do.towards_zero)),
    "div.rn": same(2, "f", np.divide),
    "div.approx": same(2, "f", np.divide),
    "rcp.rn": same(1, "f", np.reciprocal),
    "rcp.approx": same(1, "f", np.reciprocal),
    "sqrt.rn": same(1, "f", np.sqrt),
    "sqrt.approx": same(1, "f", np.sqrt),
    "rsqrt.approx": same(1, "f", do.via_float64(lambda x: 1 / np.sqrt(x))),
    "ex2.approx": same(1, "f", do.via_float64(np.exp2)),
    "lg2.approx": same(1, "f", do.via_float64(np.log2)),
    "sin.approx": same(1, "f", do.via_float64(np.sin)),
    "cos.approx": same(1, "f", do.via_float64(np.cos)),
    "tanh.approx": same(1, "f", do.via_float64(np.tanh)),
    "copysign": same(2, "f", lambda sign, size: np.copysign(size, sign)),

    # comparisons: with NaN none holds, but those that end in u, "or unordered", do
    "setp.eq": comparing("bsuf", np.equal),
    "setp.ne": comparing("bsuf", lambda a, b: (a < b) | (a > b)),
    "setp.lt": comparing("suf", np.less),
    "setp.le": comparing("suf", np.less_equal),
    "setp.gt": comparing("suf", np.greater),
    "setp.ge": comparing("suf", np.greater_equal),
    "setp.equ": comparing("f", lambda a, b: ~((a < b) | (a > b))),
    "setp.neu": comparing("f", np.not_equal),
    "setp.ltu": comparing("f", lambda a, b: ~(a >= b)),
    "setp.leu": comparing("f", lambda a, b: ~(a > b)),
    "setp.gtu": comparing("f", lambda a, b: ~(a <= b)),
    "setp.geu": comparing("f", lambda a, b: ~(a < b)),
    "setp.num": comparing("f", lambda a, b: (a == a) & (b == b)),
    "setp.nan": comparing("f", lambda a, b: (a != a) | (b != b)),

    # bits
    "and": same(2, "bp", np.bitwise_and),
    "or": same(2, "bp", np.bitwise_or),
    "xor": same(2, "bp", np.bitwise_xor),
    "not": same(1, "bp", np.invert),
    "shl": shifting("b", do.shift_left),
    "shr": shifting("bsu", do.shift_right),

    # from type to type: rni rounds to the nearest integer, rzi towards zero, rmi down, rpi up
    "cvt": Rule(("suf", "suf"), 2, cast),
    "cvt.rn": Rule(("f", "suf"), 2, lambda i, to, of: computing(i, lambda x: x.astype(TYPES[to]), to, of)),
    "cvt.rni": rounding(np.rint),
    "cvt.rzi": rounding(np.trunc),
    "cvt.rmi": rounding(np.floor),
    "cvt.rpi": rounding(np.ceil),
}
