"""A contender's process: `python -m ffnp.bench.worker CASE CONTENDER --threads N`. It reads commands on stdin, answers each
with a line of JSON on stdout, and sleeps in between.

    check    the numbers of the first batches, from the start, on a network of its own
    run      one more run, and its seconds
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .cases import Case, case_named, initial, rows
from .contenders import CONTENDERS, ROOFS, Start

CHECKED = 3  # batches: in the third, all that the first one moved has moved the choice of negatives too


def main(argv: Sequence[str] | None = None) -> None:
    """Serves until stdin ends."""
    parser = argparse.ArgumentParser(description="One contender of `ffnp bench`, told on stdin what to do: check or run.")
    parser.add_argument("case")
    parser.add_argument("contender", choices=(*CONTENDERS, "roofs"))
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args(argv)
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what a library prints is no answer
        start = {**CONTENDERS, "roofs": ROOFS}[args.contender].start()
        for answer in served(case_named(args.case), start, args.threads, map(str.strip, sys.stdin)):
            print(json.dumps(answer), file=answers, flush=True)


def served(case: Case, start: Start, threads: int, commands: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The answer to each command."""
    x, y = rows(case)
    run = start(case, initial(case), x, y, threads)
    for command in commands:
        if command == "check":
            short = case._replace(steps=min(CHECKED, case.steps))
            yield {"numbers": start(short, initial(case), x[: short.rows], y[: short.rows], threads)()}
        else:
            begun = time.perf_counter()
            numbers = run()
            yield {"seconds": time.perf_counter() - begun, "numbers": numbers}


if __name__ == "__main__":
    main()
