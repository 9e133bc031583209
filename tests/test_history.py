"""history.json: its schema, and its numbers against the saved network and the formulas."""

import json

import numpy as np
import pytest
from tiny import WAYS, dataset, each_way, recipe

from ffnp.rules import ForwardForward
from ffnp.rules.forward_forward import NEGATIVES
from ffnp.training import train

HISTORY = {"preset", "data", "seed", "backend", "threads", "dtype", "sizes", "shape", "n_train", "n_val", "n_test", "settings",
           "read_out", "parameters", "epochs", "test_error", "read_outs", "versions"}
EPOCH = {"epoch", "stage", "seconds", "rate_factor", "train", "val_error", "val_read_outs", "dead_units"}


@each_way
def test_the_history_keeps_its_schema(preset, tmp_path):
    run = train(preset, dataset(), out=tmp_path, seed=5, threads=1)
    history = json.loads((tmp_path / "history.json").read_text(), parse_constant=pytest.fail)  # fails on NaN and Infinity
    assert history == run.history and history.keys() == HISTORY
    assert (history["preset"], history["data"], history["backend"], history["dtype"]) == (preset.name, "tiny", "cpu", "float32")
    assert (history["n_train"], history["n_val"], history["n_test"]) == (50, 10, 15)
    assert (history["seed"], history["threads"], history["sizes"]) == (5, 1, [8, 7, 5, 3])
    assert history["versions"].keys() == {"python", "ffnp", "numpy", "numba", "scipy"}


@each_way
def test_every_epoch_has_its_numbers(preset):
    history = train(preset, dataset()).history
    for number, epoch in enumerate(history["epochs"], 1):
        assert epoch.keys() >= EPOCH and epoch["epoch"] == number and epoch["seconds"] > 0
        assert epoch["val_error"] == epoch["val_read_outs"][history["read_out"]]


@each_way
def test_errors_are_fractions_of_the_images(preset):
    history = train(preset, dataset()).history
    assert history["test_error"] == history["read_outs"][history["read_out"]]
    assert all(15 * error in range(16) for error in history["read_outs"].values())
    assert all(10 * error in range(11) for epoch in history["epochs"] for error in epoch["val_read_outs"].values())


def test_layers_trained_in_turn_take_a_stage_each():
    """Two layers and the head, two epochs each."""
    history = train(WAYS["layerwise"], dataset()).history
    assert [e["stage"] for e in history["epochs"]] == [0, 0, 1, 1, 2, 2]


def test_the_rate_follows_the_schedule():
    history = train(recipe(schedule="hinton", epochs=4), dataset()).history
    assert [e["rate_factor"] for e in history["epochs"]] == [1, 1, 3 / 4, 1 / 4]


def test_the_parameters_are_those_of_layers_and_head():
    """With ff-small the label is appended to the input, and the head sees the second layer only."""
    assert train(WAYS["ff"], dataset(), epochs=1).history["parameters"] == (8 + 3 + 1) * 7 + (7 + 1) * 5 + 5 * 3


# ----- the numbers, from the saved network; in float64, where two orders of addition agree to 1e-12 -----


def validation(data):
    return data.x_train[5::6], data.y_train[5::6]


def test_both_read_outs_are_validated():
    data = dataset()
    run = train(WAYS["ff"], data)
    x, y = validation(data)
    for name, error in run.history["epochs"][-1]["val_read_outs"].items():
        assert error == np.mean(run.predict(x, name) != y)


def climb(net, image, label):
    """The activities of ff-small's layers for one image with its label slot appended, as the formula reads."""
    h = np.concatenate([image, label])
    for W, b in net.layers:
        h = np.maximum(h / np.sqrt(np.mean(h**2)) @ W + b, 0) if h.any() else np.maximum(b, 0)
        yield h


def test_forward_forward_measures_the_goodness_of_right_and_wrong_labels():
    data = dataset()
    run = train(WAYS["ff"], data, dtype="float64")
    last, (x, y) = run.history["epochs"][-1], validation(data)
    goodness = np.array([[[h @ h for h in climb(run.net, image, slot)] for slot in np.eye(3)] for image in x])  # (n, C, L)
    right = goodness[np.arange(len(y)), y]
    wrong = (goodness.sum(axis=1) - right) / 2
    np.testing.assert_allclose(last["goodness_right"], right.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(last["goodness_wrong"], wrong.mean(axis=0), rtol=1e-12)
    assert last["layer_error"] == [np.mean(goodness[:, :, l].argmax(axis=1) != y) for l in range(2)]
    assert last["val_error"] == last["layer_error"][1]  # only the second layer counts


def test_forward_forward_counts_units_that_no_right_label_wakes():
    preset, data = recipe(ForwardForward(label="append", tiny=0), 1.0), dataset()
    run = train(preset, data, dtype="float64")
    x, y = validation(data)
    layers = zip(*(climb(run.net, image, np.eye(3)[label]) for image, label in zip(x, y, strict=True)), strict=True)
    dead = [int(np.sum(~np.any(hs, axis=0))) for hs in layers]
    assert any(dead) and run.history["epochs"][-1]["dead_units"] == dead


def test_backprop_counts_units_that_no_image_wakes():
    data = dataset()
    run = train(recipe(rate=8.0), data, dtype="float64")
    h, dead = validation(data)[0], []
    for W, b in run.net.layers[:-1]:
        h = np.maximum(h @ W + b, 0)
        dead.append(int(np.sum(~h.any(axis=0))))
    assert any(dead) and run.history["epochs"][-1]["dead_units"] == dead


def test_the_training_loss_is_that_of_the_net_before_the_step():
    """A full batch: the second epoch's loss is the cross-entropy of the net after one epoch."""
    data, kept = dataset(), np.arange(60) % 6 != 5
    one, two = (train(recipe(), data, epochs=n, dtype="float64") for n in (1, 2))
    z = one.scores(data.x_train[kept])
    loss = np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(50), data.y_train[kept]])
    assert two.history["epochs"][1]["train"]["loss"] == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize("negatives", ["permuted", "permuted once"])
def test_permuted_negatives_report_how_many_are_right(negatives, monkeypatch):
    shares, draw = [], NEGATIVES[negatives]

    def drawn(k, y, z, rng):
        wrong = draw(k, y, z, rng)
        shares.append(np.mean(y == wrong))
        return wrong

    monkeypatch.setitem(NEGATIVES, negatives, drawn)
    epochs = train(recipe(ForwardForward(negatives=negatives), batch=25), dataset()).history["epochs"]
    assert [e["train"]["false_negatives"] for e in epochs] == np.reshape(shares, (3, 2)).mean(axis=1).tolist()
    assert 0 < min(shares) <= max(shares) < 1


def test_negatives_permuted_once_stay_as_they_are():
    epochs = train(recipe(ForwardForward(negatives="permuted once"), shuffle=False), dataset()).history["epochs"]
    assert len({e["train"]["false_negatives"] for e in epochs}) == 1
