"""Tiny cases for the tests of `ffnp bench`, and contenders that misbehave. As a program: a worker that knows both."""

import os
import sys
from dataclasses import replace

from ffnp.bench import in_blas, in_ffnp, worker
from ffnp.bench.cases import CASES
from ffnp.bench.contenders import CONTENDERS, Contender


def tiny(case):
    """The case with small layers, four batches of eight rows."""
    preset = replace(case.preset, hidden=(12,) * len(case.preset.hidden), batch=8)
    return case._replace(name=f"tiny-{case.name}", preset=preset, steps=4)


TINY = {case.name: case for case in map(tiny, CASES.values())}
WORKER = [sys.executable, __file__]


def loud(*given):
    print("this is no answer")
    os.system("echo nor is this")
    return in_ffnp.plain(*given)


def liar(*given):
    run = in_ffnp.plain(*given)
    return lambda: [1.01 * number for number in run()]


def dying(*given):
    raise SystemExit("no strength left")


RACERS = {name: Contender(name, "racers", name) for name in ("loud", "liar", "dying")}

if __name__ == "__main__":
    sys.modules["ffnp.bench.racers"] = sys.modules["__main__"]
    in_blas.SIDE, in_blas.COPIED = 32, 2**12
    CASES.update(TINY)
    CONTENDERS.update(RACERS)
    worker.main()
