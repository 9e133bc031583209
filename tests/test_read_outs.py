"""How a Forward-Forward network tells the class, what it reports of itself, and which settings it refuses."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from networks import KERNELS, activities, assert_close, each_backend, goodness, network, normalised, put
from strategies import Problem, forward_forwards, problems

from ffnp.errors import UserError
from ffnp.net import Dense
from ffnp.rules import ForwardForward
from ffnp.rules.rule import CHUNK

deep = problems(least=2)


def goodness_table(rule, net, x):
    """The goodness of every label in every layer, (B, C, L), one label and one layer at a time."""
    slots = [np.tile(rule.strength * row, (len(x), 1)) for row in np.eye(net.classes)]
    return np.stack([np.stack([goodness(rule, h) for h in activities(rule, net, x, Y)], axis=1) for Y in slots], axis=1)


# ----- read-outs -----


@each_backend
@given(rule=forward_forwards(), p=deep)
def test_the_goodness_read_out_adds_exactly_the_layers_it_is_told(k, rule, p):
    net = network(KERNELS["numpy"], rule, p)
    table = goodness_table(rule, net, p.x)
    for first in range(1, len(net.layers) + 1):
        scores = replace(rule, goodness_from=first).by_goodness(k, put(k, net), k.put(p.x))
        assert_close(scores, sum(table[:, :, l] for l in range(first - 1, len(net.layers))))


@each_backend
@given(rule=forward_forwards(), p=deep)
def test_the_softmax_read_out_sees_exactly_the_layers_it_is_told_under_the_neutral_label(k, rule, p):
    net = network(KERNELS["numpy"], rule, p)
    neutral = np.full((len(p.x), net.classes), rule.neutral)
    hs = [normalised(rule, h) for h in activities(rule, net, p.x, neutral)]
    for first in range(1, len(net.layers) + 1):
        seen = np.hstack(hs[first - 1 :])
        told, head = replace(rule, softmax_from=first), p.rng.standard_normal((seen.shape[1], net.classes))
        assert_close(k.get(told.features(k, put(k, net), k.put(p.x))), seen)
        assert_close(told.by_softmax(k, put(k, net._replace(head=Dense(head, None))), k.put(p.x)), seen @ head)


@each_backend
@given(rule=forward_forwards(), p=deep)
def test_theta_has_no_say_in_the_goodness_read_out(k, rule, p):
    net = network(k, rule, p)
    scores = rule.by_goodness(k, net, k.put(p.x))
    np.testing.assert_array_equal(replace(rule, theta=99.0).by_goodness(k, net, k.put(p.x)), scores)


@pytest.mark.parametrize(("settings", "names"), [
    ({}, ["goodness", "softmax"]),
    ({"read_out": "softmax"}, ["softmax", "goodness"]),
    ({"softmax_from": None, "negatives": "uniform"}, ["goodness"]),
])
def test_the_main_read_out_comes_first(settings, names):
    assert list(ForwardForward(**settings).read_outs()) == names


def test_without_a_softmax_read_out_there_is_no_head():
    rule = ForwardForward(softmax_from=None, negatives="uniform")
    assert rule.init(np.random.default_rng(0), (9, 5, 6, 4), "he_normal", "zeros", "float32").head is None


# ----- what it reports -----


def crowd(rows):
    """More images than one pass of an evaluation takes."""
    rng = np.random.default_rng(5)
    return Problem((9, 32, 33, 4), rng.standard_normal((rows, 9)), rng.integers(4, size=rows), np.zeros(rows, int), rng)


@each_backend
@pytest.mark.parametrize("settings", [{}, {"goodness": "mean", "softmax_from": None, "negatives": "uniform"}])
def test_the_diagnosis_is_what_counting_by_hand_finds(k, settings):
    rule, p = ForwardForward(label="append", **settings), crowd(CHUNK + 3)
    net = network(KERNELS["numpy"], rule, p)
    net.layers[0].b[:20] -= 3  # some units speak rarely, or never
    told = rule.diagnose(k, put(k, net), k.put(p.x), k.put(p.y))

    table, rows = goodness_table(rule, net, p.x), np.arange(len(p.y))
    right = table[rows, p.y]
    wrong = np.array([np.delete(scores, y, axis=0).mean(axis=0) for scores, y in zip(table, p.y, strict=True)])
    hs = list(activities(rule, net, p.x, np.eye(4)[p.y]))
    assert told["error"]["goodness"] == np.mean(table[:, :, 1].argmax(axis=1) != p.y)
    assert told["layer_error"] == [np.mean(table[:, :, l].argmax(axis=1) != p.y) for l in range(2)]
    np.testing.assert_allclose(told["goodness_right"], right.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(told["goodness_wrong"], wrong.mean(axis=0), rtol=1e-12)
    assert told["dead_units"] == [int((h <= 0).all(axis=0).sum()) for h in hs] and 0 < told["dead_units"][0] < 20
    assert ("softmax" in told["error"]) == ("softmax_from" not in settings)


@each_backend
def test_the_diagnosed_softmax_error_is_that_of_its_read_out(k):
    rule, p = ForwardForward(), crowd(CHUNK + 3)
    net = network(k, rule, p)
    chosen = rule.by_softmax(k, net, k.put(p.x)).argmax(axis=1)
    assert rule.diagnose(k, net, k.put(p.x), k.put(p.y))["error"]["softmax"] == np.mean(chosen != p.y)


# ----- what it refuses -----


@pytest.mark.parametrize(("settings", "named"), [
    ({"goodness": "median"}, "goodness must be one of sum, mean, not 'median'"),
    ({"norm": "l1"}, "norm must be one of rms, l2, none, not 'l1'"),
    ({"label": "beside"}, "label must be one of overlay, append, not 'beside'"),
    ({"negatives": "right"}, "negatives must be one of .*, not 'right'"),
    ({"schedule": "reversed"}, "schedule must be one of joint, layerwise, not 'reversed'"),
    ({"read_out": "vote"}, "read_out must be one of goodness, softmax, not 'vote'"),
    ({"read_out": "softmax", "softmax_from": None, "negatives": "uniform"}, "read_out must be one of goodness, not 'softmax'"),
    ({"schedule": "layerwise"}, "hard negatives .* schedule joint"),
    ({"softmax_from": None}, "hard negatives .* need softmax_from"),
    ({"loss": "hinge"}, "loss must be one of logistic, symba, not 'hinge'"),
    ({"alpha": 0.0}, "alpha must be above 0, not 0.0"),
    ({"dropout": 1.0}, "dropout .* not 1.0"),
    ({"dropout": -0.1}, "dropout .* not -0.1"),
    ({"tiny": -1e-8}, "tiny .* not -1e-08"),
    ({"peer": -0.03}, "peer .* not .*-0.03"),
    ({"peer_keep": 1.5}, "peer_keep .* not .*1.5"),
])
def test_settings_that_cannot_work_are_refused_by_name(settings, named):
    with pytest.raises(UserError, match=named):
        ForwardForward(**settings)


@pytest.mark.parametrize(("settings", "sizes", "named"), [
    ({}, (3, 5, 6, 4), "4 classes does not fit over 3 inputs"),
    ({"goodness_from": 3}, (9, 5, 6, 4), "goodness_from is layer 3, but the network has 2 hidden layers"),
    ({"goodness_from": 0}, (9, 5, 6, 4), "goodness_from is layer 0"),
    ({"softmax_from": 3}, (9, 5, 6, 4), "softmax_from is layer 3, but the network has 2 hidden layers"),
    ({"softmax_from": 0, "negatives": "uniform"}, (9, 5, 6, 4), "softmax_from is layer 0"),
])
def test_networks_that_cannot_work_are_refused_by_number(settings, sizes, named):
    with pytest.raises(UserError, match=named):
        ForwardForward(**settings).init(np.random.default_rng(0), sizes, "he_normal", "zeros", "float32")
