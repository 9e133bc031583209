"""Who touched a word of memory, and when: what it takes to find a race.

A *race* is two threads at one word, at least one of them writing, and no barrier of their block between the two. (Threads of
different blocks have no barrier in common.) Which of them comes first differs from run to run on a GPU, so it is refused even
when the numbers come out right. Atomic operations may meet each other, but no plain access.

A `Shadow` keeps stamps of the accesses to each word. A stamp is one number that holds a block, its epoch (how many barriers it
has passed) and a thread; later epochs of a block have higher stamps, so comparing numbers tells who came before a barrier.
"""

import numpy as np

from .lanes import Array, Clock, Lanes
from .program import Fault

THREAD, EPOCH = 11, 40  # stamp = (block + 1) << 40 | epoch << 11 | thread + 2
MANY = 1  # in place of thread + 2: several threads of the block in this epoch
NOBODY, EVERYBODY = 0, 1 << 62  # the stamps of no thread, and of threads of several blocks


def clock(block: Array, epoch: Array, thread: Array) -> Clock:
    """The time of each lane, from its block, the barriers the block has passed, and the lane's number in it."""
    birth = (block + 1) << EPOCH
    now = birth + (epoch << THREAD)
    return Clock(block, birth, now, now + 2 + thread)


class Shadow:
    """For each word the stamps of its last plain read, plain write and atomic operation."""

    def __init__(self, words: int) -> None:
        self.reads, self.writes, self.updates = (np.zeros(words, np.int64) for _ in range(3))

    def read(self, word: Array, lanes: Lanes) -> None:
        refuse("reads", word, lanes, wrote=self.writes, updated=self.updates)
        remember(self.reads, word, lanes)

    def write(self, word: Array, lanes: Lanes) -> None:
        refuse("writes", word, lanes, read=self.reads, wrote=self.writes, updated=self.updates)
        self.writes[word] = lanes.clock.mine
        lost = self.writes[word] != lanes.clock.mine
        if lost.any():
            raise Fault("a race: it writes a word that another thread writes in the same instruction", lanes.first(lost))

    def update(self, word: Array, lanes: Lanes) -> None:
        refuse("updates", word, lanes, read=self.reads, wrote=self.writes)
        remember(self.updates, word, lanes)


def meets(stamp: Array, clock: Clock) -> Array:
    """Where a stamp is another thread's, and not from its own block before the last barrier."""
    return (stamp != clock.mine) & (stamp != NOBODY) & ((stamp >= clock.now) | (stamp < clock.birth))


def refuse(does: str, word: Array, lanes: Lanes, **done: Array) -> None:
    """Raises Fault where another thread has done one of these things to the word, with no barrier since."""
    for did, stamps in done.items():
        stamp = stamps[word]
        bad = meets(stamp, lanes.clock)
        if bad.any():
            who = whom(int(stamp[bad.argmax()]))
            raise Fault(f"a race: it {does} a word that {who} {did}, with no barrier between", lanes.first(bad))


def remember(stamps: Array, word: Array, lanes: Lanes) -> None:
    """Stamps the words. A word that several threads have touched gets the stamp of many, not that of the last."""
    clock = lanes.clock
    while word.size:
        stamp = stamps[word]
        together = np.where(stamp < clock.birth + (1 << EPOCH), clock.now + MANY, EVERYBODY)
        new = np.where(meets(stamp, clock), together, clock.mine)
        stamps[word] = new
        lost = stamps[word] != new  # where another of these lanes left its stamp; once more, on top of that
        word, clock = word[lost], Clock(*(part[lost] for part in clock))


def whom(stamp: int) -> str:
    if stamp == EVERYBODY:
        return "several blocks"
    thread = stamp % (1 << THREAD) - 2
    return f"{'several threads' if thread < 0 else f'thread {thread}'} of block {(stamp >> EPOCH) - 1}"
