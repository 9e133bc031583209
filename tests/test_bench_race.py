"""The race of `ffnp bench`: a process for each contender, in turn, all computing the same, and none outlives it."""

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from racers import RACERS, TINY, WORKER

from ffnp.bench import race as racing
from ffnp.bench.cases import CASES
from ffnp.bench.contenders import CONTENDERS
from ffnp.bench.race import agree, bounds, race
from ffnp.bench.worker import served
from ffnp.errors import UserError
from ffnp.rules import FeedbackAlignment

BP = TINY["tiny-bp"]


@pytest.fixture(autouse=True)
def only_what_ships(monkeypatch, tmp_path):
    """No MNIST, whatever is at hand."""
    monkeypatch.setenv("FFNP_DATA", str(tmp_path))


def numbers(case, contender, *commands):
    """What a contender answers in this process."""
    return [answer["numbers"] for answer in served(case, CONTENDERS[contender].start(), 1, commands)]


# ----- who computes the same -----


@pytest.mark.parametrize("case", TINY.values(), ids=TINY)
def test_the_fast_backend_computes_what_the_reference_does(case):
    agree(case, {name: numbers(case, name, "check")[0] for name in ("numpy", "ours")})


def changed(case, **settings):
    """The case with other settings of its layers' optimiser."""
    optimisers = case.preset.optimisers
    return case._replace(preset=replace(case.preset, optimisers=optimisers._replace(
        layers=replace(optimisers.layers, **settings))))


def ruled(case, **settings):
    return case._replace(preset=replace(case.preset, rule=replace(case.preset.rule, **settings)))


OTHERS = {
    "another rate": changed(BP, rate=0.11),
    "another momentum": changed(TINY["tiny-ff-hinton2022"], momentum=0.8),
    "another moment": changed(TINY["tiny-ff-mean-adam"], epsilon=1e-3),
    "another label": ruled(TINY["tiny-ff-hinton2022"], strength=1.01),
    "other negatives": ruled(TINY["tiny-ff-hinton2022"], negatives="uniform"),
    "no neutral label": ruled(TINY["tiny-ff-hinton2022"], neutral=0.0),
    "another sign": ruled(TINY["tiny-pepita"], sign=1),
    "another layer": ruled(TINY["tiny-prediction"], goodness_from=1),
    "its own weights on the way back": TINY["tiny-fa"]._replace(
        preset=replace(TINY["tiny-fa"].preset, rule=FeedbackAlignment(matrices="sign"))),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_another_computation_is_found_out(other):
    right, wrong = (numbers(case, "numpy", "check")[0] for case in (TINY[other.name], other))
    with pytest.raises(UserError, match=f"ours does not compute {other.name}: number [1-9]"):
        agree(other, {"numpy": right, "ours": wrong})


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_agrees_with_nothing(wrong):
    with pytest.raises(UserError, match=f"ours does not compute tiny-bp: number 1 of its check is {wrong}, that of numpy 2.5"):
        agree(BP, {"numpy": [2.5], "ours": [wrong]})


def test_as_many_numbers_are_asked_of_everyone():
    with pytest.raises(UserError, match="ours answers 0 numbers to tiny-bp, and numpy 1"):
        agree(BP, {"numpy": [2.5], "ours": []})


def test_rounding_is_granted_in_proportion_to_what_a_number_is_compared_with():
    """A goodness is compared with a threshold of one a unit, logits with each other."""
    case = CASES["ff-hinton2022"]
    granted = bounds(case, [0.0] * 4)
    np.testing.assert_allclose(granted / granted[3], [1000, 1000, 1000, 1])
    assert granted[3] == pytest.approx(2**-23 * (3 * (100 + 784 + 1000 + 2 * 2000)) ** 0.5)


# ----- who runs when -----


@contextmanager
def scripted(case, name, threads, told):
    """A worker that notes what it is told; its n-th run takes n seconds."""
    runs = iter(range(1, 100))
    yield lambda what: told.append((name, what)) or {"seconds": float(next(runs)), "numbers": [2.5, 5.0]}


@pytest.fixture
def told(monkeypatch):
    """What workers are told, in order, none of them a process."""
    heard = []
    monkeypatch.setattr(racing, "worker", lambda *given: scripted(*given, heard))
    monkeypatch.setattr(racing, "PAUSE", 0)
    return heard


def test_all_run_in_turn_after_all_are_checked(told):
    race(BP, ["ours", "blas"], 5, 1, lambda: None)
    checks, runs = told[:2], told[2:]
    assert checks == [("numpy", "check"), ("ours", "check")]
    assert runs == [(name, "run") for name in ("ours", "blas", "roofs")] * 6


def test_the_first_run_warms_up_and_counts_for_nothing(told):
    result = race(TINY["tiny-fa"], ["numpy", "ours"], 5, 3, lambda: None)
    assert result.seconds == {"numpy": [3, 4, 5, 6, 7], "ours": [3, 4, 5, 6, 7]}  # 1 was the check
    assert (result.median("ours"), result.threads, result.peak, result.bandwidth) == (5, 3, 2.5, 5)


def test_every_run_is_told_to_the_bar(told):
    done = []
    race(BP, ["numpy", "blas"], 5, 1, lambda: done.append(1))
    assert len(done) == (2 + 1) * (1 + 5)


# ----- processes -----


@pytest.fixture
def started(monkeypatch):
    """The processes of a race, workers that know the tiny cases."""
    monkeypatch.setattr(racing, "COMMAND", WORKER)
    monkeypatch.setattr(racing, "PAUSE", 0)
    for name, racer in RACERS.items():
        monkeypatch.setitem(CONTENDERS, name, racer)
    processes, popen = [], subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **o: processes.append(popen(*a, **o)) or processes[-1])
    yield processes
    assert processes and all(process.poll() is not None for process in processes)


def test_a_race_of_processes(started):
    result = race(BP, ["blas", "loud"], 5, 1, lambda: None)
    assert {name: len(runs) for name, runs in result.seconds.items()} == {"blas": 5, "loud": 5}
    assert min(min(runs) for runs in result.seconds.values()) > 0
    assert (result.case, result.data, len(started)) == (BP, "fashion-mini", 4)  # numpy and roofs too
    assert result.peak > 0 and result.bandwidth > 0


def test_who_computes_something_else_is_named(started):
    with pytest.raises(UserError, match="liar does not compute tiny-bp: number 1 of its check is 2"):
        race(BP, ["liar"], 5, 1, lambda: None)


def test_who_gives_up_is_named_with_its_last_words(started):
    with pytest.raises(UserError, match=r"dying did not finish tiny-bp: its process ended with code 1 \(no strength left\)"):
        race(BP, ["dying"], 5, 1, lambda: None)


def test_ctrl_c_leaves_no_process(started):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        race(BP, ["blas"], 5, 1, interrupt)


def test_a_worker_answers_in_json_and_ends_with_its_input(tmp_path):
    """Whatever its libraries print."""
    ended = subprocess.run([*WORKER, "tiny-bp", "loud", "--threads", "1"], input="check\nrun\n", capture_output=True, text=True,
                           timeout=60, check=True)
    check, run = map(json.loads, ended.stdout.splitlines())
    assert check.keys() == {"numbers"} and run.keys() == {"seconds", "numbers"}
    assert ended.stderr.splitlines()[:2] == ["this is no answer", "nor is this"]


LIGHT = ["ffnp.bench.command", "ffnp.bench.worker", "ffnp.bench.in_ffnp", "ffnp.bench.in_blas"]
IMPORT = f"import sys, {', '.join(LIGHT)}; print(*{{'torch', 'jax', 'numba', 'matplotlib'}} & set(sys.modules))"


def test_who_takes_part_is_imported_only_where_it_runs():
    assert subprocess.check_output([sys.executable, "-c", IMPORT], text=True) == "\n"
