"""Runs a `Program` the way a GPU does, with NumPy in place of the silicon.

A launch is a *grid* of *blocks* of *threads*. All threads run the same program, each with registers of its own; a block
shares some memory and can wait for its threads at a barrier. A GPU runs 32 threads in step, this machine all of the grid: a
register is an array with a number for each thread, and one instruction is one NumPy operation on it.

Threads part where a branch goes one way for some and the other for the rest. The machine then has several groups of `Lanes`,
each at its own pc (program counter, the number of an instruction). It always runs the group with the lowest pc, until that
reaches another's and the two go on as one: a loop or an `if` is over when its last thread leaves it.

What a GPU leaves undefined ends in `Fault`, with the instruction, its line of source, the block and the thread: see `memory`
and `races`, and `Machine.release` for barriers.
"""

import functools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .computing import Step
from .instructions import decode
from .lanes import Array, Lanes, Value
from .memory import Memory
from .program import TYPES, Fault, Program
from .races import clock

LIMITS = {"grid": (2**31 - 1, 65535, 65535), "block": (1024, 1024, 64)}  # of every GPU since 2012
THREADS = 1024  # in a block


class Report(NamedTuple):
    """What a launch took: instructions issued, in all and by name with types, and barriers passed, summed over the blocks."""

    steps: int
    issued: Counter[str]
    barriers: int


def run(
    program: Program, grid: tuple[int, ...], block: tuple[int, ...], args: Sequence[Any], limit: int = 10_000_000,
) -> Report:
    """Runs the kernel on the arguments of its Python function, in their order: NumPy arrays, written in place, and numbers.

    `grid` and `block` have one to three sizes (x, y, z). Raises Fault for whatever a GPU would refuse or leave undefined, and
    after `limit` instructions.
    """
    steps = decoded(program)
    machine = Machine(program, size("grid", grid), size("block", block), args)
    try:
        with np.errstate(all="ignore"):
            machine.run(steps, limit)
    except Fault as fault:
        raise Fault(f"{fault}: {machine.whereabouts(fault.lane)}") from None
    issued: Counter[str] = Counter()
    for instruction, count in zip(program.instructions, machine.issued, strict=True):
        issued[".".join((instruction.name, *instruction.types))] += count
    return Report(machine.steps, +issued, int(machine.epoch.sum()))


@functools.lru_cache
def decoded(program: Program) -> list[Step]:
    """The program as functions. Raises Fault for an instruction that is not known, run or not."""
    steps = []
    for instruction in program.instructions:
        try:
            steps.append(decode(instruction))
        except Fault as fault:
            raise Fault(f"{fault}: `{instruction.text}` {instruction.source}".rstrip()) from None
    return steps


def size(what: str, given: tuple[int, ...]) -> tuple[int, ...]:
    """The three sizes of a grid or a block. Raises Fault if a GPU does not launch it."""
    full = (*given, *(1,) * (3 - len(given)))
    if len(full) != 3 or not all(1 <= n <= most for n, most in zip(full, LIMITS[what], strict=True)):
        raise Fault(f"a {what} of {given}: a GPU takes 1 to {LIMITS[what]}")
    if what == "block" and math.prod(full) > THREADS:
        raise Fault(f"a block of {given} has more than {THREADS} threads")
    return full


def places(where: str, sizes: str, number: Array, size: tuple[int, ...]) -> dict[str, Array]:
    """The registers that say where a thread or block stands, and among how many: x runs fastest."""
    x, y, _ = size
    at = (number % x, number // x % y, number // (x * y))
    return {f"{name}.{axis}": value.astype(np.uint32) for axis, n, here in zip("xyz", size, at, strict=True)
            for name, value in ((where, here), (sizes, np.full_like(number, n)))}


def fresh(dtype: np.dtype) -> Value:
    return np.bool_(True) if dtype == np.bool_ else np.frombuffer(b"\xff" * dtype.itemsize, dtype)[0]


def number(value: Any, kind: str) -> Value:
    """An argument as a parameter of this type."""
    dtype = TYPES[kind]
    if dtype.kind == "f":
        return dtype.type(value)
    if isinstance(value, float | np.floating):
        raise Fault(f"the number {value!r} is passed where a {kind} fits")
    return np.array(int(value) % 2 ** (8 * dtype.itemsize), f"u{dtype.itemsize}").view(dtype)[()]


class Machine:
    """One launch. `registers` hold a number for each lane, or one that all lanes share. An array of them is replaced, never
    changed, so two registers may hold the same one. Fresh registers have all bits set."""

    def __init__(self, program: Program, grid: tuple[int, ...], block: tuple[int, ...], args: Sequence[Any]) -> None:
        self.program, self.steps, self.pc = program, 0, 0
        self.threads, blocks = math.prod(block), math.prod(grid)
        lanes = np.arange(blocks * self.threads)
        self.block, self.thread = lanes // self.threads, lanes % self.threads
        self.lane = self.thread % 32  # in its warp
        self.special = {
            "%laneid": self.lane.astype(np.uint32),
            **places("%tid", "%ntid", self.thread, block), **places("%ctaid", "%nctaid", self.block, grid)}
        self.registers: list[Value] = [fresh(TYPES[kind]) for kind in program.registers]
        self.memory = Memory(program.variables, [a for a in args if isinstance(a, np.ndarray)], self.block)
        self.parameters = self.passed(args)
        self.issued = [0] * len(program.instructions)
        self.alive = np.ones(lanes.size, np.bool_)
        self.epoch = np.zeros(blocks, np.int64)  # barriers that each block has passed
        self.waiting: dict[int, Array] = {}  # at the barrier of this pc: a mask
        self.ready: dict[int, Lanes] = {}  # to run on at this pc
        self.start(0, self.alive)

    def passed(self, args: Sequence[Any]) -> list[Value]:
        """The parameters, as Numba passes them: an array is [0, 0, size, itemsize, address, *shape, *strides]."""
        addresses, values = iter(self.memory.addresses), list[Any]()
        for a in args:
            if isinstance(a, np.ndarray):
                values += [0, 0, a.size, a.itemsize, next(addresses), *a.shape, *a.strides]
            else:
                values.append(a)
        kinds = self.program.parameters
        if len(values) != len(kinds):
            raise Fault(f"{len(values)} parameters are passed to {self.program.name}, which has {len(kinds)}")
        return [number(*pair) for pair in zip(values, kinds, strict=True)]

    def run(self, steps: list[Step], limit: int) -> None:
        while self.ready or self.waiting:
            if self.ready:
                self.run_lowest(steps)
            else:
                self.release()
            if self.steps > limit:
                raise Fault(f"still running after {limit} instructions")

    def run_lowest(self, steps: list[Step]) -> None:
        """Runs the group with the lowest pc until it jumps, ends, waits, or reaches the next group."""
        pc = min(self.ready)
        lanes = self.ready.pop(pc)
        join = min(self.ready, default=len(steps))
        while pc < join:
            self.pc = pc
            self.steps += 1
            self.issued[pc] += 1
            if steps[pc](self, lanes, pc):
                return
            pc += 1
        self.arrive(pc, lanes)

    def write(self, register: int, value: Value, lanes: Lanes) -> None:
        """The lanes' numbers of `value` go into a register."""
        if not lanes.alone:
            value = np.where(lanes.mask, value, self.registers[register].view(value.dtype))
        self.registers[register] = value

    def start(self, pc: int, mask: Array) -> None:
        """Sends lanes to an instruction, at what time it is now."""
        now = clock(self.block, self.epoch[self.block], self.thread)
        self.arrive(pc, Lanes(mask, bool((mask == self.alive).all()), now))

    def arrive(self, pc: int, lanes: Lanes) -> None:
        """The lanes go on at an instruction, together with those that are there already."""
        if pc in self.ready:
            mask = self.ready[pc].mask | lanes.mask
            lanes = Lanes(mask, bool((mask == self.alive).all()), lanes.grid)
        self.ready[pc] = lanes

    def leave(self, lanes: Lanes) -> None:
        self.alive = self.alive & ~lanes.mask

    def wait(self, pc: int, lanes: Lanes) -> None:
        self.waiting[pc] = self.waiting[pc] | lanes.mask if pc in self.waiting else lanes.mask

    def release(self) -> None:
        """Opens the barriers, once no thread can run: then all threads of a block must wait at the same one.

        Threads that wait at another would pass both barriers unsynchronised. One that has ended never comes: some GPUs do
        without it, but no barrier is defined then, and reductions that count on all threads lack its part.
        """
        waiting, self.waiting = self.waiting, {}
        for pc, mask in waiting.items():
            self.pc = pc
            count = np.bincount(self.block[mask], minlength=self.epoch.size)
            short = (count > 0) & (count < self.threads)
            if short.any():
                here = mask & (self.block == short.argmax())
                ended = ~self.alive & (self.block == short.argmax())
                raise Fault("at a barrier that others of the block do not reach: they " +
                            ("have ended" if ended.any() else "wait at another"), int(here.argmax()))
            self.epoch += count > 0
        for pc, mask in waiting.items():
            self.start(pc + 1, mask)

    def whereabouts(self, lane: int | None) -> str:
        """Where in the program the machine is, and which thread of which block it is about."""
        instruction = self.program.instructions[self.pc]
        who = "" if lane is None else f", thread {self.thread[lane]} of block {self.block[lane]}"
        return f"`{instruction.text}` {instruction.source}".rstrip() + who
