"""Remove and retrain: what is removed, from whom, in whose name, and what a net can still do without it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import tenths
from tiny import WAYS, bits, dataset, each_way, files, recipe

from ffnp import UserError
from ffnp.data import from_arrays
from ffnp.saliency import roar as module
from ffnp.saliency.occlusion import occlusion
from ffnp.saliency.randomisation import retrained
from ffnp.saliency.roar import highest, removed, roar
from ffnp.saliency.scorer import Scorer, as_maps
from ffnp.training import train

DATA = dataset()
shares = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0])
maps = tenths(np.float64, 4, 2, 3)


def bright(score, x, y):
    """A map of the image alone."""
    return as_maps(x, score.shape)


# ----- the highest pixels -----


@given(maps, maps, shares)
def test_no_pixel_left_is_higher_than_one_chosen_and_their_number_is_the_share_of_those_with_a_value(a, c, share):
    a[c > 3] = np.nan
    for values, chosen in zip(a.reshape(4, 6), highest(a, share), strict=True):
        assert chosen.sum() == round(share * np.sum(~np.isnan(values)))
        assert not np.isnan(values[chosen]).any()
        assert values[chosen].min(initial=np.inf) >= np.nanmax(values[~chosen], initial=-np.inf)


@given(maps)
def test_a_larger_share_takes_more_of_the_same(a):
    assert (highest(a, 0.3) <= highest(a, 0.6)).all()


@given(maps, shares)
def test_only_the_order_of_pixels_counts(a, share):
    np.testing.assert_array_equal(highest(a**3 + 2 * a - 7, share), highest(a, share))


def test_of_a_flat_map_every_pixel_is_as_likely_as_another():
    """1000 draws of 3 pixels of 6: each within 5 deviations of half of them."""
    counts = highest(np.zeros((1000, 2, 3)), 0.5).sum(axis=0)
    assert (abs(counts - 500) < 5 * 250**0.5).all()


# ----- the images without them -----


def colourful(seed=0):
    """Images of 2 x 3 pixels and 3 channels, random."""
    rng = np.random.default_rng(seed)
    return from_arrays(rng.random((20, 2, 3, 3)), np.arange(20) % 2, rng.random((4, 2, 3, 3)), np.arange(4) % 2)


@given(st.integers(0, 9), shares)
def test_exactly_the_highest_pixels_carry_the_training_mean_in_all_channels(seed, share):
    data, rng = colourful(seed), np.random.default_rng(seed)
    train_maps, test_maps = rng.random((20, 2, 3)), rng.random((4, 2, 3))
    found, mean = removed(data, train_maps, test_maps, share), data.x_train.mean(axis=0, dtype="float64").astype("float32")
    for x, before, own in (found.x_train, data.x_train, train_maps), (found.x_test, data.x_test, test_maps):
        for image, i in ((image, i) for image in range(len(x)) for i in range(18)):
            among = np.sum(own[image] > own[image].flat[i // 3]) < round(share * 6)
            assert x[image, i] == (mean[i] if among else before[image, i])


def test_nothing_but_images_changes():
    data = colourful()
    before = [np.copy(a) for a in data[:4]]
    found = removed(data, np.ones((20, 2, 3)), np.ones((4, 2, 3)), 0.5)
    assert found[1] is data[1] and found[3:] == data[3:]
    assert (found.x_train.dtype, found.x_test.dtype) == ("float32", "float32")
    assert all((a == b).all() for a, b in zip(before, data[:4], strict=True))


def test_pixels_under_a_label_stay():
    data = colourful()
    own = np.full((20, 2, 3), np.nan), np.full((4, 2, 3), np.nan)
    own[0][:, 1, 2] = own[1][:, 1, 2] = 1
    found = removed(data, *own, 1.0)
    assert (found.x_train[:, :15] == data.x_train[:, :15]).all() and (found.x_test[:, :15] == data.x_test[:, :15]).all()
    assert np.ptp(found.x_train[:, 15:], axis=0).max() == 0


# ----- the trainings -----


@each_way
def test_without_a_removed_pixel_it_is_plain_training_bit_for_bit(preset):
    run = train(preset, DATA)
    own = (bright(Scorer(run), x, None) for x in (DATA.x_train, DATA.x_test))
    assert bits(retrained(run, removed(DATA, *own, 0.0), 5)) == bits(train(preset, DATA, seed=5))


def test_the_value_is_the_mean_accuracy_of_nets_of_new_seeds():
    preset = recipe(epochs=1)
    score = Scorer(train(preset, DATA, seed=4))
    found, = roar("net", score, {"bright": bright}, DATA, shares=[0.0], seeds=3)
    expected = np.mean([1 - train(preset, DATA, seed=seed).history["test_error"] for seed in (5, 6, 7)])
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.low <= found.value <= found.high
    assert (found.net, found.method, found.metric, found.better) == ("net", "bright", "ROAR, 0 %", "lower")


def test_the_read_out_stays():
    run = train(WAYS["ff"], DATA)
    found, = roar("net", Scorer(run, "softmax"), {"bright": bright}, DATA, shares=[0.0], seeds=1)
    assert found.value == pytest.approx(1 - train(WAYS["ff"], DATA, seed=1).history["read_outs"]["softmax"], abs=1e-12)


def test_a_row_for_each_method_and_share_a_training_for_each_seed_too(monkeypatch):
    score, asked = Scorer(train(recipe(epochs=1), DATA)), []
    monkeypatch.setattr(module, "retrained", lambda run, data, seed, words: asked.append((seed, words)) or score.run)
    rows = roar("net", score, {"bright": bright, "occlusion": occlusion_of_pixels}, DATA, [0.1, 0.55], 2, "net")
    assert [(r.method, r.metric) for r in rows] == [
        (method, metric) for method in ("bright", "occlusion") for metric in ("ROAR, 10 %", "ROAR, 55 %")]
    assert [seed for seed, _ in asked] == 4 * [1, 2]
    assert [words for _, words in asked][:3] == [
        "net 1/8, bright: ROAR, 10 %", "net 2/8, bright: ROAR, 10 %", "net 3/8, bright: ROAR, 55 %"]


def occlusion_of_pixels(score, x, y):
    return occlusion(score, x, y, score.shape, (1, 1), (1, 1), score.overlaid)


def test_maps_explain_what_the_net_predicts_in_training_and_test_images():
    asked = []
    run = train(recipe(epochs=1), DATA)
    roar("net", Scorer(run), {"m": lambda s, x, y: asked.append((x, y)) or bright(s, x, y)}, DATA, [0.5], 1)
    for (x, y), images in zip(asked, (DATA.x_train, DATA.x_test), strict=True):
        assert (x == images).all() and (y == run.predict(images)).all()
    assert (asked[1][1] != DATA.y_test).any()  # or the true ones would do as well


def test_the_run_stays_as_it_is_and_nothing_is_written(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    run = train(recipe(epochs=1), DATA)
    before = bits(run)
    roar("net", Scorer(run), {"occlusion": occlusion_of_pixels}, DATA, [0.5], 2)
    assert bits(run) == before
    assert files(tmp_path) == {}
    assert capfd.readouterr() == ("", "")


# ----- what it finds -----


def one_pixel_decides(n=240, test=120):
    """Noise, but for pixel 3, which is the class."""
    rng = np.random.default_rng(0)
    x, y = rng.random((n + test, 6)), rng.integers(2, size=n + test)
    x[:, 3] = y
    return from_arrays(x[:n], y[:n], x[n:], y[n:])


def test_without_the_one_pixel_that_decides_accuracy_is_chance_and_without_all_others_it_is_whole():
    data = one_pixel_decides()
    pixel = np.eye(6)[3]
    methods = {name: lambda score, x, y, m=sign * pixel: as_maps(np.tile(m, (len(x), 1)), score.shape)
               for name, sign in (("oracle", 1), ("inverse", -1))}
    preset = recipe(hidden=(8,), epochs=20, batch=10, rate=0.5)
    found = {(r.method, r.metric): r.value
             for r in roar("net", Scorer(train(preset, data)), methods, data, shares=[1 / 6, 5 / 6], seeds=2)}
    chance = 5 * 0.5 * 120**-0.5  # five deviations of the accuracy of guesses on 120 images
    assert abs(found["oracle", "ROAR, 16.7 %"] - 0.5) < chance and abs(found["oracle", "ROAR, 83.3 %"] - 0.5) < chance
    assert found["inverse", "ROAR, 16.7 %"] == found["inverse", "ROAR, 83.3 %"] == 1


@pytest.mark.parametrize("shares, seeds", [([0.1, 1.5], 1), ([-0.1], 1), ([float("nan")], 1), ([0.1], 0)])
def test_shares_and_seeds_that_cannot_work_are_refused(shares, seeds):
    score = Scorer(train(recipe(epochs=1), DATA))
    with pytest.raises(UserError, match=f"not {seeds} and {', '.join(map(str, shares))}"):
        roar("net", score, {"bright": bright}, DATA, shares, seeds)
