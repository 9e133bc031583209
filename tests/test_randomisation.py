"""Maps of a net against maps of the same net without what it learned: what is drawn anew, and how alike two maps are."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from scipy.stats import spearmanr
from strategies import tenths
from tiny import WAYS, bits, dataset, each_backend, files

from ffnp import UserError
from ffnp.presets import PRESETS
from ffnp.run import begin
from ffnp.saliency.occlusion import occlusion
from ffnp.saliency.randomisation import (
    data_randomisation,
    label_randomisation,
    parameter_randomisation,
    randomised,
    redrawn,
    retrained_on_permuted_labels,
    similarity,
)
from ffnp.saliency.scorer import Scorer, as_maps
from ffnp.training import train

RECIPES = WAYS | {"mono": PRESETS["mono-forward"], "dfa": PRESETS["dfa"], "kolen-pollack": PRESETS["kolen-pollack"]}
each_recipe = pytest.mark.parametrize("preset", RECIPES.values(), ids=RECIPES.keys())
each_read_out = pytest.mark.parametrize("read_out", ["goodness", "softmax"])
DATA = dataset()


def trained(preset, backend="numpy"):
    return train(preset, DATA, epochs=3, layers=(8, 7, 5), backend=backend)


def changed(before, after):
    """The names of the arrays of two runs that differ."""
    before, after = bits(before), bits(after)
    return {name for name in before if before[name] != after[name]}


# ----- how alike two maps are -----

maps = tenths(np.float64, 4, 2, 3)


def where_varied(a, value):
    """The value for each map, NaN for a constant one."""
    return np.where(np.ptp(a, axis=(1, 2)) > 0, value, np.nan)


@given(maps, maps, maps)
def test_similarity_is_spearmans_correlation_of_the_pixels_that_both_maps_have(a, b, c):
    a[c > 3], b[c < -5] = np.nan, np.nan
    seen = ~np.isnan(a) & ~np.isnan(b)
    for u, v, both, found in zip(a, b, seen, similarity(a, b), strict=True):
        if both.sum() < 2 or np.ptp(u[both]) == 0 or np.ptp(v[both]) == 0:
            assert np.isnan(found)
        else:
            assert found == pytest.approx(spearmanr(u[both], v[both]).statistic, abs=1e-14)


@given(maps)
def test_a_map_is_like_itself_and_the_opposite_of_its_negative(a):
    np.testing.assert_array_equal(similarity(a, a), where_varied(a, 1))
    np.testing.assert_array_equal(similarity(a, -a), where_varied(a, -1))


@given(maps)
def test_of_absolute_values_a_map_is_like_its_negative(a):
    np.testing.assert_array_equal(similarity(a, -a, absolute=True), where_varied(np.abs(a), 1))


@given(maps, maps)
def test_only_the_order_of_pixels_counts(a, b):
    np.testing.assert_array_equal(similarity(a**3 + 2 * a - 7, b), similarity(a, b))


@given(maps, maps)
def test_similarity_is_mutual(a, b):
    np.testing.assert_array_equal(similarity(a, b), similarity(b, a))


def test_a_constant_map_is_like_nothing():
    flat, steep = np.full((1, 2, 2), 0.1), np.arange(4.0).reshape(1, 2, 2)
    assert np.isnan([similarity(flat, steep), similarity(steep, flat), similarity(flat, flat)]).all()


# ----- which weights are drawn anew -----


@each_backend
@each_recipe
def test_without_layers_nothing_changes(preset, backend):
    run = trained(preset, backend)
    assert changed(run, randomised(run, (), 1)) == set()


@each_backend
@each_recipe
def test_all_layers_are_those_of_a_fresh_net(preset, backend):
    run = trained(preset, backend)
    fresh = begin(run.preset, {**run.history, "seed": 7})
    assert not {name for name in changed(randomised(run, (1, 2, 3)[: len(run.net.layers)], 7), fresh)
                if name.startswith("0.layers")}


@each_recipe
def test_the_run_is_not_touched(preset):
    run = trained(preset)
    before = bits(run)
    randomised(run, (1, 2), 1)
    assert bits(run) == before


@each_recipe
def test_only_the_named_layer_is_drawn(preset):
    run = trained(preset)
    assert {name for name in changed(run, randomised(run, (1,), 1)) if ".layers." in name} <= {"0.layers.0.W", "0.layers.0.b"}


@pytest.mark.parametrize("name, layer, feedback", [
    ("mono", 1, {"0.feedback.0.W"}), ("mono", 2, {"0.feedback.1.W"}),
    ("mirror", 1, {"0.feedback.0.W"}), ("mirror", 3, {"0.feedback.2.W"}),
    ("kolen-pollack", 1, set()), ("kolen-pollack", 3, {"0.feedback.1.W"}),
    ("dfa", 1, set()), ("dfa", 3, set()),
])
def test_feedback_that_learns_goes_with_its_layer_and_any_other_stays(name, layer, feedback):
    run = trained(RECIPES[name])
    assert {name for name in changed(run, randomised(run, (layer,), 1)) if "feedback" in name} == feedback


def test_a_head_goes_with_the_top_layer_and_is_not_flat():
    run = trained(WAYS["ff"])
    assert "0.head.W" not in changed(run, randomised(run, (1,), 1))
    assert np.ptp(Scorer(randomised(run, (2,), 1), "softmax")(DATA.x_test), axis=1).min() > 0


@pytest.mark.parametrize("layers", [(0,), (1, 3)])
def test_a_layer_that_is_not_there_is_refused(layers):
    with pytest.raises(UserError, match="there are layers 1 to 2 to draw anew, not " + ", ".join(map(str, layers))):
        randomised(trained(WAYS["ff"]), layers, 1)


@each_read_out
def test_the_cascade_goes_from_the_top_down_and_each_lower_layer_is_drawn_alone_too(read_out):
    run = train(WAYS["ff"], DATA, epochs=1, layers=(8, 7, 6, 5))
    sets = {"top 1": (3,), "top 2": (2, 3), "all": (1, 2, 3), "layer 1": (1,), "layer 2": (2,)}
    assert redrawn(Scorer(run, read_out)) == sets


def test_the_cascade_begins_at_the_highest_layer_that_is_read():
    assert redrawn(Scorer(trained(WAYS["ff"]), layers=(1,))) == {"all": (1,)}


# ----- the measures -----


def window(score, x, y):
    return occlusion(score, x, y, score.shape, (1, 1), (1, 1), score.overlaid)


def bright(score, x, y):
    """A map of the image alone."""
    return as_maps(x, score.shape)


def bottom(score, x, y):
    """A map made of the image and the first layer's weights."""
    return as_maps(x * score.k.get(score.net.layers[0].W)[: x.shape[1]].sum(axis=1), score.shape)


METHODS = {"window": window, "bright": bright, "bottom": bottom}
X, Y = DATA.x_test, DATA.y_test


def values(rows):
    return {(r.method, r.metric): r.value for r in rows}


@each_backend
@each_recipe
def test_a_map_that_reads_the_weights_changes_with_them_and_a_map_of_the_image_does_not(preset, backend):
    found = values(parameter_randomisation("net", Scorer(trained(preset, backend)), METHODS, X, Y))
    assert found["window", "MPRT, all"] < 0.9
    assert found["bright", "MPRT, all"] == 1


def test_what_is_left_of_a_map_tells_which_layer_it_reads():
    found = values(parameter_randomisation("net", Scorer(trained(WAYS["bp"])), METHODS, X, Y))
    below = {"MPRT, all", "MPRT, layer 1"}
    assert {metric for (method, metric), value in found.items() if method == "bottom" and value < 1} == below
    assert {metric for _, metric in found} == below | {"MPRT, top 1", "MPRT, top 2", "MPRT, layer 2"}


def test_weights_are_not_the_ones_that_the_run_began_with():
    """Even where it was asked to begin with seed 0 and no other seed is said here."""
    run = trained(WAYS["bp"])
    untrained = run._replace(net=begin(run.preset, run.history).net)
    assert values(parameter_randomisation("net", Scorer(untrained), METHODS, X, Y))["window", "MPRT, all"] < 0.9


def test_the_same_seed_gives_the_same_rows():
    score = Scorer(trained(WAYS["ff"]))
    first, again, other = (parameter_randomisation("net", score, METHODS, X, Y, seed) for seed in (5, 5, 6))
    assert first == again != other


@each_read_out
def test_the_read_out_stays(read_out):
    seen = set()
    score = Scorer(trained(WAYS["ff"]), read_out)
    parameter_randomisation("net", score, {"m": lambda s, x, y: seen.add(s.read_out) or window(s, x, y)}, X, Y)
    assert seen == {read_out}


def test_the_random_label_is_never_the_own_one():
    asked = []
    score, y = Scorer(trained(WAYS["bp"])), np.arange(3).repeat(200)
    x = np.zeros((600, 8), "float32")
    label_randomisation("net", score, {"m": lambda s, x, y: asked.append(y) or window(s, x, y)}, x, y)
    own, other = asked
    assert (own == y).all() and (other != y).all()
    # of 600 fair coins between the two other classes, within 5 deviations
    assert abs(np.count_nonzero((other - y) % 3 == 1) - 300) < 5 * 150**0.5


def test_a_map_that_does_not_ask_for_the_label_is_like_that_of_any_label():
    found = values(label_randomisation("net", Scorer(trained(WAYS["bp"])), METHODS, X, Y))
    assert found["bright", "random label"] == 1 > found["window", "random label"]


def test_absolute_values_unmask_a_map_that_turned_its_sign():
    methods = {"m": lambda score, x, y: as_maps(np.where(y == Y, 1, -1)[:, None] * x, score.shape)}
    score = Scorer(trained(WAYS["bp"]))
    assert values(label_randomisation("net", score, methods, X, Y)) == {("m", "random label"): -1}
    assert values(label_randomisation("net", score, methods, X, Y, absolute=True)) == {("m", "random label, absolute"): 1}


@each_backend
def test_data_randomisation_is_the_same_training_on_permuted_labels(backend, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = train(WAYS["ff"], DATA, seed=3, epochs=2, batch=9, layers=(8, 6, 5), dtype="float64", threads=1, backend=backend)
    again = retrained_on_permuted_labels(run, DATA, seed=1)
    y = np.random.default_rng(1).permutation(DATA.y_train)
    assert Counter(y) == Counter(DATA.y_train) and (y != DATA.y_train).any()
    alone = train(WAYS["ff"], DATA._replace(y_train=y), seed=3, epochs=2, batch=9, layers=(8, 6, 5), dtype="float64",
                  threads=1, backend=backend)
    assert bits(again) == bits(alone)
    same = ("settings", "seed", "backend", "threads", "dtype", "sizes")
    assert {name: again.history[name] for name in same} == {name: run.history[name] for name in same}
    assert files(tmp_path) == {}


def test_data_randomisation_compares_with_maps_of_that_net():
    run = train(WAYS["bp"], DATA)
    score, before = Scorer(run), bits(run)
    other = Scorer(retrained_on_permuted_labels(run, DATA, 4))
    found = values(data_randomisation("net", score, METHODS, X, Y, DATA, seed=4))
    assert found["window", "data randomisation"] == np.mean(similarity(window(score, X, Y), window(other, X, Y)))
    assert found["bright", "data randomisation"] == 1
    assert bits(run) == before


def test_every_measure_says_its_net_and_what_is_better():
    score = Scorer(trained(WAYS["bp"]))
    rows = parameter_randomisation("a net", score, METHODS, X, Y) + label_randomisation("a net", score, METHODS, X, Y)
    assert {(r.net, r.better) for r in rows} == {("a net", "lower")}
    assert all(r.low <= r.value <= r.high for r in rows)


def test_without_words_for_a_bar_nothing_is_said(capfd):
    data_randomisation("net", Scorer(trained(WAYS["bp"])), METHODS, X, Y, DATA)
    assert capfd.readouterr() == ("", "")
