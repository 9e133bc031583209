"""Stopping and going on: resumed equals uninterrupted, bit for bit, and nothing half-written is ever left behind."""

import json
import os
import signal
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from tiny import WAYS, bits, dataset, each_backend, each_way, files, never, recipe, stopped, untimed

from ffnp import UserError, load_run, training
from ffnp.cli import main
from ffnp.optim import Optimisers
from ffnp.rules import Backprop
from ffnp.training import train


def after(calls, f, problem):
    """f, which raises `problem` instead of answering call number `calls` + 1."""
    made = []

    def counted(*arguments, **options):
        made.append(1)
        if len(made) == calls + 1:
            raise problem
        return f(*arguments, **options)

    return counted


def assert_same_run(actual, expected):
    assert bits(actual) == bits(expected)
    assert untimed(actual.history) == untimed(expected.history)


# ----- resumed equals uninterrupted -----


@each_backend
@each_way
@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_stopped_between_epochs(preset, epochs, backend, monkeypatch, tmp_path):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "one_epoch", after(epochs, training.one_epoch, KeyboardInterrupt))
        train(preset, dataset(), backend=backend, out=tmp_path)
    assert len(load_run(tmp_path).history["epochs"]) == epochs
    resumed = train(preset, dataset(), backend=backend, out=tmp_path, resume=True)
    assert_same_run(resumed, train(preset, dataset(), backend=backend))


@each_backend
@each_way
@pytest.mark.parametrize("steps", [3, 7 + 3, 7 * 3 + 5])
def test_stopped_in_mid_epoch(preset, steps, backend, monkeypatch, tmp_path):
    """Seven steps an epoch, so that the first, the second and the fourth is cut short."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Optimisers, "apply", after(steps, Optimisers.apply, KeyboardInterrupt))
        train(preset, dataset(), backend=backend, out=tmp_path)
    resumed = train(preset, dataset(), backend=backend, out=tmp_path, resume=True)
    assert_same_run(resumed, train(preset, dataset(), backend=backend))


@pytest.mark.parametrize("arguments, line", [
    (["bp-small", "--epochs", "8", "--batch", "4"], "epoch 3/8"),
    (["ff-small", "--epochs", "8", "--batch", "20"], "epoch 3/8"),
    (["ff-mpezeshki", "--epochs", "6"], "epoch 7/12"),  # in the second layer's turn
], ids=["bp-small", "ff-small", "layerwise"])
def test_killed_in_mid_epoch(arguments, line, tmp_path):
    command = ["train", *arguments, "--layers", "64,20,16", "--backend", "numpy", "--threads", "1", "--out"]
    code, _ = stopped([*command, str(tmp_path / "killed")], line, signal.SIGKILL)
    assert code == -signal.SIGKILL and load_run(tmp_path / "killed").history["test_error"] is None
    assert main([*command, str(tmp_path / "killed"), "--resume"]) == main([*command, str(tmp_path / "whole")]) == 0
    assert_same_run(load_run(tmp_path / "killed"), load_run(tmp_path / "whole"))
    assert files(tmp_path / "killed").keys() == {"model.npz", "history.json", "report.html"}


def test_a_run_that_is_stopped_again_and_again_ends_all_the_same(monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        for steps in (10, 10, 10):
            patch.setattr(Optimisers, "apply", after(steps, Optimisers.apply, KeyboardInterrupt))
            with suppress(KeyboardInterrupt):
                train(WAYS["bp"], dataset(), out=tmp_path, resume=True)
    assert_same_run(train(WAYS["bp"], dataset(), out=tmp_path, resume=True), train(WAYS["bp"], dataset()))


def test_a_finished_run_is_only_read(monkeypatch, tmp_path):
    whole = train(WAYS["ff"], dataset(), out=tmp_path)
    before = files(tmp_path)
    monkeypatch.setattr(training, "one_epoch", never)
    again = train(WAYS["ff"], dataset(), out=tmp_path, resume=True)
    assert bits(again) == bits(whole) and again.history == whole.history
    assert files(tmp_path) == before


# ----- saving is whole or not at all -----


def torn(file, **arrays):
    file.write(b"half an archive")
    raise OSError("no space left")


@pytest.mark.parametrize("target, name, broken", [
    (np, "savez", torn), (os, "replace", after(0, os.replace, OSError("no space left"))),
], ids=["writing", "renaming"])
def test_a_failed_save_leaves_the_last_checkpoint(target, name, broken, monkeypatch, tmp_path):
    preset = replace(WAYS["ff"], schedule="constant")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space left"):
        patch.setattr(training, "one_epoch", breaking(patch, 3, target, name, broken))
        train(preset, dataset(), out=tmp_path)
    assert files(tmp_path).keys() == {"model.npz", "history.json"}
    assert_same_run(load_run(tmp_path), untested(train(preset, dataset(), epochs=2), 4))
    assert_same_run(train(preset, dataset(), out=tmp_path, resume=True), train(preset, dataset()))


def breaking(patch, epoch, target, name, broken):
    """`one_epoch`, in whose epoch number `epoch` the function `name` breaks for good."""
    one_epoch, begun = training.one_epoch, []

    def counted(*arguments):
        begun.append(1)
        if len(begun) == epoch:
            patch.setattr(target, name, broken)
        return one_epoch(*arguments)

    return counted


def untested(run, epochs):
    """The run as it is on the way to `epochs` epochs."""
    settings = {**run.history["settings"], "epochs": epochs}
    return run._replace(history={**run.history, "settings": settings, "test_error": None, "read_outs": {}})


def test_a_run_stopped_between_its_two_files_gets_both(monkeypatch, tmp_path):
    """The last save of all: model.npz is there, history.json is not yet."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", after(2 * 3 + 1, os.replace, KeyboardInterrupt))
        train(recipe(), dataset(), out=tmp_path)
    whole = train(recipe(), dataset(), out=tmp_path, resume=True)
    assert json.loads((tmp_path / "history.json").read_text()) == whole.history


# ----- what may go on, and what may not -----


@pytest.mark.parametrize("folder", ["", "new", "new/deep"])
def test_resuming_where_nothing_is_starts(folder, tmp_path):
    run = train(recipe(), dataset(), out=tmp_path / folder, resume=True)
    assert_same_run(load_run(tmp_path / folder), run)


def test_a_run_is_not_overwritten_unasked(tmp_path):
    train(recipe(), dataset(), out=tmp_path)
    before = files(tmp_path)
    with pytest.raises(UserError, match=f"{tmp_path} already holds a run"):
        train(recipe(), dataset(), seed=1, out=tmp_path)
    assert files(tmp_path) == before


def test_a_run_is_overwritten_when_asked(tmp_path):
    train(recipe(), dataset(), out=tmp_path)
    run = train(recipe(), dataset(), seed=1, out=tmp_path, overwrite=True)
    assert_same_run(load_run(tmp_path), run)


@pytest.mark.parametrize("name, options", [
    ("epochs", {"epochs": 5}), ("seed", {"seed": 1}), ("backend", {"backend": "numpy"}), ("dtype", {"dtype": "float64"}),
    ("threads", {"threads": 1}), ("batch", {"batch": 9}), ("sizes", {"layers": [8, 6, 5]}),
    ("data", {"data": dataset(name="other")}), ("n_test", {"data": dataset(test=14)}), ("n_train", {"data": dataset(n=50)}),
    ("preset", {"preset": WAYS["ff"]}),
    ("rule", {"preset": recipe(Backprop("tanh"))}), ("optimisers", {"preset": recipe(rate=0.2)}),
    ("schedule", {"preset": recipe(schedule="cosine")}),
])
def test_another_training_cannot_go_on(name, options, tmp_path):
    """The sentence names what differs: the first of it, as a history lists it."""
    train(recipe(), dataset(), out=tmp_path)
    before = files(tmp_path)
    with pytest.raises(UserError, match=f"the run in {tmp_path} has {name} .*: it cannot go on so"):
        train(**{"preset": recipe(), "data": dataset(), **options}, out=tmp_path, resume=True)
    assert files(tmp_path) == before


def test_a_damaged_run_is_not_silently_started_anew(tmp_path):
    (tmp_path / "model.npz").write_bytes(b"rubbish")
    with pytest.raises(UserError, match="model.npz is damaged"):
        train(recipe(), dataset(), out=tmp_path, resume=True)
    assert files(tmp_path) == {"model.npz": b"rubbish"}


@pytest.mark.parametrize("folder", ["file", "file/run"])
def test_a_folder_that_cannot_be_is_refused_before_any_training(folder, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(training, "one_epoch", never)
    with pytest.raises(UserError, match=str(tmp_path / folder)):
        train(recipe(), dataset(), out=tmp_path / folder)
