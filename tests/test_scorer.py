"""A run as one function of images, what is asked of its scores, and rows of inputs as maps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import scene
from strategies import seeds
from tiny import dataset, each_way

from ffnp.errors import UserError
from ffnp.rules import Backprop, ForwardForward, MonoForward
from ffnp.saliency.scorer import Scorer, as_maps, margin, one_against, one_against_all, picture, probability, right
from ffnp.training import train

DATA = dataset()


# ----- a run as a function -----


@each_way
def test_the_scores_are_those_of_each_read_out_of_the_run(preset):
    run = train(preset, DATA)
    for name in preset.rule.read_outs():
        np.testing.assert_array_equal(Scorer(run, name)(DATA.x_test), run.scores(DATA.x_test, name))
    assert Scorer(run).read_out == run.history["read_out"]


@pytest.mark.parametrize("rule, layers", [
    (ForwardForward(), (2, 3)), (ForwardForward(goodness_from=1), (1, 2, 3)), (ForwardForward(read_out="softmax"), ()),
    (MonoForward(), (3,)), (MonoForward(read_out="all"), (1, 2, 3)), (Backprop(), ()),
])
def test_the_layers_that_count_are_those_of_the_read_out(rule, layers):
    assert scene(rule, (3, 3), (4, 4, 4)).score.layers == layers


@pytest.mark.parametrize("rule", [ForwardForward(), MonoForward()])
def test_layers_add_up_and_one_that_is_named_twice_counts_once(rule):
    s = scene(rule, (3, 3), (4, 4, 4))
    one, three, both = (Scorer(s.score.run, layers=layers)(s.x) for layers in ((1,), (3,), (3, 1, 3)))
    np.testing.assert_allclose(both, one + three, rtol=1e-14)


@pytest.mark.parametrize("rule, layers", [(ForwardForward(), (0,)), (MonoForward(), (1, 4)), (Backprop(), (1,)),
                                          (ForwardForward(read_out="softmax"), (2,))])
def test_layers_that_are_not_added_up_are_refused(rule, layers):
    with pytest.raises(UserError, match="adds up no such layers as " + ", ".join(map(str, layers))):
        Scorer(scene(rule, (3, 3), (4, 4, 4)).score.run, layers=layers)


def test_a_read_out_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="read-out must be one of softmax, not 'goodness'"):
        Scorer(scene(Backprop(), (3, 3), (4,)).score.run, "goodness")


@pytest.mark.parametrize("shape", [(2, 8), (2, 3, 3), (9,)])
def test_images_of_another_size_are_refused(shape):
    with pytest.raises(UserError, match="takes rows of 9 inputs, not an array of shape"):
        scene(Backprop(), (3, 3), (4,)).score(np.zeros(shape))


# ----- what is asked of the scores -----


@given(seeds, st.integers(1, 5), st.integers(2, 4))
def test_margin_probability_and_right_answers_are_those_of_a_plain_loop(seed, n, C):
    rng = np.random.default_rng(seed)
    s, y = rng.standard_normal((n, C)), rng.integers(C, size=n)
    for i, (row, c) in enumerate(zip(s.tolist(), y.tolist(), strict=True)):
        others = row[:c] + row[c + 1 :]
        assert margin(s, y)[i] == pytest.approx(row[c] - max(others), abs=1e-14)
        assert right(s, y)[i] == (row[c] > max(others))
        assert probability(s, y)[i] == pytest.approx(np.exp(row[c]) / np.exp(row).sum(), rel=1e-13)
        assert (one_against_all(s, y) * s).sum(axis=1)[i] == pytest.approx(row[c] - np.mean(row), abs=1e-14)
    assert (np.sort(one_against(s, y), axis=1)[:, [0, -1]] == [-1, 1]).all()


def test_probabilities_of_large_scores_do_not_overflow():
    assert probability(np.array([[1e5, 0.0], [0.0, 1e5]]), np.array([0, 0])).tolist() == [1, 0]


# ----- maps -----


@pytest.mark.parametrize("shape, expected", [((8,), (1, 8, 1)), ((4, 5), (4, 5, 1)), ((2, 3, 3), (2, 3, 3)),
                                             ((2, 2, 2, 2), (1, 16, 1))])
def test_what_is_no_image_is_a_line_of_pixels(shape, expected):
    assert picture(shape) == expected


def test_the_channels_of_a_pixel_add_up_and_a_label_over_one_blanks_it():
    values = np.arange(24.0).reshape(2, 12)
    np.testing.assert_array_equal(as_maps(values, (2, 2, 3)), values.reshape(2, 2, 2, 3).sum(axis=3))
    found = as_maps(values, (2, 2, 3), overlaid=4)
    assert np.isnan(found[:, 0]).all() and (found[:, 1] == as_maps(values, (2, 2, 3))[:, 1]).all()
    assert not np.isnan(values).any()
