"""Threads: how many the kernels and BLAS work on and when, that training on them is no matter of chance, and what else lives in
the process."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numba
import numpy as np
import pytest
import scipy.linalg.blas  # noqa: F401  brings its copy of BLAS along, which is then there from the start
import torch
from host import backends, leaves
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import arguments, overlapping, shared_out
from test_kernels import outcome
from threadpoolctl import threadpool_info
from tiny import WAYS, bits, dataset, recipe

from ffnp import training
from ffnp.kernels import blas
from ffnp.kernels.blas import blas_threads
from ffnp.kernels.cpu import threads as module
from ffnp.kernels.cpu.threads import cores, share, slabs, started, threads
from ffnp.optim import Optimisers
from ffnp.rules import PEPITA, Backprop
from ffnp.training import train

EVERY_WAY = WAYS | {"pepita": recipe(PEPITA(), kind="momentum", batch=8), "adam": recipe(kind="adam", batch=8)}


@pytest.fixture
def busy(monkeypatch):
    """However little there is to do, it is shared out."""
    monkeypatch.setattr(module, "SMALL", 0)


def of_blas():
    """The threads of every copy of BLAS."""
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def of_all():
    """What a training must leave as it was."""
    return of_blas(), slabs(), numba.get_num_threads(), torch.get_num_threads()


# ----- the same bits -----


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("preset", EVERY_WAY.values(), ids=EVERY_WAY.keys())
def test_as_many_threads_give_the_same_bits(preset, n):
    once, again = (train(preset, dataset(inputs=40), layers=[40, 37, 33], threads=n) for _ in range(2))
    assert bits(once) == bits(again)


@settings(max_examples=20)
@pytest.mark.parametrize("kernel", ["dense_squares", "project", "patch", "gradient", "momentum_step", "adam_step"])
@given(st.data(), st.integers(2, 3))
def test_slabs_at_once_have_the_bits_of_slabs_in_turn(kernel, data, n):
    args = data.draw(arguments(kernel, sizes=shared_out))
    found = []
    for small in (0, 2**60):
        with pytest.MonkeyPatch.context() as patch, threads(n):
            patch.setattr(module, "SMALL", small)
            found.append([np.asarray(a).tobytes() for a in leaves(outcome(backends["cpu"], kernel, args))])
    assert found[0] == found[1]


@pytest.mark.usefixtures("busy")
def test_more_threads_than_cores_take_turns():
    run = train(recipe(), dataset(), threads=cores() + 5)
    assert bits(run) == bits(train(recipe(), dataset(), threads=cores() + 5))
    assert run.history["threads"] == cores() + 5


def test_predictions_are_made_on_as_many_threads_as_the_training(monkeypatch):
    run, seen = train(recipe(), dataset(), threads=3), []

    def read_out(k, net, x):
        seen.append(slabs())
        return np.zeros((len(x), 3))

    monkeypatch.setattr(Backprop, "read_outs", lambda rule: {"softmax": read_out})
    run.predict(dataset().x_test)
    assert seen == [3]


# ----- what a block sets, and leaves as it was -----


@pytest.mark.usefixtures("busy")
def test_a_kernel_that_fails_leaves_numbas_threads_as_they_were():
    before, during = numba.get_num_threads(), []

    def fail(n):
        during.append(numba.get_num_threads())
        raise MemoryError

    numba.set_num_threads(1)
    try:
        with threads(2), pytest.raises(MemoryError):
            share(1, fail, fail)
        assert during == [min(2, numba.config.NUMBA_NUM_THREADS)] and numba.get_num_threads() == 1
    finally:
        numba.set_num_threads(before)


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_ctrl_c_leaves_all_as_it_was(backend, monkeypatch):
    before, apply = of_all(), Optimisers.apply
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background may ignore it
    monkeypatch.setattr(Optimisers, "apply", lambda *a: apply(*a) and signal.raise_signal(signal.SIGINT))
    try:
        with pytest.raises(KeyboardInterrupt):
            train(recipe(), dataset(), threads=1, backend=backend)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert of_all() == before


def test_torchs_own_threads_stay_as_they_are(monkeypatch):
    before, during, one_epoch = torch.get_num_threads(), [], training.one_epoch
    monkeypatch.setattr(training, "one_epoch", lambda *a: during.append(torch.get_num_threads()) or one_epoch(*a))
    train(recipe(), dataset(), threads=before + 1, epochs=1)
    assert during == [before]


class Library:
    """A copy of BLAS, of which its number of threads is known."""

    def __init__(self, name, n):
        self.filepath, self.n = name, n

    def get_num_threads(self):
        return self.n

    def set_num_threads(self, n):
        self.n = n


@given(overlapping, st.integers(1, 8), st.integers(1, 8))
def test_of_overlapping_blocks_the_least_holds_and_the_last_restores(steps, first, second):
    """In whatever order they are left; `second` is a library that is loaded while the first block is open."""
    loaded, blocks = [Library("first", first)], {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blas, "libraries", lambda modules: SimpleNamespace(lib_controllers=loaded))
        for name, n in steps:
            if name in blocks:
                blocks.pop(name)[0].__exit__(None, None, None)
            else:
                blocks[name] = blas_threads(n), n
                blocks[name][0].__enter__()
            least = min((n for _, n in blocks.values()), default=first)
            assert loaded[0].n == least
            if len(loaded) == 1:
                loaded.append(Library("second", second))
    assert [library.n for library in loaded] == [first, second]


def test_blocks_of_two_python_threads_hold_and_restore_in_the_order_in_which_they_were_entered():
    before, here, there = of_blas(), blas_threads(1), blas_threads(1)
    with ThreadPoolExecutor(1) as other:
        here.__enter__()
        other.submit(there.__enter__).result()
        here.__exit__(None, None, None)
        during = of_blas()
        other.submit(there.__exit__, None, None, None).result()
    assert during == [1] * len(before) and of_blas() == before


def test_a_second_block_does_not_search_for_blas_again(monkeypatch):
    with blas_threads(1):
        monkeypatch.setattr(blas, "ThreadpoolController", None)
        with blas_threads(1):
            assert set(of_blas()) == {1}


@pytest.mark.parametrize("said, holds", [
    ({}, {"GOMP_SPINCOUNT": "30000"}), ({"GOMP_SPINCOUNT": "7"},) * 2, ({"OMP_WAIT_POLICY": "active"},) * 2])
def test_the_pool_is_started_with_threads_that_spin_briefly_unless_the_user_says_how_long(said, holds, monkeypatch):
    numba.get_num_threads()
    names, during = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"), []

    def settings_of_openmp():
        return {name: os.environ[name] for name in names if name in os.environ}

    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name in said:
        monkeypatch.setenv(name, said[name])
    monkeypatch.setattr(numba, "get_num_threads", lambda: during.append(settings_of_openmp()))
    started.__wrapped__()
    assert during == [holds] and settings_of_openmp() == said


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "process_cpu_count", lambda: 5, raising=False)
    assert cores() == 5
    monkeypatch.delattr(os, "process_cpu_count")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 4, 6}, raising=False)
    assert cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores() == os.cpu_count()


# ----- several trainings in one process, and a process that forks -----


@pytest.mark.usefixtures("busy")
def test_two_trainings_at_once_are_two_trainings():
    presets = EVERY_WAY["ff"], EVERY_WAY["pepita"]
    alone = [bits(train(preset, dataset(), threads=2)) for preset in presets]
    before = of_all()
    with ThreadPoolExecutor(2) as pair:
        together = list(pair.map(lambda preset: bits(train(preset, dataset(), threads=2)), presets))
    assert together == alone
    assert of_all() == before


def process(program, **environment):
    """What Python prints when it runs the program, which can use `trained()`: a training on three threads, as bytes."""
    command = [sys.executable, "-c", TRAINED + program]
    ended = subprocess.run(command, env=os.environ | environment, cwd=os.path.dirname(__file__), capture_output=True,
                           text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.split()


TRAINED = """
import os, warnings
from concurrent.futures import ThreadPoolExecutor
import numba
from tiny import WAYS, bits, dataset
from ffnp.training import train
from ffnp.kernels.cpu import threads

threads.SMALL = 0
def trained():
    return bits(train(WAYS["ff"], dataset(), threads=3, epochs=1))
"""


def test_the_layer_that_is_not_safe_is_used_by_one_at_a_time():
    program = """
once = trained()
with ThreadPoolExecutor(4) as pool:
    many = list(pool.map(lambda _: trained(), range(20)))
print(numba.threading_layer(), many == 20 * [once])
"""
    assert process(program, NUMBA_THREADING_LAYER="workqueue") == ["workqueue", "True"]


def test_a_forked_process_trains_to_the_same_bits():
    program = """
before = trained()
warnings.simplefilter("ignore")  # newer Pythons warn of every fork where there are threads
child = os.fork()
if not child:
    os._exit(0 if trained() == before else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert process(program) == ["0"]
