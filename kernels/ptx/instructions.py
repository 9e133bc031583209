"""What each instruction does: `TABLE`, by its name without types. What is not in it raises Fault.

Those that only compute are in `computing`. The others are here: they load, store, exchange numbers between threads, or send
threads elsewhere.
"""

from collections.abc import Callable

import numpy as np

from .computing import COMPUTING, Function, Rule, Step
from .lanes import Lanes, Value
from .operands import Machine, address, source, sources, target, targets
from .program import TYPES, Address, Fault, Instruction, Label, Number, Parameter, Vector


def decode(instruction: Instruction) -> Step:
    """The instruction as a function. Raises Fault if it is not in the table."""
    name = ".".join(part for part in instruction.name.split(".") if part not in ("ftz", "sat"))
    rule, types = TABLE.get(name), instruction.types
    if rule is None:
        raise Fault("an instruction that is not known here")
    if len(types) != len(rule.kinds) or any(kind[0] not in allowed for kind, allowed in zip(types, rule.kinds, strict=True)):
        raise Fault("an instruction that is not known with these types")
    if len(instruction.operands) != rule.operands:
        raise Fault(f"it takes {rule.operands} operands")
    if name != instruction.name and name not in COMPUTING:
        raise Fault("only float32 arithmetic is flushed or clipped")
    step = rule.step(instruction, *types)
    return step if instruction.guard is None else guarded(step, source(instruction.guard, "pred"), instruction.wanted)


def guarded(step: Step, read: Callable[[Machine], Value], wanted: bool) -> Step:
    """Only lanes whose predicate is as wanted obey; if that sends them elsewhere, the others go on without them."""
    def guard(machine: Machine, lanes: Lanes, pc: int) -> bool:
        obeys = read(machine) == wanted
        chosen = lanes.pick(obeys)
        if not chosen.any():
            return False
        if chosen.all():
            return step(machine, lanes, pc)
        gone = step(machine, lanes.only(obeys), pc)
        if gone:
            machine.arrive(pc + 1, lanes.only(~obeys))
        return gone
    return guard


# ----- memory -----


def loading(space: str, count: int = 1, atomic: bool = False) -> Rule:
    """`count` numbers from an address on into as many registers. An atomic load may meet atomic operations."""
    def load(i: Instruction, kind: str) -> Step:
        to, place = i.operands
        writes, read, dtype = targets(to, kind, count), address(place), TYPES[kind]

        def step(machine: Machine, lanes: Lanes, pc: int) -> bool:
            where = read(machine)
            for segment, some in machine.memory.split(space, where, lanes):
                values = segment.load(some.pick(where), dtype, count, some, atomic)
                for write, value in zip(writes, values, strict=True):
                    write(machine, some.spread(value), some)
            return False
        return step
    return Rule(("bsuf",), 2, load)


def load_parameter(i: Instruction, kind: str) -> Step:
    """The parameter, or of a whole number its lower bits."""
    to, place = i.operands
    if not (isinstance(place, Address) and isinstance(place.base, Parameter) and place.offset == 0):
        raise Fault("it reads no parameter from its beginning")
    (write,), number, dtype, whole = targets(to, kind, 1), place.base.number, TYPES[kind], TYPES[place.base.type]
    if dtype != whole and (dtype.kind == "f" or whole.kind == "f" or dtype.itemsize > whole.itemsize):
        raise Fault(f"it reads as {kind} a parameter of type {place.base.type}")

    def step(machine: Machine, lanes: Lanes, pc: int) -> bool:
        write(machine, machine.parameters[number].astype(dtype), lanes)
        return False
    return step


def storing(space: str, count: int = 1) -> Rule:
    """`count` registers side by side from an address on."""
    def store(i: Instruction, kind: str) -> Step:
        place, given = i.operands
        read, reads = address(place), sources(given, kind, count, narrow=True)

        def step(machine: Machine, lanes: Lanes, pc: int) -> bool:
            where, values = read(machine), [read(machine) for read in reads]
            for segment, some in machine.memory.split(space, where, lanes):
                segment.store(some.pick(where), [some.pick(value) for value in values], some)
            return False
        return step
    return Rule(("bsuf",), 2, store)


def updating(space: str, kinds: str, count: int, change: Function, answers: int = 1) -> Rule:
    """An atomic operation. `red` is `atom` without an answer."""
    def update(i: Instruction, kind: str) -> Step:
        *to, place = i.operands[:-count]
        writes, read = [target(part, kind) for part in to], address(place)
        reads = [source(part, kind) for part in i.operands[-count:]]

        def step(machine: Machine, lanes: Lanes, pc: int) -> bool:
            where, values = read(machine), [read(machine) for read in reads]
            for segment, some in machine.memory.split(space, where, lanes):
                old = segment.update(some.pick(where), change, [some.pick(value) for value in values], some)
                for write in writes:
                    write(machine, some.spread(old), some)
            return False
        return step
    return Rule((kinds,), answers + 1 + count, update)


# ----- between threads -----


def shuffling(partner: Callable[..., Value]) -> Rule:
    """A number of another thread of the warp, the 32 threads that a GPU runs in step; one's own if the partner is too far.

    `shfl.sync.MODE.b32 to|found, value, b, c, members`: c holds the last lane in its low bits, and above them a mask for warps
    that are cut into smaller pieces; of b the low five bits count.
    """
    def shuffle(i: Instruction, kind: str) -> Step:
        to, given, *rest = i.operands
        first, *others = to.parts if isinstance(to, Vector) else (to,)
        write, found = target(first, kind), [target(other, "pred") for other in others]
        read, reads = source(given, kind), [source(part, "s32") for part in rest]

        def step(machine: Machine, lanes: Lanes, pc: int) -> bool:
            lane, (b, c, _) = machine.lane, [read(machine) for read in reads]
            piece, last = (c >> 8) & 31, c & 31
            other, inside = partner(lane, b & 31, piece, (lane & piece) | (last & ~piece))
            there = np.arange(lane.size) + np.where(inside, other - lane, 0)
            lost = ~lanes.mask[lanes.pick(there)]
            if lost.any():
                raise Fault("it asks a thread that is not here", lanes.first(lost))
            write(machine, np.broadcast_to(read(machine), lane.shape)[np.where(lanes.mask, there, 0)], lanes)
            for also in found:
                also(machine, inside, lanes)
            return False
        return step
    return Rule(("b",), 5, shuffle)


# ----- where to go on -----


def jump(i: Instruction) -> Step:
    (label,) = i.operands
    if not isinstance(label, Label):
        raise Fault("it jumps to no label")

    def step(machine: Machine, lanes: Lanes, pc: int) -> bool:
        machine.arrive(label.place, lanes)
        return True
    return step


def leave(i: Instruction) -> Step:
    """The end of the program for these lanes."""
    def step(machine: Machine, lanes: Lanes, pc: int) -> bool:
        machine.leave(lanes)
        return True
    return step


def wait(i: Instruction) -> Step:
    """At a barrier, until all threads of the block are there."""
    if i.operands != (Number(0),):
        raise Fault("only barrier 0, which all threads of the block reach, is known here")

    def step(machine: Machine, lanes: Lanes, pc: int) -> bool:
        machine.wait(pc, lanes)
        return True
    return step


# ----- the table -----

ATOMIC: dict[str, tuple[str, int, Function]] = {  # types, sources, memory <- function(memory, *sources)
    "add": ("suf", 1, lambda old, x: old + x),
    "min": ("su", 1, min),
    "max": ("su", 1, max),
    "and": ("b", 1, lambda old, x: old & x),
    "or": ("b", 1, lambda old, x: old | x),
    "xor": ("b", 1, lambda old, x: old ^ x),
    "inc": ("u", 1, lambda old, most: 0 if old >= most else old + 1),
    "dec": ("u", 1, lambda old, most: most if old == 0 or old > most else old - 1),
    "exch": ("b", 1, lambda old, x: x),
    "cas": ("b", 2, lambda old, expected, x: x if old == expected else old),
}
SPACES = (".global", ".shared", ".local", "")  # "": any, the address says which
VECTORS = (("", 1), (".v2", 2), (".v4", 4))

TABLE: dict[str, Rule] = {
    **COMPUTING,
    "ld.param": Rule(("bsuf",), 2, load_parameter),
    **{f"ld{space}{v}": loading(space[1:], count) for space in (*SPACES, ".const") for v, count in VECTORS},
    **{f"ld.global.nc{v}": loading("global", count) for v, count in VECTORS},
    **{f"ld.volatile{space}": loading(space[1:], atomic=True) for space in (".global", ".shared")},
    **{f"st{space}{v}": storing(space[1:], count) for space in SPACES for v, count in VECTORS},
    **{f"atom{space}.{op}": updating(space[1:], *how) for space in SPACES for op, how in ATOMIC.items()},
    **{f"red{space}.{op}": updating(space[1:], *how, answers=0) for space in SPACES for op, how in ATOMIC.items()},
    "shfl.sync.idx": shuffling(lambda lane, b, piece, most: (j := (lane & piece) | (b & ~piece), j <= most)),
    "shfl.sync.up": shuffling(lambda lane, b, piece, most: (lane - b, lane - b >= most)),
    "shfl.sync.down": shuffling(lambda lane, b, piece, most: (lane + b, lane + b <= most)),
    "shfl.sync.bfly": shuffling(lambda lane, b, piece, most: (lane ^ b, (lane ^ b) <= most)),
    "bra": Rule((), 1, jump),
    "bra.uni": Rule((), 1, jump),
    "ret": Rule((), 0, leave),
    "exit": Rule((), 0, leave),
    "bar.sync": Rule((), 1, wait),
}
