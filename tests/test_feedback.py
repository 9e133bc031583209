"""The feedback-alignment family: how its rules become one another, and where its matrices go."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import KERNELS, assert_close, each_backend, gradients, network, put, signals_of
from strategies import deep_problems, direct_feedback, hidden_layers, problems, seeds

from ffnp.errors import UserError
from ffnp.net import Dense
from ffnp.optim import Optimiser, Optimisers
from ffnp.rules import AdaptiveFeedback, Backprop, DirectFeedback, FeedbackAlignment
from ffnp.rules.mirror import mirror
from ffnp.rules.rule import Moment

ONE_HIDDEN = problems(least=1, most=1)


def bits(k, net, signals):
    return {l: [None if a is None else a.tobytes() for a in step] for l, step in gradients(k, net, signals).items()}


def with_feedback(net, matrices):
    return net._replace(feedback=tuple(Dense(W, None) for W in matrices))


# ----- identities -----


@each_backend
@given(settings=hidden_layers, p=deep_problems, seed=seeds)
def test_feedback_through_the_weights_is_backprop(k, settings, p, seed):
    """Bit for bit: B_l is laid out like W_l."""
    rule = FeedbackAlignment(**settings)
    net = network(k, rule, p)
    net = with_feedback(net, [layer.W for layer in net.layers[1:]])
    ours, theirs = (bits(k, net, signals_of(k, r, net, p, seed)) for r in (rule, Backprop(**settings)))
    assert ours == theirs


@each_backend
@given(settings=hidden_layers, p=ONE_HIDDEN, seed=seeds)
def test_with_one_hidden_layer_direct_feedback_is_feedback_alignment(k, settings, p, seed):
    direct, layered = DirectFeedback(**settings), FeedbackAlignment(**settings)
    net = network(k, layered, p)
    assert bits(k, net, signals_of(k, direct, net, p, seed)) == bits(k, net, signals_of(k, layered, net, p, seed))


@each_backend
@given(settings=hidden_layers, p=deep_problems, seed=seeds)
def test_sign_symmetry_is_backprop_where_all_weights_have_one_size(k, settings, p, seed):
    rule = FeedbackAlignment(**settings, matrices="sign", scale=0.25)
    net = network(k, rule, p)
    even = net._replace(layers=net.layers[:1] + tuple(
        layer._replace(W=k.put(0.25 * np.sign(k.get(layer.W)))) for layer in net.layers[1:]))
    ours, theirs = (bits(k, even, signals_of(k, r, even, p, seed)) for r in (rule, Backprop(**settings)))
    assert ours == theirs


@each_backend
@given(rule=direct_feedback, p=deep_problems)
def test_direct_feedback_sends_its_formula(k, rule, p):
    """post_l = (e, sign(e) or Y) B_l^T * f'(z_l), in plain NumPy, without dropout."""
    rule = replace(rule, dropout=0.0)
    net = network(k, rule, p)
    up = rule.forward(k, net, k.put(p.x))
    z = k.get(up.logits)
    e = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) - np.eye(net.classes)[p.y]
    sent = {"error": e, "sign": np.sign(e), "target": np.eye(net.classes)[p.y]}[rule.sends]
    signals = signals_of(k, rule, net, p)
    for l, (h, B) in enumerate(zip(up.active, net.feedback, strict=True)):
        h = k.get(h)
        slope = h > 0 if rule.activation == "relu" else 1 - h**2
        assert_close(k.get(signals.layers[l][0].post), sent @ k.get(B.W).T * slope)
    assert_close(k.get(signals.layers[len(up.active)][0].post), e)


@each_backend
@given(p=deep_problems, seed=seeds)
def test_what_random_target_projection_sends_down_knows_no_error(k, p, seed):
    """Other output weights change nothing below."""
    rule = DirectFeedback(sends="target")
    net = network(k, rule, p)
    other = net._replace(layers=(*net.layers[:-1], net.layers[-1]._replace(W=k.scale(net.layers[-1].W, -3.0))))
    before, after = (bits(k, n, signals_of(k, rule, n, p, seed)) for n in (net, other))
    assert {l: before[l] for l in range(len(net.layers) - 1)} == {l: after[l] for l in range(len(net.layers) - 1)}


# ----- Kolen-Pollack -----


@each_backend
@pytest.mark.parametrize("kind", ["sgd", "momentum", "ema"])
@given(p=deep_problems, seed=seeds)
def test_under_kolen_pollack_the_difference_decays_as_a_power(k, kind, p, seed):
    """Both take the same step, so (W - B)_t = (1 - rate decay)^t (W - B)_0."""
    rule, step = FeedbackAlignment(matrices="kolen-pollack"), Optimiser(kind, 0.1, decay=0.5)
    optimisers, net = Optimisers(step, feedback=step), network(k, rule, p)
    apart = [k.get(layer.W) - k.get(B.W) for layer, B in zip(net.layers[1:], net.feedback, strict=True)]
    state, rng = optimisers.init(k, net), np.random.default_rng(seed)
    for _ in range(5):
        for signals in rule.signals(k, net, k.put(p.x), k.put(p.y), rng):
            net, _ = optimisers.apply(k, net, signals, state, 1.0)
    for layer, B, before in zip(net.layers[1:], net.feedback, apart, strict=True):
        assert_close(k.get(layer.W) - k.get(B.W), 0.95**5 * before)


def test_matrices_that_learn_need_an_optimiser():
    k, rule = KERNELS["numpy"], FeedbackAlignment(matrices="kolen-pollack")
    net = rule.init(np.random.default_rng(0), (4, 3, 2), "he_normal", None, "float64")
    optimisers = Optimisers(Optimiser("sgd", 0.1))
    signals, = rule.signals(k, net, np.ones((1, 4)), np.zeros(1, int), np.random.default_rng(0))
    with pytest.raises(UserError, match="feedback matrices of this rule learn, but no optimiser"):
        optimisers.apply(k, net, signals, optimisers.init(k, net), 1.0)


# ----- weight mirroring -----


@each_backend
@pytest.mark.parametrize(("activation", "share"), [("linear", 1.0), ("relu", 0.5)])
def test_mirroring_answers_noise_with_the_weights(k, activation, share):
    """E[x^T f(x W)] = share sigma^2 W; 40,000 rows leave about 3 |w_j| sigma^2 / sqrt(40,000), five times that is allowed."""
    rng, rows, noise = np.random.default_rng(0), 40_000, 0.1
    W = rng.standard_normal((6, 4))
    pairs = mirror(k, [Dense(k.put(W), None)], activation, activation, rows, noise, rng)[0]
    found = -k.get(k.gradient((k.put(W), None), pairs, rows)[0]) / noise**2
    assert (np.abs(found - share * W) <= 5 * 3 * np.linalg.norm(W, axis=0) / rows**0.5).all()


@each_backend
@given(p=deep_problems, seed=seeds)
def test_mirrored_noise_has_mean_zero(k, p, seed):
    net = network(k, Backprop(), p)
    for pairs in mirror(k, net.layers, "relu", "softmax", 7, 0.1, np.random.default_rng(seed)).values():
        assert abs(k.get(pairs[0].pre).mean()) <= 1e-15


def angle(a, b):
    return np.degrees(np.arccos((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)))


@each_backend
def test_a_mirrored_matrix_turns_to_the_weights_and_random_ones_stay(k):
    """From about 90 degrees to below 15 in 300 steps of noise, while nothing else learns."""
    rule = FeedbackAlignment(matrices="mirror", pre_mirror=1)
    optimisers = Optimisers(Optimiser("sgd", 0.1), feedback=Optimiser("sgd", 1.0, decay=0.02))
    net = put(k, rule.init(np.random.default_rng(0), (20, 30, 25, 5), "he_normal", "zeros", "float64"))
    before = [k.get(layer.W).copy() for layer in net.layers]
    state, rng, x, y = optimisers.init(k, net), np.random.default_rng(1), k.put(np.ones((50, 20))), k.put(np.zeros(50, int))
    start = [angle(k.get(B.W), k.get(layer.W)) for B, layer in zip(net.feedback, net.layers[1:], strict=True)]
    for _ in range(300):
        for signals in rule.signals(k, net, x, y, rng, Moment(epoch=1)):
            net, _ = optimisers.apply(k, net, signals, state, 1.0)
    end = [angle(k.get(B.W), k.get(layer.W)) for B, layer in zip(net.feedback, net.layers[1:], strict=True)]
    assert min(start) > 75 and max(end) < 15
    for layer, W in zip(net.layers, before, strict=True):
        np.testing.assert_array_equal(k.get(layer.W), W)


def test_mirror_mode_ends_with_its_epochs():
    k, rule = KERNELS["numpy"], FeedbackAlignment(matrices="mirror", pre_mirror=2)
    net = rule.init(np.random.default_rng(0), (4, 3, 2), "he_normal", None, "float64")
    for epoch, layers in ((1, [set()]), (2, [set()]), (3, [set(), {0, 1}])):
        found = rule.signals(k, net, np.ones((1, 4)), np.zeros(1, int), np.random.default_rng(0), Moment(epoch=epoch))
        assert [set(signals.layers) for signals in found] == layers


@pytest.mark.parametrize(("rule", "settings", "named"), [
    (FeedbackAlignment, {"matrices": "learned"}, "matrices must be one of random, sign, mirror, kolen-pollack, not 'learned'"),
    (FeedbackAlignment, {"noise": -1.0}, "noise must be at least 0, not -1.0"),
    (FeedbackAlignment, {"pre_mirror": -1}, "pre_mirror must be at least 0, not -1"),
    (AdaptiveFeedback, {"spread": float("nan")}, "spread must be at least 0, not nan"),
    (DirectFeedback, {"sends": "love"}, "sends must be one of error, sign, target, not 'love'"),
    (DirectFeedback, {"dropout": 2.0}, "dropout .* not 2.0"),
])
def test_settings_that_cannot_work_are_refused(rule, settings, named):
    with pytest.raises(UserError, match=named):
        rule(**settings)


@given(p=deep_problems, matrices=st.sampled_from(["random", "mirror", "kolen-pollack"]))
def test_a_layered_matrix_is_shaped_like_its_layer_and_a_direct_one_like_a_softmax(p, matrices):
    rng, init = np.random.default_rng(0), ("he_normal", "zeros", "float32")
    layered = FeedbackAlignment(matrices=matrices).init(rng, p.sizes, *init)
    assert [B.W.shape for B in layered.feedback] == [layer.W.shape for layer in layered.layers[1:]]
    direct = DirectFeedback().init(rng, p.sizes, *init)
    assert [B.W.shape for B in direct.feedback] == [(units, p.sizes[-1]) for units in p.sizes[1:-1]]
    assert not FeedbackAlignment(matrices="sign").init(rng, p.sizes, *init).feedback
