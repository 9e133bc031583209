"""Training: what a seed fixes, what is learned from and what is only looked at, what is refused, what is said."""

import io
import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from strategies import epochs, seeds
from threadpoolctl import threadpool_info
from tiny import WAYS, bits, dataset, each_backend, each_way, files, recipe, untimed

import ffnp
from ffnp import DataError, UserError, training
from ffnp.kernels.cpu.threads import slabs
from ffnp.optim import Optimiser, Optimisers
from ffnp.rules import Backprop, ForwardForward
from ffnp.run import Run
from ffnp.training import DivergedError, batches, train

# ----- seeds and bits -----


@each_backend
@each_way
def test_the_same_seed_gives_the_same_bits(preset, backend):
    first, second = (train(preset, dataset(), seed=3, backend=backend) for _ in range(2))
    assert bits(first) == bits(second)
    assert untimed(first.history) == untimed(second.history)


@each_way
def test_another_seed_gives_other_bits(preset):
    assert bits(train(preset, dataset(), seed=0)) != bits(train(preset, dataset(), seed=1))


@each_backend
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_make_it_random(backend, threads):
    """At this size BLAS does divide the work."""
    preset, data = recipe(hidden=(300, 300), epochs=1), ffnp.load("digits")
    runs = [train(preset, data, backend=backend, threads=threads) for _ in range(2)]
    assert bits(runs[0]) == bits(runs[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each_backend
def test_a_run_computes_in_its_dtype(dtype, backend):
    run = train(WAYS["ff"], dataset(), dtype=dtype, backend=backend, epochs=1)
    assert {a.dtype.name for layer in (*run.net.layers, run.net.head) for a in layer if a is not None} == {dtype}
    assert run.scores(dataset().x_test).dtype == dtype


# ----- batches -----


@given(epochs, seeds)
def test_every_row_is_seen_once_an_epoch(epoch, seed):
    preset = recipe(batch=epoch.size, shuffle=epoch.shuffle, drop_last=epoch.drop_last)
    parts = list(batches(epoch.n, preset, np.random.default_rng(seed)))
    rows, size = np.concatenate([[], *parts]), epoch.size or epoch.n
    left_out = epoch.n % size if epoch.drop_last else 0
    assert len(set(rows)) == len(rows) == epoch.n - left_out and set(rows) <= set(range(epoch.n))
    assert all(len(part) == size for part in parts[:-1]) and all(1 <= len(part) <= size for part in parts)
    assert epoch.shuffle or rows.tolist() == list(range(len(rows)))


def images_seen(preset, data, monkeypatch):
    """The images of each step of a training, in their order."""
    seen, signals = [], Backprop.signals
    monkeypatch.setattr(Backprop, "signals", lambda self, k, net, x, *rest: seen.append(x) or signals(self, k, net, x, *rest))
    train(preset, data)
    return seen


def test_unshuffled_training_follows_the_file(monkeypatch):
    data = dataset()
    seen = images_seen(recipe(epochs=2, batch=8, shuffle=False), data, monkeypatch)
    kept = np.delete(data.x_train, np.s_[5::6], axis=0)
    np.testing.assert_array_equal(np.concatenate(seen), np.concatenate([kept, kept]))


def test_shuffled_epochs_differ_in_order_only(monkeypatch):
    first, second = images_seen(recipe(epochs=2), dataset(), monkeypatch)
    assert (first != second).any()
    np.testing.assert_array_equal(np.sort(first, axis=0), np.sort(second, axis=0))


# ----- what is learned from, and what is only looked at -----


def poisoned(data):
    """The data set with every validation and test image and label replaced by nonsense."""
    x, y = data.x_train.copy(), data.y_train.copy()
    x[5::6], y[5::6] = 1 - x[5::6], (y[5::6] + 1) % 3
    return data._replace(x_train=x, y_train=y, x_test=1 - data.x_test, y_test=(data.y_test + 1) % 3)


def errors(run):
    return [e["val_error"] for e in run.history["epochs"]]


@each_way
def test_every_sixth_image_validates_and_never_trains(preset):
    clean, nonsense = (train(preset, data) for data in (dataset(), poisoned(dataset())))
    assert bits(clean) == bits(nonsense)
    assert errors(clean) != errors(nonsense)


@pytest.mark.parametrize("row", [0, 4, 6, 58])
def test_every_other_image_trains(row):
    data, other = dataset(), dataset()
    other.x_train[row] = 1 - other.x_train[row]
    assert bits(train(recipe(), data)) != bits(train(recipe(), other))


def test_the_test_set_is_read_once_and_last(monkeypatch, tmp_path):
    readings, scores = [], Run.scores
    monkeypatch.setattr(Run, "scores", lambda run, x, name=None: readings.append((len(run.history["epochs"]), name))
                        or scores(run, x, name))
    for _ in range(2):  # a finished run is not tested again
        train(WAYS["ff"], dataset(), out=tmp_path, resume=True)
    assert readings == [(4, "goodness"), (4, "softmax")]


# ----- what is refused -----


@pytest.mark.parametrize("part", ["x_train", "x_test"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_data_that_is_not_finite_is_refused_by_its_row(part, value, tmp_path):
    data = dataset()
    getattr(data, part)[7, 2] = value
    with pytest.raises(DataError, match=f"tiny: row 7 of {part} has a value that is not finite"):
        train(recipe(), data, out=tmp_path)
    assert not files(tmp_path)


@pytest.mark.parametrize("data", [dataset(n=5), dataset(classes=1)], ids=["no image validates", "one class"])
def test_too_little_data_is_refused(data):
    with pytest.raises(DataError, match="tiny: .* are too few to learn from"):
        train(recipe(), data)


def test_six_images_are_enough():
    assert train(recipe(), dataset(n=6)).history["n_val"] == 1


@pytest.mark.parametrize("wrong, sentence", [
    ({"epochs": 0}, "at least 1, not 0"), ({"batch": 0}, "at least 1, not 3, 0"), ({"threads": 0}, "threads .* not 0"),
    ({"threads": -2}, "not -2"), ({"seed": -1}, "seed .* not -1"), ({"dtype": "float16"}, "not 'float16'"),
    ({"backend": "abacus"}, "no backend 'abacus'"), ({"layers": [8]}, "layers 8 must be the data's 8 inputs"),
    ({"layers": [9, 7]}, "layers 9,7 must be the data's 8 inputs"), ({"layers": []}, "layers"),
    ({"layers": [8, 0]}, "at least 1, not .*0"),
])
def test_a_value_that_cannot_work_is_named(wrong, sentence):
    with pytest.raises(UserError, match=sentence):
        train(recipe(), dataset(), **wrong)


def test_an_unknown_preset_is_named():
    with pytest.raises(UserError, match="there is no preset 'bpp'; choose one of bp, "):
        train("bpp", dataset())


def test_layers_take_the_place_of_the_hidden_widths():
    assert train(recipe(), dataset(), layers=[8, 4, 3, 2]).history["sizes"] == [8, 4, 3, 2, 3]


def test_a_batch_that_is_dropped_whole_is_refused():
    with pytest.raises(UserError, match="a batch of 51 needs as many training images; tiny has 50"):
        train(recipe(drop_last=True), dataset(), batch=51)


@pytest.mark.parametrize("width", [10**15, 10**25])
def test_a_network_beyond_memory_is_refused(width):
    with pytest.raises(UserError, match=str(width)):
        train(recipe(), dataset(), layers=[8, width])


# ----- divergence -----


@each_backend
@pytest.mark.parametrize("rule", [Backprop(), Backprop("tanh"), ForwardForward(), ForwardForward(peer=0.03)],
                         ids=["relu", "tanh", "ff", "ff with peers"])
def test_any_learning_rate_learns_or_is_said_to_diverge(rule, backend):
    """A warning would be an error here. What is learned has a history without NaN or infinity."""
    for exponent in range(39):
        try:
            history = train(recipe(rule, 10.0**exponent, "adam"), dataset(), backend=backend).history
            json.dumps(history, allow_nan=False)
        except DivergedError as problem:
            assert "epoch" in str(problem)


def spoil(monkeypatch, at, spoiled):
    """At step `at` of the training, `spoiled(net)` gets an infinite weight."""
    steps, apply = [], Optimisers.apply

    def step(self, k, net, *rest):
        steps.append(1)
        if len(steps) == at:
            spoiled(net).W[0, 0] = np.inf
        return apply(self, k, net, *rest)

    monkeypatch.setattr(Optimisers, "apply", step)


@each_backend
@pytest.mark.parametrize("name, rate, layer", [
    ("layer 1", 0.01, lambda net: net.layers[0]),
    ("layer 2", 0.01, lambda net: net.layers[1]),
    ("the head", 0.2, lambda net: net.head),
])
def test_divergence_names_layer_step_epoch_and_rate(name, rate, layer, backend, monkeypatch):
    """Seven steps an epoch, so the 16th is the second of the third."""
    spoil(monkeypatch, 16, layer)
    sentence = f"the weights of {name} are not finite after step 2 of epoch 3; .* than {rate} may help"
    optimisers = Optimisers(Optimiser("ema", rate=0.01), head=Optimiser("ema", rate=0.2))
    with pytest.raises(DivergedError, match=sentence):
        train(replace(WAYS["ff"], optimisers=optimisers), dataset(), backend=backend)


def test_divergence_leaves_the_last_checkpoint(monkeypatch, tmp_path):
    preset = replace(WAYS["ff"], schedule="constant")
    with monkeypatch.context() as patch, pytest.raises(DivergedError):
        spoil(patch, 16, lambda net: net.head)
        train(preset, dataset(), out=tmp_path)
    assert bits(ffnp.load_run(tmp_path)) == bits(train(preset, dataset(), epochs=2))


def test_a_hopeless_rate_escapes_as_one_sentence():
    with warnings.catch_warnings(record=True) as seen, pytest.raises(DivergedError, match="layer . .* step 1 of epoch 1"):
        warnings.simplefilter("always")
        train(recipe(rate=1e30), dataset())
    assert not seen


# ----- threads and words -----


def threads():
    """Of every copy of BLAS, and into how many parts a kernel of the CPU backend cuts its work."""
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"], slabs()


@pytest.mark.parametrize("backend, n, of_blas, of_kernels", [("numpy", 1, 1, 1), ("cpu", 1, 1, 1), ("cpu", 3, 1, 3)])
def test_the_thread_limit_holds_in_training_only(backend, n, of_blas, of_kernels, monkeypatch):
    before, during, one_epoch = threads(), [], training.one_epoch
    monkeypatch.setattr(training, "one_epoch", lambda *a: during.append(threads()) or one_epoch(*a))
    train(recipe(), dataset(), backend=backend, threads=n, epochs=1)
    with pytest.raises(DivergedError):
        train(recipe(rate=1e30), dataset(), backend=backend, threads=n)
    assert during == [([of_blas] * len(before[0]), of_kernels)] * 2 and threads() == before


def test_off_a_terminal_every_epoch_is_a_plain_line(capsys):
    train(recipe(), dataset(), progress="words")
    out, err = capsys.readouterr()
    assert not out
    assert [line.split(",")[0] for line in err.splitlines()] == [f"words: epoch {e}/3" for e in (1, 2, 3)]
    assert "\r" not in err and "validation error " in err


def test_without_progress_nothing_is_said(capsys):
    train(recipe(), dataset())
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_a_bar_is_drawn(monkeypatch):
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    train(recipe(), dataset(), progress="words")
    assert "words: " in terminal.getvalue() and "3/3" in terminal.getvalue() and "epoch 1/3" not in terminal.getvalue()


def test_without_progress_nothing_is_drawn_on_a_terminal_either(monkeypatch):
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    train(recipe(), dataset())
    assert not terminal.getvalue()
