"""Mono-Forward: each layer with its own classifier, against autograd, and against backprop where they are one rule."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from networks import KERNELS, assert_close, each_backend, gradients, network, put, signals_of
from strategies import mono_forwards, problems
from torch.nn.functional import cross_entropy

import ffnp
from ffnp.errors import UserError
from ffnp.net import Dense, Net
from ffnp.presets import PRESETS
from ffnp.rules import Backprop, MonoForward
from ffnp.rules.rule import CHUNK

few = settings(max_examples=20)


def feedback_gradients(k, net, signals):
    return {l: k.get(k.gradient(net.feedback[l], pairs, signals.rows)[0]) for l, pairs in signals.feedback.items()}


@each_backend
@pytest.mark.parametrize("bias", ["fan_in_uniform", None])
@given(p=problems())
def test_mono_forward_is_autograd_of_each_layers_own_cross_entropy(k, bias, p):
    net = network(k, MonoForward(), p, bias=bias)
    signals = signals_of(k, MonoForward(), net, p)
    ours, theirs, h = gradients(k, net, signals), feedback_gradients(k, net, signals), torch.tensor(p.x)
    for l, layer in enumerate(net.layers):
        leaves = [torch.tensor(k.get(a), requires_grad=True) for a in (net.feedback[l].W, *layer) if a is not None]
        M, W, *b = leaves
        h = torch.relu(h.detach() @ W + sum(b))
        loss = cross_entropy(h @ M, torch.tensor(p.y))
        dM, *expected = (g.numpy() for g in torch.autograd.grad(loss, leaves))
        assert_close(theirs[l], dM)
        for mine, other in zip(ours[l], expected, strict=False):
            assert_close(mine, other)
        assert signals.metrics["loss"][l] == pytest.approx(loss.item(), rel=1e-12)


@each_backend
@few
@given(p=problems(most=1))
def test_with_one_hidden_layer_mono_forward_is_backprop(k, p):
    """The network's own matrix M is then the output layer of a net without output biases."""
    net = network(k, MonoForward(), p)
    twin = Net((*net.layers, Dense(net.feedback[0].W, None)), net.classes)
    signals, expected = signals_of(k, MonoForward(), net, p), gradients(k, twin, signals_of(k, Backprop(), twin, p))
    for mine, other in zip(gradients(k, net, signals)[0], expected[0], strict=True):
        np.testing.assert_array_equal(mine, other)
    np.testing.assert_array_equal(feedback_gradients(k, net, signals)[0], expected[1][0])


@each_backend
@few
@given(p=problems(least=2))
def test_a_layer_knows_nothing_of_those_above(k, p):
    net = network(k, MonoForward(), p)
    shorter = net._replace(layers=net.layers[:-1], feedback=net.feedback[:-1])
    whole, cut = (gradients(k, a, signals_of(k, MonoForward(), a, p)) for a in (net, shorter))
    for l in cut:
        np.testing.assert_array_equal(whole[l][0], cut[l][0])


@each_backend
@few
@given(p=problems())
def test_the_read_outs_are_the_last_layers_logits_and_the_sum_of_all(k, p):
    net, h, logits = network(KERNELS["numpy"], MonoForward(), p), p.x, []
    for (W, b), (M, _) in zip(net.layers, net.feedback, strict=True):
        h = np.maximum(h @ W + b, 0)
        logits.append(h @ M)
    assert_close(MonoForward().by_last(k, put(k, net), k.put(p.x)), logits[-1])
    assert_close(MonoForward().by_all(k, put(k, net), k.put(p.x)), sum(logits))


@pytest.mark.parametrize("names", [("last", "all"), ("all", "last")])
def test_the_main_read_out_comes_first(names):
    assert tuple(MonoForward(read_out=names[0]).read_outs()) == names


@each_backend
def test_the_diagnosis_is_what_counting_by_hand_finds(k):
    rng, rule, rows = np.random.default_rng(4), MonoForward(), CHUNK + 3
    x, y = rng.standard_normal((rows, 6)), rng.integers(3, size=rows)
    x[-1] *= 10
    net = rule.init(rng, (6, 20, 9, 3), "he_normal", "zeros", "float64")
    net.layers[0].b[:15] -= 8  # these speak for the last row at most
    hs = [np.maximum(x @ net.layers[0].W + net.layers[0].b, 0)]
    hs.append(np.maximum(hs[0] @ net.layers[1].W, 0))
    z = [h @ M.W for h, M in zip(hs, net.feedback, strict=True)]
    told = rule.diagnose(k, put(k, net), k.put(x), k.put(y))
    assert told["layer_error"] == [np.mean(own.argmax(axis=1) != y) for own in z]
    assert told["error"] == {"last": told["layer_error"][1], "all": np.mean(sum(z).argmax(axis=1) != y)}
    assert told["dead_units"] == [int((h == 0).all(axis=0).sum()) for h in hs] and 0 < told["dead_units"][0] < 15


@few
@given(rule=mono_forwards, p=problems())
def test_the_matrices_have_a_column_for_each_class(rule, p):
    net = rule.init(p.rng, p.sizes, "he_normal", "zeros", "float32")
    assert [M.W.shape for M in net.feedback] == [(units, p.sizes[-1]) for units in p.sizes[1:-1]]
    assert all(M.b is None and M.W.any() for M in net.feedback) and len(net.layers) == len(p.sizes) - 2


def test_an_unknown_read_out_is_refused():
    with pytest.raises(UserError, match="read_out must be one of last, all, not 'first'"):
        MonoForward(read_out="first")


def test_without_a_hidden_layer_there_is_nothing_to_learn():
    with pytest.raises(UserError, match="there must be one, but hidden is empty"):
        MonoForward().init(np.random.default_rng(0), (4, 2), "he_normal", None, "float32")


def test_mono_forward_learns_the_digits():
    small = replace(PRESETS["mono-forward"], hidden=(100, 100), epochs=20, batch=50)
    run = ffnp.train(small, ffnp.load("digits"))
    assert all(error < 0.06 for error in run.history["read_outs"].values())
