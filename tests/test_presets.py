"""The named recipes: they say where they come from, hold the published numbers, survive JSON, and train on any data."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from host import HOST

import ffnp
from ffnp.data import from_arrays
from ffnp.errors import UserError
from ffnp.optim import Optimiser, Optimisers
from ffnp.preset import Preset, adapt, from_settings
from ffnp.presets import PRESETS, preset
from ffnp.rules import Backprop, ForwardForward
from ffnp.run import begin

each_preset = pytest.mark.parametrize("name", PRESETS)

# Every number a published recipe fixes, under the name it has in `Preset.settings`.
PUBLISHED = {
    "ff-hinton2022": {  # the MATLAB program
        "hidden": [1000, 1000, 1000], "init": "fan_in_normal", "bias": "zeros", "epochs": 100, "batch": 100,
        "schedule": "hinton", "shuffle": False, "drop_last": False, "standardise": None,
        "rule": {"name": "forward-forward", "goodness": "sum", "theta": 1.0, "theta_per_unit": True, "norm": "rms",
                 "norm_input": True, "tiny": math.exp(-100), "label": "overlay", "strength": 1.0, "neutral": 0.1,
                 "negatives": "hard", "schedule": "joint", "peer": 0.03, "peer_keep": 0.9, "read_out": "goodness",
                 "goodness_from": 2, "softmax_from": 2},
        "layers": {"kind": "ema", "rate": 0.01, "momentum": 0.9, "decay": 0.001, "decay_kind": "decoupled",
                   "decay_biases": False},
        "head": {"kind": "ema", "rate": 0.1, "momentum": 0.9, "decay": 0.003, "decay_kind": "decoupled"},
    },
    "ff-loewe": {
        "hidden": [1000, 1000, 1000], "init": "fan_out_normal", "bias": "zeros", "epochs": 100, "batch": 100,
        "schedule": "loewe", "shuffle": True, "drop_last": True, "standardise": None,
        "rule": {"name": "forward-forward", "goodness": "sum", "theta": 1.0, "theta_per_unit": True, "norm": "rms",
                 "norm_input": True, "label": "overlay", "strength": 1.0, "neutral": 0.1, "negatives": "uniform",
                 "schedule": "joint", "peer": 0.03 * 0.2 / 1000, "peer_keep": 0.9, "read_out": "softmax", "softmax_from": 2},
        "layers": {"kind": "momentum", "rate": 0.001, "momentum": 0.9, "decay": 3e-4, "decay_kind": "l2",
                   "decay_biases": True},
        "head": {"kind": "momentum", "rate": 0.01, "momentum": 0.9, "decay": 3e-3, "decay_kind": "l2"},
    },
    "ff-olsen": {  # the Rust program; where it says nothing here, it is Hinton's
        "hidden": [1000, 1000, 1000], "init": "fan_in_normal", "bias": "zeros", "epochs": 200, "batch": 100,
        "schedule": "hinton", "shuffle": True, "drop_last": True, "standardise": None, "shift": 1,
        "rule": {"name": "forward-forward", "goodness": "sum", "theta": 1.0, "theta_per_unit": True, "loss": "logistic",
                 "alpha": 1.0, "norm": "rms", "norm_input": True, "tiny": 1e-20, "dropout": 0.15, "label": "overlay",
                 "strength": 1.0, "neutral": 0.1, "negatives": "hard", "schedule": "joint", "peer": 0.03, "peer_keep": 0.9,
                 "read_out": "softmax", "softmax_from": 2},
        "layers": {"kind": "ema", "rate": 0.01, "momentum": 0.9, "decay": 0.002, "decay_kind": "decoupled",
                   "decay_biases": False},
        "head": {"kind": "ema", "rate": 0.1, "momentum": 0.9, "decay": 0.003, "decay_kind": "decoupled"},
    },
    "ff-mpezeshki": {  # torch's Adam and Linear as they come
        "hidden": [500, 500], "init": "fan_in_uniform", "bias": "fan_in_uniform", "epochs": 1000, "batch": None,
        "schedule": "constant", "shuffle": False, "standardise": [0.1307, 0.3081],
        "rule": {"name": "forward-forward", "goodness": "mean", "theta": 2.0, "theta_per_unit": False, "norm": "l2",
                 "norm_input": True, "tiny": 1e-4, "label": "overlay", "strength": (1 - 0.1307) / 0.3081,
                 "negatives": "permuted once", "schedule": "layerwise", "peer": 0.0, "read_out": "goodness",
                 "goodness_from": 1, "softmax_from": None},
        "layers": {"kind": "adam", "rate": 0.03, "momentum": 0.9, "beta2": 0.999, "epsilon": 1e-8, "decay": 0.0},
        "head": None,
    },
    "pepita-icml2022": {
        "hidden": [1024], "init": "he_uniform", "bias": None, "epochs": 100, "batch": 64, "schedule": "step",
        "drop_last": False,
        "rule": {"update": "modulated", "sign": 1, "error": "second", "pre": "second", "dropout": 0.1, "spread": 0.05,
                 "feedback": "uniform", "mask_difference": False, "norm": "none", "activation": "relu"},
        "layers": {"kind": "momentum_inside", "rate": 0.1, "momentum": 0.9, "decay": 0.0},
        "head": None,
    },
    "pepita-iclr2024": {
        "hidden": [1024], "init": "he_uniform", "bias": None, "epochs": 100, "batch": 64, "schedule": "step",
        "drop_last": True,
        "rule": {"update": "modulated", "sign": -1, "error": "first", "pre": "second", "dropout": 0.1, "spread": 0.05,
                 "feedback": "uniform", "mask_difference": False, "norm": "none", "activation": "relu"},
        "layers": {"kind": "momentum", "rate": 0.01, "momentum": 0.9, "decay": 1e-4, "decay_kind": "l2"},
        "head": None,
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_preset_has_exactly_the_published_numbers(name):
    settings = PRESETS[name].settings()
    told = {**settings, "layers": settings["optimisers"]["layers"], "head": settings["optimisers"].get("head")}
    for key, expected in PUBLISHED[name].items():
        if isinstance(expected, dict):
            assert {part: told[key][part] for part in expected} == expected
        else:
            assert told[key] == expected, key


@each_preset
def test_a_preset_says_what_it_is_and_where_it_comes_from(name):
    assert PRESETS[name].name == name and len(PRESETS[name].source) > 20
    assert preset(name) is PRESETS[name]


@each_preset
def test_a_preset_survives_json(name):
    assert from_settings(json.loads(json.dumps(PRESETS[name].settings()))) == PRESETS[name]


# ----- on data -----


def few_images(inputs=12, classes=4):
    rng = np.random.default_rng(0)
    x, y = rng.random((48, 3, inputs // 3)), np.arange(48) % classes
    return from_arrays(x, y, x[:10], y[:10], name="noise")


@each_preset
@pytest.mark.parametrize("backend", HOST)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_preset_fits_itself_to_the_data(name, backend, dtype):
    run = ffnp.train(name, few_images(), epochs=3, batch=9, layers=(12, 7, 6), backend=backend, dtype=dtype)
    assert run.history["sizes"] == [12, 7, 6, 4]
    assert run.predict(few_images().x_test).shape == (10,)
    assert 0 <= run.history["test_error"] <= 1 and set(run.history["read_outs"]) == set(run.preset.rule.read_outs())
    assert all(a.dtype == dtype for layer in run.net.layers for a in layer if a is not None)


@each_preset
def test_every_layer_of_a_preset_learns(name):
    """In three epochs: there are presets that only mirror in the first two."""
    run = ffnp.train(name, few_images(), epochs=3, batch=9, layers=(12, 7, 6))
    for trained, fresh in zip(run.net.layers, begin(run.preset, run.history).net.layers, strict=True):
        assert all(not np.array_equal(a, b) for a, b in zip(trained, fresh, strict=True) if a is not None)
    assert run.net.head is None or run.net.head.W.any()


def test_adapt_changes_what_it_is_told_and_nothing_else():
    before = PRESETS["ff-hinton2022"]
    assert adapt(before, 784, None, None, None) == before
    after = adapt(before, 64, 3, 20, (64, 30, 40))
    assert (after.epochs, after.batch, after.hidden) == (3, 20, (30, 40))
    assert replace(after, epochs=before.epochs, batch=before.batch, hidden=before.hidden) == before


# ----- what is refused -----


@pytest.mark.parametrize(("changes", "named"), [
    ({"layers": (63, 30)}, "layers 63,30 must be the data's 64 inputs"),
    ({"layers": (64,)}, "layers 64 must be the data's 64 inputs, then the hidden widths"),
    ({"layers": (64, 0)}, r"at least 1, not .*\(0,\)"),
    ({"epochs": 0}, "at least 1, not 0"),
    ({"batch": 0}, "at least 1, not .* 0,"),
])
def test_changes_that_cannot_work_are_refused_by_value(changes, named):
    wanted = {"epochs": None, "batch": None, "layers": None} | changes
    with pytest.raises(UserError, match=named):
        adapt(PRESETS["bp"], 64, **wanted)


@pytest.mark.parametrize("epochs", [1, 2])
def test_epochs_in_which_nothing_is_learned_are_refused(epochs):
    with pytest.raises(UserError, match=f"pepita-mirror only mirrors up to epoch 2, so {epochs} epochs leave none to learn in"):
        adapt(PRESETS["pepita-mirror"], 64, epochs, None, None)


def test_an_unknown_preset_or_schedule_is_refused_by_name():
    with pytest.raises(UserError, match="no preset 'ff-hinton'; choose one of bp, "):
        preset("ff-hinton")
    with pytest.raises(UserError, match="no schedule 'warm'; choose one of constant, step"):
        Preset("mine", "nowhere", Backprop(), (5,), Optimisers(Optimiser("sgd", 0.1)), epochs=1, schedule="warm")


def test_a_recipe_of_ones_own_survives_json():
    mine = Preset("mine", "nowhere", ForwardForward(label="append"), (5, 6), standardise=(0.1, 0.2), epochs=2, batch=None,
                  optimisers=Optimisers(Optimiser("adam", 0.1), Optimiser("sgd", 0.2, decay=0.1, decay_kind="l2")))
    assert from_settings(json.loads(json.dumps(mine.settings()))) == mine


def test_a_rule_without_a_name_cannot_be_written_down():
    class Nameless(Backprop):
        pass

    with pytest.raises(UserError, match=r"the rule Nameless has no name yet: add it to ffnp\.rules\.RULES"):
        replace(PRESETS["bp"], rule=Nameless()).settings()
