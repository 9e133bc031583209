"""How an instruction finds its operands: each becomes a function of the machine, or the number of a register."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .lanes import Value
from .program import TYPES, Address, Fault, Number, Operand, Register, Special, Vector

Machine = Any  # of the module `machine`, which stands above this one
Read = Callable[[Machine], Value]


def source(operand: Operand, kind: str, narrow: bool = False) -> Read:
    """How to read an operand as this type. With `narrow`, of a wider register the low bits."""
    if isinstance(operand, Number):
        return constant(operand, kind)
    if isinstance(operand, Special) and kind in ("b32", "u32", "s32"):
        name = operand.name
        return lambda machine: machine.special[name].view(TYPES[kind])
    if not isinstance(operand, Register):
        raise Fault(f"{operand} stands where a {kind} is read")
    number, dtype, held = operand.number, TYPES[kind], TYPES[operand.type]
    check_width(operand, kind, narrow)
    if held.itemsize > dtype.itemsize:
        low = np.dtype(f"u{dtype.itemsize}")
        return lambda machine: machine.registers[number].view(f"u{held.itemsize}").astype(low).view(dtype)

    def read(machine: Machine) -> Value:
        value = machine.registers[number]  # as whatever it was written; the bits are what counts
        return value if value.dtype is dtype else value.view(dtype)
    return read


def constant(operand: Number, kind: str) -> Read:
    width = 8 * TYPES[kind].itemsize
    if operand.width not in (0, width):
        raise Fault(f"a constant of {operand.width} bits stands where a {kind} is read")
    bits = np.array(operand.pattern % 2**width, f"u{width // 8}")
    value = bits.astype(np.bool_)[()] if kind == "pred" else bits.view(TYPES[kind])[()]
    return lambda machine: value


def sources(operand: Operand, kind: str, count: int, narrow: bool = False) -> list[Read]:
    """How to read `count` operands, in braces if they are several."""
    parts = operand.parts if isinstance(operand, Vector) else (operand,)
    if len(parts) != count:
        raise Fault(f"{len(parts)} operands stand where {count} fit")
    return [source(part, kind, narrow) for part in parts]


def address(operand: Operand) -> Read:
    """How to read the address [base + offset]."""
    if not isinstance(operand, Address):
        raise Fault(f"{operand} is no address")
    base, offset = source(operand.base, "u64"), np.uint64(operand.offset % 2**64)
    return lambda machine: base(machine) + offset


def target(operand: Operand, kind: str, wide: bool = False) -> Callable[[Machine, Value, Any], None]:
    """How to write a result of this type. With `wide`, into a wider register too: it takes the sign along."""
    if not isinstance(operand, Register):
        raise Fault(f"{operand} stands where a {kind} is written")
    check_width(operand, kind, wide)
    number, dtype, held = operand.number, TYPES[kind], TYPES[operand.type]
    if held.itemsize == dtype.itemsize:
        return lambda machine, value, lanes: machine.write(number, value, lanes)
    wider = np.dtype(f"{dtype.kind}{held.itemsize}")
    return lambda machine, value, lanes: machine.write(number, value.astype(wider), lanes)


def targets(operand: Operand, kind: str, count: int) -> list[Callable[[Machine, Value, Any], None]]:
    """How to write `count` results, in braces if they are several."""
    parts = operand.parts if isinstance(operand, Vector) else (operand,)
    if len(parts) != count:
        raise Fault(f"{len(parts)} operands stand where {count} fit")
    return [target(part, kind, wide=True) for part in parts]


def check_width(register: Register, kind: str, wider: bool) -> None:
    """Raises Fault unless the register is as wide as the type, or, if allowed, wider; a predicate is only a predicate."""
    held, dtype = TYPES[register.type], TYPES[kind]
    fits = held.itemsize == dtype.itemsize or (wider and held.itemsize > dtype.itemsize and dtype.kind in "iu")
    if not fits or (register.type == "pred") != (kind == "pred"):
        raise Fault(f"a register of type {register.type} stands where a {kind} fits")
