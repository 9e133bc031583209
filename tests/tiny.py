"""Data and presets so small that a whole training takes a blink, what the tests of runs compare, and a process to stop."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from host import HOST

from ffnp.data import from_arrays
from ffnp.optim import Optimiser, Optimisers
from ffnp.preset import Preset
from ffnp.presets import PRESETS
from ffnp.rules import Backprop, ForwardForward
from ffnp.run import each_array

each_backend = pytest.mark.parametrize("backend", HOST)


def dataset(n=60, test=15, inputs=8, classes=3, name="tiny"):
    """Noisy images of `classes` different inputs that are bright."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(n + test) % classes)
    images = (np.eye(classes, inputs)[labels] + rng.random((n + test, inputs))) / 2
    return from_arrays(images[:n], labels[:n], images[n:], labels[n:], map(str, range(classes)), name)


def recipe(rule=None, rate=0.1, kind="sgd", **settings):
    """A preset with one optimiser for everything; full batches unless `settings` say otherwise."""
    step = Optimiser(kind, rate)
    given = {"hidden": (7, 5), "epochs": 3, "batch": None, **settings}
    return Preset(name="recipe", source="a test", rule=rule or Backprop(), optimisers=Optimisers(step, step), **given)


# One of each way to train: dropout and Adam; Hinton's recipe with its head, averages and hard negatives; layer after layer.
WAYS = {
    "bp": replace(PRESETS["bp-small"], hidden=(7, 5), epochs=4, batch=8),
    "ff": replace(PRESETS["ff-small"], hidden=(7, 5), epochs=4, batch=8),
    "layerwise": recipe(ForwardForward(negatives="permuted", schedule="layerwise"), kind="momentum", epochs=2, batch=8),
    "mirror": replace(PRESETS["pepita-mirror"], hidden=(7, 5), epochs=4, batch=8),
}
each_way = pytest.mark.parametrize("preset", WAYS.values(), ids=WAYS.keys())


def bits(run):
    """Every array of the net and of the optimiser's memory, by name, as bytes."""
    found = {}
    each_array((run.net, run.state), lambda name, a: found.update({name: np.asarray(a).tobytes()}))
    return found


def untimed(history):
    """The history without the one thing that differs from run to run."""
    return {**history, "epochs": [{**e, "seconds": None} for e in history["epochs"]]}


def never(*arguments, **options):
    """In the place of a function that must not be called."""
    pytest.fail("called all the same")


def files(folder):
    """name -> content of everything in a folder, hidden files included."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# `python -m ffnp`, with Ctrl-C heard even where the tests run in the background.
MODULE = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("ffnp", run_name="__main__", alter_sys=True)
"""


def stopped(arguments, line, signal):
    """Runs `python -m ffnp` and sends the signal as soon as stderr says `line`; returns exit code and the rest of stderr."""
    command = [sys.executable, "-c", MODULE, *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert any(line in said for said in process.stderr)
        process.send_signal(signal)
        rest = process.stderr.read()
    return process.returncode, rest
