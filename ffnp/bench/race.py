"""The race: a process for each contender, all of them checked against the reference, then run one at a time, in turn."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any, NamedTuple

import numpy as np

from ..errors import UserError
from ..rules import ForwardForward
from .cases import Case, data_name, layers
from .contenders import CONTENDERS
from .worker import CHECKED

COMMAND = [sys.executable, "-m", "ffnp.bench.worker"]
PAUSE = 0.1  # seconds in which the threads of one contender fall asleep before the next one runs


class Result(NamedTuple):
    """The `seconds` of every run of each contender in one case, with rows of `data`, on so many `threads`; and the roofs,
    measured in turn with them: `peak` GFLOP/s of a product, `bandwidth` GB/s of a copy."""

    case: Case
    data: str
    threads: int
    seconds: dict[str, list[float]]
    peak: float
    bandwidth: float

    def median(self, name: str) -> float:
        """Seconds of a run."""
        return statistics.median(self.seconds[name])

    def speed(self, name: str) -> float:
        """The textbook's work in that time, GFLOP/s."""
        return self.case.work / self.median(name) / 1e9


def race(case: Case, names: Sequence[str], runs: int, threads: int, done: Callable[[], Any]) -> Result:
    """Each contender warms up and then runs so many times; `done` is called after each of these runs.

    Raises UserError for a contender that does not compute what the reference does, or whose process ends.
    """
    answers: dict[str, list[dict[str, Any]]] = {}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(worker(case, name, threads)) for name in dict.fromkeys(["numpy", *names, "roofs"])}
        learners = [name for name in workers if name in CONTENDERS and CONTENDERS[name].learns]
        agree(case, {name: workers[name]("check")["numbers"] for name in learners})
        for _ in range(1 + runs):
            for name in (*names, "roofs"):
                time.sleep(PAUSE)
                answers.setdefault(name, []).append(workers[name]("run"))
                done()
    seconds = {name: [answer["seconds"] for answer in answers[name][1:]] for name in names}
    peak, bandwidth = np.median([answer["numbers"] for answer in answers["roofs"][1:]], axis=0).tolist()
    return Result(case, data_name(case), threads, seconds, peak, bandwidth)


# ----- processes -----


@contextmanager
def worker(case: Case, name: str, threads: int) -> Iterator[Callable[[str], dict[str, Any]]]:
    """A process of this contender, as a function from command to answer; it is killed at the end of the block.

    The function raises UserError where the process has ended.
    """
    command = [*COMMAND, case.name, name, "--threads", str(threads)]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
        commands, answers = process.stdin, process.stdout
        assert commands and answers

        def ask(what: str) -> dict[str, Any]:
            with suppress(BrokenPipeError):  # then there is no answer either
                print(what, file=commands, flush=True)
            line = answers.readline()
            if not line:
                code = process.wait()
                raise UserError(f"{name} did not finish {case.name}: its process ended with code {code}{last(errors)}")
            return json.loads(line)

        try:
            yield ask
        finally:
            process.kill()
            process.communicate()


def last(errors: IO[str]) -> str:
    """The last line a process wrote to this file, in brackets, if there is one."""
    errors.seek(0)
    words = errors.read().strip().rpartition("\n")[2]
    return f" ({words})" if words else ""


# ----- the same mathematics -----


def agree(case: Case, numbers: Mapping[str, Sequence[float]]) -> None:
    """Raises UserError unless all contenders answer what numpy does, within `bounds`."""
    expected = numbers["numpy"]
    for name, found in numbers.items():
        if len(found) != len(expected):
            raise UserError(f"{name} answers {len(found)} numbers to {case.name}, and numpy {len(expected)}")
        excess = np.abs(np.subtract(found, expected)) - bounds(case, expected)
        worst = int(excess.argmax())  # NaN comes before all others
        if not excess[worst] <= 0:
            raise UserError(f"{name} does not compute {case.name}: number {worst + 1} of its check is {found[worst]:.8g}, "
                            f"that of numpy {expected[worst]:.8g}, more than rounding apart")


def bounds(case: Case, expected: Sequence[float]) -> np.ndarray:
    """How far numbers of one computation may lie apart in float32, (n,).

    A number stands at the end of n additions: of each layer the inputs of its product and the answers in its norm, and the
    rows of an update, for CHECKED batches. Roundings go either way, so in another order the sum is off by about sqrt(n) eps
    times the size of what it adds up (Higham & Mary 2019). For a loss that is its threshold and itself, or logits around 1;
    for goodness it is itself. The mean over the rows of a batch makes it much less still.
    """
    n = CHECKED * (case.batch + sum(i + o for i, o in layers(case)))
    return np.finfo(np.float32).eps * n**0.5 * (np.abs(expected) + sizes(case, len(expected)))


def sizes(case: Case, n: int) -> np.ndarray:
    """What each of n numbers is compared with on the way: the threshold for a layer's loss, 1 for a cross-entropy."""
    rule = case.preset.rule
    if case.kind != "training":
        return np.zeros(n)
    if not isinstance(rule, ForwardForward):
        return np.ones(n)
    thetas = [rule.theta * (units if rule.theta_per_unit else 1) for units in case.preset.hidden]
    return np.array([*thetas, 1.0][:n])
