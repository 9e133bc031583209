"""Memory that knows whose it is: each variable and each argument is a `Segment` of the 64-bit address space.

The upper 16 bits of an address are the number of a segment. Its bytes stand in the middle of it, with 128 TiB of nothing on
either side, so an index that leaves its array, however far, never reaches another array.

Races are looked for by words of 4 bytes, or by elements of the argument if they are smaller: two threads at different bytes
of one word of shared memory count as a race.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

from .lanes import Array, Lanes, Value
from .program import MIDDLE, SEGMENT, Fault, Variable
from .races import NOBODY, Shadow

POISON = 0xFF  # in every byte of fresh memory: NaN to whom reads it as a float


class Segment:
    """The `size` bytes of a variable or an argument, from the address `base` on.

    `data` holds them once, or one copy after the other for each block or thread; then `copy` is the byte where the copy of a
    lane begins. In a shadow that several arguments share, being views of one array, theirs begins at byte `start`.
    """

    def __init__(self, name: str, space: str, base: int, data: Array, size: int, copy: Array | None = None,
                 shadow: Shadow | None = None, grain: int = 4, start: int = 0) -> None:
        self.name, self.space, self.base, self.data, self.size, self.copy = name, space, base, data, size, copy
        self.shadow, self.grain, self.start = shadow, grain, start
        self.views: dict[np.dtype, Array] = {}

    def load(self, address: Array, dtype: np.dtype, count: int, lanes: Lanes, atomic: bool = False) -> list[Array]:
        """`count` numbers from each address, one of which each of the lanes has."""
        place = self.place(address, dtype.itemsize, count, lanes)
        for word in self.words(place, dtype.itemsize * count):
            self.check_written(word, lanes)
            if self.shadow:
                (self.shadow.update if atomic else self.shadow.read)(word, lanes)
        view, index = self.view(dtype), place // dtype.itemsize
        return [view[index + n] for n in range(count)]

    def store(self, address: Array, values: list[Array], lanes: Lanes) -> None:
        """Writes several numbers side by side from each address on."""
        dtype = values[0].dtype
        place = self.place(address, dtype.itemsize, len(values), lanes)
        self.check_writable()
        for word in self.words(place, dtype.itemsize * len(values)):
            if self.shadow:
                self.shadow.write(word, lanes)
        view, index = self.view(dtype), place // dtype.itemsize
        for n, value in enumerate(values):
            view[index + n] = value

    def update(self, address: Array, change: Callable[..., Value], values: list[Array], lanes: Lanes) -> Array:
        """An atomic operation: old <- memory; memory <- change(old, *values). One lane after the other; returns the olds."""
        dtype = values[0].dtype
        place = self.place(address, dtype.itemsize, 1, lanes)
        self.check_writable()
        for word in self.words(place, dtype.itemsize):
            self.check_written(word, lanes)
            if self.shadow:
                self.shadow.update(word, lanes)
        view, old = self.view(dtype), np.empty(place.shape, dtype)
        for lane, index in enumerate(place // dtype.itemsize):
            old[lane] = view[index]
            view[index] = change(old[lane], *(value[lane] for value in values))
        return old

    def place(self, address: Array, itemsize: int, count: int, lanes: Lanes) -> Array:
        """Where in `data` these addresses are. Raises Fault out of bounds, and unless the whole width divides them."""
        width, offset = itemsize * count, address - np.uint64(self.base)
        beyond = offset > np.uint64(self.size - width) if width <= self.size else np.ones(offset.shape, np.bool_)
        if beyond.any():
            byte = int(offset[beyond.argmax()].astype(np.int64))
            raise Fault(f"out of bounds: {width} bytes at byte {byte} of {self.name} of {self.size}", lanes.first(beyond))
        odd = ((address | np.uint64(self.base % itemsize)) & np.uint64(width - 1)).astype(np.bool_)
        if odd.any():
            raise Fault(f"misaligned: {width} bytes of {self.name} at an address that is no multiple", lanes.first(odd))
        place = offset.astype(np.int64)
        return place if self.copy is None else place + self.copy[lanes.here]

    def words(self, place: Array, width: int) -> list[Array]:
        """The words of the shadow that so many bytes from each place on lie in."""
        first = (place + self.start) // self.grain
        return [first + n for n in range(max(width // self.grain, 1))]

    def check_writable(self) -> None:
        if not self.data.flags.writeable:
            raise Fault(f"it writes into {self.name}, which is read-only")

    def check_written(self, word: Array, lanes: Lanes) -> None:
        """Raises Fault where no thread of the block has written a word of shared memory."""
        if self.shadow and self.space == "shared":
            never = self.shadow.writes[word] == NOBODY
            if never.any():
                raise Fault(f"it reads a word of {self.name} that no thread has written", lanes.first(never))

    def view(self, dtype: np.dtype) -> Array:
        """All of `data` as numbers of this type."""
        if dtype not in self.views:
            self.views[dtype] = self.data[: self.data.size // dtype.itemsize * dtype.itemsize].view(dtype)
        return self.views[dtype]


class Memory:
    """All segments of a launch by number: first the variables of the program, then the arguments that are arrays."""

    def __init__(self, variables: list[Variable], arrays: list[Array], block: Array) -> None:
        segments = [allocate(variable, block) for variable in variables]
        given = list(arguments(arrays, len(segments) + 1))  # there is no segment 0, where a null pointer leads
        self.addresses = [segment.base for segment in given]
        self.segments = {segment.base >> SEGMENT: segment for segment in segments + given}

    def split(self, space: str, address: Value, lanes: Lanes) -> Iterator[tuple[Segment, Lanes]]:
        """The segments that the lanes' addresses lead to. Raises Fault for an address of another space; "" is any space."""
        numbers = lanes.pick(address >> np.uint64(SEGMENT))
        for number in numbers[:1] if (numbers == numbers[0]).all() else np.unique(numbers):
            there = numbers == number
            segment = self.segments.get(int(number))
            if segment is None or space not in ("", segment.space):
                raise Fault(f"out of bounds: no {space or 'known'} memory is at this address", lanes.first(there))
            yield segment, lanes if there.all() else lanes.only(lanes.spread(there))


def allocate(variable: Variable, block: Array) -> Segment:
    """A variable of the program: poisoned copies in shared and local memory, else its content once."""
    name, space, base, size = f"{variable.space} {variable.name}", variable.space, variable.address, variable.size
    if space in ("global", "const"):
        content = variable.content if space == "const" else bytearray(variable.content)
        return Segment(name, space, base, np.frombuffer(content, np.uint8), size, shadow=Shadow(size // 4 + 1))
    stride = size + -size % 16  # so that all copies are aligned
    number = block if space == "shared" else np.arange(block.size)
    data = np.full((int(number[-1]) + 1) * stride, POISON, np.uint8)
    return Segment(name, space, base, data, size, number * stride, Shadow(data.size // 4) if space == "shared" else None)


def arguments(arrays: list[Array], first: int) -> Iterator[Segment]:
    """A segment for each array. Two views of one array have a segment each, but one shadow: they may meet."""
    roots = [pointer(root(a)) for a in arrays]
    shadows: dict[int, Shadow] = {}
    for number, (a, start) in enumerate(zip(arrays, roots, strict=True)):
        if not a.flags.c_contiguous:
            raise Fault(f"argument array {number} is not C-contiguous: strides {a.strides} for shape {a.shape}")
        family = [b for b, other in zip(arrays, roots, strict=True) if other == start]
        grain = math.gcd(4, *(b.itemsize for b in family))
        words = max(pointer(b) + b.nbytes - start for b in family) // grain + 1
        offset = pointer(a) - start
        base = ((first + number) << SEGMENT) + MIDDLE + offset  # as aligned as it would be in an array on a device
        yield Segment(f"argument array {number}", "global", base, a.reshape(-1).view(np.uint8), a.nbytes,
                      shadow=shadows.setdefault(start, Shadow(words)), grain=grain, start=offset)


def root(a: Array) -> Array:
    """The array that owns the memory of a view."""
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a


def pointer(a: Array) -> int:
    return a.__array_interface__["data"][0]
