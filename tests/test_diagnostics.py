"""What one batch tells of a rule: angles against cases whose answer is known, histograms against counting."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from networks import KERNELS, activities, assert_close, each_backend, goodness, network, put
from strategies import any_rules, backprops, deep_problems, pepitas, problems, scales, vectors

from ffnp.diagnostics import (
    EDGES,
    ROWS,
    alignment,
    angle,
    backprop,
    diagnostics,
    feedback,
    goodness_histograms,
    ratio,
    update,
)
from ffnp.net import Dense
from ffnp.rules import (
    PEPITA,
    AdaptiveFeedback,
    Backprop,
    DirectFeedback,
    FeedbackAlignment,
    ForwardForward,
    MonoForward,
)
from ffnp.rules.forward_forward import NEGATIVES

K = KERNELS["numpy"]
some = settings(max_examples=20)


def generator():
    """As the diagnostics draw."""
    return np.random.default_rng(0)


def assert_all_close(ours, theirs):
    for actual, expected in zip(ours, theirs, strict=True):
        assert_close(actual, expected)


# ----- angles and lengths -----


@given(vectors)
def test_an_array_has_no_angle_to_itself_and_180_degrees_to_its_opposite(a):
    assert angle(a, a) == 0 and angle(a, -a) == 180


@given(vectors, scales)
def test_lengths_are_of_no_consequence_to_an_angle(a, scale):
    b = a[::-1] + 1
    assert angle(scale * a, b) == pytest.approx(angle(a, b), abs=1e-12)


@pytest.mark.parametrize("degrees", [1e-7, 1.0, 60.0, 90.0, 179.0])
def test_angles_are_exact_even_near_none(degrees):
    turned = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    assert angle(np.array([2.0, 0.0]), turned) == pytest.approx(degrees, rel=1e-8)


@pytest.mark.parametrize("a", [np.zeros(3), np.array([1.0, np.nan, 0.0]), np.array([np.inf, 1.0, 1.0])])
def test_what_has_no_direction_has_no_angle(a):
    assert angle(a, np.ones(3)) is angle(np.ones(3), a) is ratio(np.ones(3), a) is None


def test_the_ratio_is_that_of_the_lengths():
    assert ratio(np.array([3.0, 4.0]), np.array([[0.0], [2.0]])) == 2.5


# ----- a rule's update beside it -----


@given(rule=backprops, p=problems(least=0))
def test_the_update_of_backprop_is_backprops(rule, p):
    net = network(K, rule, p)
    assert_all_close(update(rule, net, p.x, p.y), backprop(rule, net, p.x, p.y))


def problem_of(sizes, rows=30):
    rng = np.random.default_rng(1)
    return rng.random((rows, sizes[0])), rng.integers(sizes[-1], size=rows)


def drawn(rule, sizes, bias="zeros"):
    return rule.init(np.random.default_rng(2), sizes, "he_normal", bias, "float64")


SIZES = (12, 20, 15, 5)


def test_backprop_has_no_angle_to_itself_and_its_own_length():
    rule = Backprop(dropout=0.5)
    found = alignment(rule, drawn(rule, SIZES), *problem_of(SIZES))
    assert found == {"angle": [pytest.approx(0, abs=1e-10)] * 3, "norm_ratio": [pytest.approx(1, rel=1e-12)] * 3}


def test_an_update_against_backprops_has_180_degrees():
    """Of the layer below the top: it is sent the error through -W."""
    rule = FeedbackAlignment()
    net = drawn(rule, SIZES)
    net = net._replace(feedback=tuple(Dense(-2 * W, None) for W, _ in net.layers[1:]))
    found = alignment(rule, net, *problem_of(SIZES))
    assert found["angle"] == pytest.approx([0, 180, 0], abs=1e-10)
    assert found["norm_ratio"] == pytest.approx([4, 2, 1], rel=1e-12)


@some
@given(p=problems(most=1))
def test_with_one_layer_local_losses_are_all_there_is(p):
    for rule in (ForwardForward(negatives="uniform", softmax_from=None, goodness_from=1), MonoForward()):
        net = network(K, rule, p)
        assert_all_close(update(rule, net, p.x, p.y), backprop(rule, net, p.x, p.y))


@some
@given(p=problems())
def test_above_the_top_layer_of_forward_forward_there_is_no_other_loss(p):
    rule = ForwardForward(negatives="uniform", softmax_from=None, goodness_from=1)
    net = network(K, rule, p)
    assert_close(update(rule, net, p.x, p.y)[-1], backprop(rule, net, p.x, p.y)[-1])


def test_peer_normalisation_belongs_to_the_update_and_to_no_loss():
    plain = ForwardForward(label="append")
    peer, problem = replace(plain, peer=0.5), problem_of(SIZES)
    net = drawn(peer, SIZES)
    assert_all_close(backprop(peer, net, *problem), backprop(plain, net, *problem))
    assert not np.allclose(update(peer, net, *problem)[0], update(plain, net, *problem)[0])


def test_pepita_is_near_adaptive_feedback_alignment_at_the_papers_scale():
    """Cosine above 0.99, 8.1 degrees, in every layer of 784-256-128-10."""
    sizes = (784, 256, 128, 10)
    net, problem = drawn(PEPITA(), sizes, None), problem_of(sizes, 64)
    updates = (update(rule, net, *problem) for rule in (PEPITA(pre="first"), AdaptiveFeedback()))
    assert all(angle(*pair) < 8.1 for pair in zip(*updates, strict=True))


@some
@given(rule=pepitas(update="time-local"), p=deep_problems)
def test_all_of_an_update_is_asked_of_one_net(rule, p):
    """Time-local steps that are not taken are the Hebbian ones."""
    rule = replace(rule, dropout=0.0)
    net = network(K, rule, p)
    assert_all_close(update(rule, net, p.x, p.y), update(replace(rule, update="hebbian"), net, p.x, p.y))


@pytest.mark.parametrize("matrices", ["mirror", "kolen-pollack"])
def test_learning_of_feedback_is_no_part_of_the_update(matrices):
    learns, stays = FeedbackAlignment(matrices=matrices, pre_mirror=5), FeedbackAlignment()
    net, problem = drawn(stays, SIZES), problem_of(SIZES)
    assert_all_close(update(learns, net, *problem), update(stays, net, *problem))


# ----- feedback -----


def with_feedback(net, *matrices):
    return net._replace(feedback=tuple(Dense(W, None) for W in matrices))


def test_feedback_alignment_is_held_against_the_weights_above_the_first_layer():
    rule = FeedbackAlignment()
    net = drawn(rule, SIZES)
    W2, W3 = (layer.W for layer in net.layers[1:])
    found = feedback(rule, with_feedback(net, W2, -3 * W3), *problem_of(SIZES))
    assert found["feedback_angle"] == [0, 180]
    assert found["feedback_distance"] == pytest.approx([0, 4], rel=1e-14)


def test_sign_symmetric_feedback_is_read_off_the_weights():
    rule = FeedbackAlignment(matrices="sign", scale=0.1)
    net = drawn(rule, SIZES)
    found, W = feedback(rule, net, *problem_of(SIZES)), net.layers[1].W
    cosine = np.abs(W).sum() / np.sqrt(W.size) / np.linalg.norm(W)
    assert found["feedback_angle"][0] == pytest.approx(np.degrees(np.arccos(cosine)), rel=1e-10)
    assert found["feedback_distance"][0] == pytest.approx(np.linalg.norm(W - 0.1 * np.sign(W)) / np.linalg.norm(W), rel=1e-12)


def test_direct_feedback_is_held_against_all_weights_above():
    rule = DirectFeedback()
    net = drawn(rule, SIZES)
    W2, W3 = (layer.W for layer in net.layers[1:])
    found = feedback(rule, with_feedback(net, W2 @ W3, -W3), *problem_of(SIZES))
    assert found == {"feedback_angle": [pytest.approx(0, abs=1e-12), 180]}


@pytest.mark.parametrize("rule, expected", [(PEPITA(sign=-1), 0), (PEPITA(sign=1), 180), (AdaptiveFeedback(), 0)])
@pytest.mark.parametrize("factored", [False, True])
def test_pepitas_f_is_held_against_the_product_that_it_drives(rule, expected, factored):
    """F, or -F with sign +1, against W_1 .. W_L; whether or not F is kept in factors."""
    net = drawn(rule, SIZES)
    Ws = [layer.W for layer in net.layers]
    if factored and isinstance(rule, AdaptiveFeedback):
        Ws = [np.linalg.multi_dot(Ws)]
    net = with_feedback(net, *(Ws if factored else [np.linalg.multi_dot(Ws)]))
    x, y = problem_of(SIZES)
    found = feedback(rule, net, x, y)
    e = K.softmax_error(rule.forward(K, net, x).logits, y)[0]
    assert found["feedback_angle"] == pytest.approx([expected], abs=1e-10)
    assert found["perturbation"] == pytest.approx(np.linalg.norm(e @ np.linalg.multi_dot([layer.W for layer in net.layers]).T)
                                                  / np.linalg.norm(x), rel=1e-12)


@pytest.mark.parametrize("rule", [Backprop(), ForwardForward(), MonoForward()])
def test_rules_without_feedback_of_errors_have_none_to_look_at(rule):
    assert feedback(rule, drawn(rule, SIZES), *problem_of(SIZES)) == {}


# ----- goodness -----


@some
@given(p=problems())
def test_goodness_is_counted_of_right_labels_and_of_the_rules_negatives(p):
    rule = ForwardForward(negatives="uniform", softmax_from=None, goodness_from=1, goodness="mean", theta=0.5)
    net = network(K, rule, p)
    wrong = NEGATIVES["uniform"](K, p.y, np.zeros((len(p.y), net.classes)), generator())
    found = goodness_histograms(rule, net, p.x, p.y)
    for kind, labels in (("positive", p.y), ("negative", wrong)):
        for counts, h in zip(found[kind], activities(rule, net, p.x, np.eye(net.classes)[labels]), strict=True):
            theta = 0.5 * h.shape[1]
            inner = [np.sum(goodness(rule, h) / theta >= edge) for edge in found["edges"][1:-1]]  # so many lie above each
            assert counts == (-np.diff([len(p.y), *inner, 0])).tolist()


def test_the_bins_are_narrow_about_theta_and_alike_above_and_below():
    assert EDGES[0] == 1 / 64 and EDGES[15] == 1 and EDGES[-1] == 64
    np.testing.assert_allclose(EDGES * EDGES[::-1], 1, rtol=1e-15)
    assert (np.diff(np.log2(EDGES[15:]), 2) > 0).all() and 1 < EDGES[16] < 1.02


# ----- all of it -----


@each_backend
@settings(max_examples=30)
@given(rule=any_rules, p=deep_problems)
def test_a_diagnosis_is_json_and_the_same_every_time(k, rule, p):
    net = put(k, network(K, rule, p, "float32"))
    x, y = k.put(p.x.astype(np.float32)), k.put(p.y)
    found = diagnostics(k, rule, net, x, y)
    assert json.loads(json.dumps(found, allow_nan=False)) == found == diagnostics(k, rule, net, x, y)
    assert len(found["angle"]) == len(found["norm_ratio"]) == len(net.layers)


def test_only_the_first_rows_are_looked_at():
    rule, (x, y) = ForwardForward(), problem_of(SIZES, ROWS + 10)
    net = drawn(rule, SIZES)
    found = diagnostics(K, rule, net, x, y)
    assert sum(found["goodness"]["positive"][0]) == ROWS
    x[ROWS:] = 0
    assert diagnostics(K, rule, net, x, y) == found
