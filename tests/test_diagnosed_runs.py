"""Training with `diagnose`: the same run, with diagnostics in every epoch, from Python and from the command line."""

import json

import numpy as np
import pytest
from tiny import WAYS, bits, dataset, each_backend, recipe, untimed

from ffnp import PRESETS, load_run
from ffnp.cli import main
from ffnp.compare import compare
from ffnp.diagnostics import diagnostics
from ffnp.kernels import reference
from ffnp.net import Net
from ffnp.optim import Optimiser, Optimisers
from ffnp.preset import Preset
from ffnp.rules import PEPITA, DirectFeedback, FeedbackAlignment, MonoForward, UnsupervisedForwardForward
from ffnp.training import train

STEP = Optimiser("sgd", 0.1)


def learning(rule):
    """A recipe whose feedback matrices learn too."""
    return Preset("recipe", "a test", rule, (7, 5), Optimisers(STEP, STEP, STEP), epochs=2, batch=8)


RECIPES = WAYS | {
    "mirrored pepita": learning(PEPITA(feedback="product", pre_mirror=1, mirror_every=1, dropout=0.1)),
    "mirror": learning(FeedbackAlignment(matrices="mirror", pre_mirror=1)),
    "kolen-pollack": learning(FeedbackAlignment(matrices="kolen-pollack")),
    "direct": recipe(DirectFeedback(dropout=0.1), epochs=2, batch=8),
    "time-local": recipe(PEPITA(update="time-local"), epochs=2, batch=8),
    "unsupervised": recipe(UnsupervisedForwardForward(), epochs=2, batch=8),
    "mono-forward": learning(MonoForward()),
}
each_recipe = pytest.mark.parametrize("preset", RECIPES.values(), ids=RECIPES.keys())


def undiagnosed(history):
    return {**history, "epochs": [{k: v for k, v in e.items() if k != "diagnostics"} for e in history["epochs"]]}


@each_backend
@each_recipe
def test_looking_changes_nothing(preset, backend):
    """Not one bit of weights or optimiser state, and no other number of the history."""
    plain, looked = (train(preset, dataset(), backend=backend, diagnose=d) for d in (False, True))
    assert bits(plain) == bits(looked)
    assert untimed(plain.history) == untimed(undiagnosed(looked.history))
    assert not any("diagnostics" in e for e in plain.history["epochs"])


@each_recipe
def test_every_epoch_keeps_its_diagnostics_as_json(preset, tmp_path):
    run = train(preset, dataset(), out=tmp_path, diagnose=True)
    kept = json.loads((tmp_path / "history.json").read_text(), parse_constant=pytest.fail)  # fails on NaN and Infinity
    assert kept == run.history
    assert all(len(e["diagnostics"]["angle"]) == len(run.net.layers) for e in kept["epochs"])


def test_diagnostics_are_of_the_validation_images_and_the_net_after_the_epoch():
    data = dataset()
    run = train(WAYS["ff"], data, diagnose=True)
    assert isinstance(run.net, Net)
    expected = diagnostics(reference, run.preset.rule, run.net, data.x_train[5::6].astype(np.float32), data.y_train[5::6])
    assert run.history["epochs"][-1]["diagnostics"] == expected


def test_a_resumed_run_keeps_what_was_looked_at(tmp_path):
    whole = train(recipe(epochs=3), dataset(), diagnose=True)
    out = {"out": tmp_path, "diagnose": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ffnp.training.total_epochs", lambda run: 2)
        train(recipe(epochs=3), dataset(), **out)
    again = load_run(tmp_path)
    assert [e["diagnostics"] for e in again.history["epochs"]] == [e["diagnostics"] for e in whole.history["epochs"][:2]]
    resumed = train(recipe(epochs=3), dataset(), resume=True, **out)
    assert untimed(resumed.history)["epochs"] == untimed(whole.history)["epochs"]


def test_comparing_carries_them_along(monkeypatch, tmp_path):
    monkeypatch.setitem(PRESETS, "ff-small", WAYS["ff"])
    compare(["ff-small"], dataset(), 1, tmp_path, diagnose=True)
    runs = json.loads((tmp_path / "compare.json").read_text())["runs"]
    assert all("goodness" in e["diagnostics"] for e in runs["ff-small"][0]["epochs"])


# ----- the command line -----


def test_the_command_looks_at_every_epoch_unless_nothing_is_to_be_reported(tmp_path):
    short = ["train", "bp-small", "--epochs", "2", "--layers", "64,9", "--out"]
    assert main([*short, str(tmp_path / "looked")]) == main([*short, str(tmp_path / "plain"), "--no-report"]) == 0
    looked, plain = (load_run(tmp_path / name) for name in ("looked", "plain"))
    assert all("diagnostics" in e for e in looked.history["epochs"])
    assert not any("diagnostics" in e for e in plain.history["epochs"])
    assert bits(looked) == bits(plain) and untimed(undiagnosed(looked.history)) == untimed(plain.history)
