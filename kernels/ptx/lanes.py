"""Threads that obey an instruction together."""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray
Value = Any  # an array with one number per lane of the grid, or one number that all lanes share


class Clock(NamedTuple):
    """What time it is for each lane of the grid, in stamps (see `races`)."""

    block: Array  # the lane's block
    birth: Array  # its first stamp
    now: Array  # its first stamp since the last barrier
    mine: Array  # the stamp of the lane


class Lanes:
    """Some threads of the grid. A lane is the number of a thread in the whole grid, block after block.

    `mask` says for each lane whether it is one of them, `here` is an index that picks them. They are `alone` if no other
    thread is still running: then a result need not be merged with what others hold in the same register.
    """

    def __init__(self, mask: Array, alone: bool, clock: Clock) -> None:
        self.mask, self.alone, self.grid = mask, alone, clock
        self.all = bool(mask.all())

    @cached_property
    def here(self) -> Array | slice:
        return slice(None) if self.all else np.flatnonzero(self.mask)

    @cached_property
    def clock(self) -> Clock:
        """The clock of these lanes only."""
        return self.grid if self.all else Clock(*(part[self.here] for part in self.grid))

    def pick(self, value: Value) -> Array:
        """The numbers of these lanes."""
        return value[self.here] if value.ndim else np.broadcast_to(value, self.mask.shape)[self.here]

    def spread(self, values: Array) -> Array:
        """Numbers of these lanes, each at its lane's place in the grid; 0 elsewhere."""
        if self.all:
            return values
        full = np.zeros(self.mask.shape, values.dtype)
        full[self.here] = values
        return full

    def only(self, chosen: Value) -> "Lanes":
        """Those of these lanes for which `chosen` holds. (The others are still running, so these are not alone.)"""
        return Lanes(self.mask & chosen, False, self.grid)

    def first(self, bad: Array) -> int:
        """The first lane for which `bad`, a number for each of these lanes, holds."""
        return int(np.flatnonzero(self.mask)[bad.argmax()])
