"""The losses of Forward-Forward, its dropout and its norms: against autograd, and what makes each of them what it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from networks import assert_close, contrasted, each_backend, gradients, network, signals_of
from strategies import deep_problems, forward_forwards, just_one, problems, rates, seeds
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

import ffnp
from ffnp.presets import PRESETS
from ffnp.rules import ForwardForward

deep = deep_problems
few = settings(max_examples=20)
PLAIN = ForwardForward(negatives="uniform", softmax_from=None, goodness_from=1)


def both_inputs(k, rule, net, p):
    return [rule.labelled(k, k.put(p.x), k.put(labels), net) for labels in (p.y, p.wrong)]


# ----- autograd -----


def torch_normalised(rule, h):
    length = (h * h).sum(dim=1, keepdim=True).sqrt()
    return h if rule.norm == "none" else h / ((length / h.shape[1] ** 0.5 if rule.norm == "rms" else length) + rule.tiny)


def torch_passes(rule, layers, h, masks):
    """The goodness (2 B,) of each layer, with nothing flowing between layers but detached activity."""
    for l, (W, b) in enumerate(layers):
        received = torch_normalised(rule, h) if l or rule.norm_input else h
        received = received * masks[l - 1] if l else received
        a = torch.relu(received @ W + b)
        seen = a * masks[l]
        yield (seen * seen).sum(dim=1) if rule.goodness == "sum" else (seen * seen).mean(dim=1)
        h = a.detach()


def torch_loss(rule, own, others, threshold):
    """The paper's loss of one layer: logistic over all rows, or half of SymBa's over the pairs of rows."""
    belief, B = own + others.detach(), len(own) // 2
    if rule.loss == "symba":
        return -logsigmoid(rule.alpha * (belief[:B] - belief[B:])).mean() / 2  # torch's softplus is exact to 2e-9 only
    return binary_cross_entropy_with_logits(rule.alpha * (belief - threshold), torch.tensor([1.0] * B + [0.0] * B).double())


def torch_gradients(rule, net, inputs, masks):
    """(dW, db) of each layer, and the largest margin there is."""
    layers = [[torch.tensor(a, requires_grad=True) for a in layer] for layer in net]
    goods = list(torch_passes(rule, layers, torch.tensor(np.vstack(inputs)), masks))
    found = []
    for own, layer in zip(goods, layers, strict=True):
        others = sum(goods) - own if rule.collaborate else torch.zeros_like(own)
        threshold = rule.theta * len(layer[1]) if rule.theta_per_unit else rule.theta
        loss = torch_loss(rule, own, others, threshold)
        found.append([g.numpy() for g in torch.autograd.grad(loss, layer, retain_graph=True)])
    return found, float(rule.alpha * sum(g.detach() for g in goods).max())


@each_backend
@settings(max_examples=100)
@given(rule=forward_forwards(peer=0.0), p=problems(least=2), keys=seeds)
def test_every_loss_is_autograd_times_what_dropout_leaves(k, rule, p, keys):
    """A margin's rounding goes straight into p, hence the tolerance: 1e-12 of the largest margin."""
    net, inputs = network(k, rule, p), both_inputs(k, rule, network(k, rule, p._replace(rng=np.random.default_rng(0))), p)
    keys = np.random.default_rng(keys).integers(2**32, size=len(net.layers)).tolist()
    masks = [torch.tensor(k.get(k.dropout(k.put(np.ones((2 * len(p.y), units))), rule.dropout, key)))
             for units, key in zip(p.sizes[1:], keys, strict=False)]
    ours = gradients(k, net, rule.contrast(k, net, *inputs, range(len(net.layers)), keys))
    layers = [[k.get(a) for a in layer] for layer in net.layers]
    theirs, margin = torch_gradients(rule, layers, [k.get(h) for h in inputs], masks)
    for l, expected in enumerate(theirs):
        for mine, other in zip(ours[l], expected, strict=True):
            assert_close(mine, (1 - rule.dropout) * other, 1e-12 * max(1, margin))


# ----- SymBa -----


def weights(k, post, h):
    """What each row's activity was multiplied by; None where no unit speaks."""
    return [float(s @ a / (a @ a)) if a.any() else None for s, a in zip(k.get(post), h, strict=True)]


@each_backend
@few
@given(rule=forward_forwards(loss="symba", peer=0.0, norm="rms"), p=deep)
def test_symba_pulls_at_both_partners_with_one_weight(k, rule, p):
    """The right one up and the wrong one down: what Lee & Song call symmetric."""
    net, B = network(k, rule, p), len(p.y)
    inputs = k.vstack(*both_inputs(k, rule, net, p))
    signals = contrasted(k, rule, net, p)
    for l, (_, h, _) in enumerate(rule.forward(k, net, inputs)):
        found = weights(k, signals.layers[l][0].post, k.get(h))
        for up, down in zip(found[:B], found[B:], strict=True):
            assert up is None or down is None or abs(up + down) <= 1e-12 * rule.alpha


@each_backend
@few
@given(rule=forward_forwards(loss="symba", peer=0.0, collaborate=False, norm="rms", sparing=False), p=deep)
def test_symba_is_the_logistic_loss_with_the_partners_goodness_as_threshold(k, rule, p):
    net, B = network(k, rule, p), len(p.y)
    signals, targets = contrasted(k, rule, net, p), k.put(np.repeat([1.0, 0.0], B))
    for l, (_, h, squares) in enumerate(rule.forward(k, net, k.vstack(*both_inputs(k, rule, net, p)))):
        goodness = rule.share(h) * k.get(squares)
        theta = k.put(rule.alpha * np.concatenate([goodness[B:], goodness[:B]]))
        post, loss = k.goodness_signal(h, squares, targets, theta, rule.alpha * rule.share(h), 0.0)
        np.testing.assert_array_equal(k.get(signals.layers[l][0].post), k.get(post))
        assert signals.metrics["loss"][l] == loss


@each_backend
@few
@given(rule=forward_forwards(loss="symba"), p=deep)
def test_symba_knows_no_threshold(k, rule, p):
    net = network(k, rule, p)
    plain, other = (gradients(k, net, contrasted(k, choice, net, p)) for choice in (rule, replace(rule, theta=99.0)))
    for l in plain:
        np.testing.assert_array_equal(plain[l][0], other[l][0])


# ----- layers that believe together -----


@each_backend
@few
@given(p=problems(most=1))
def test_a_single_layer_has_nobody_to_collaborate_with(k, p):
    net = network(k, PLAIN, p)
    alone, together = (contrasted(k, rule, net, p).layers[0][0] for rule in (PLAIN, replace(PLAIN, collaborate=True)))
    np.testing.assert_array_equal(k.get(alone.post), k.get(together.post))


@each_backend
@few
@given(p=deep)
def test_layers_that_collaborate_share_one_belief_and_so_one_loss(k, p):
    rule = replace(PLAIN, collaborate=True, theta_per_unit=False)
    net = network(k, rule, p)
    losses = contrasted(k, rule, net, p).metrics["loss"]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-12)


# ----- dropout -----


@each_backend
@few
@given(rule=forward_forwards(dropout=0.5, peer=0.0, norm="rms"), p=deep, seed=seeds)
def test_a_unit_that_drops_out_is_neither_counted_nor_heard(k, rule, p, seed):
    """Where a layer's signal speaks, the next layer heard; what the next did not hear was sent nothing."""
    net = network(k, rule, p)
    signals = signals_of(k, rule, net, p, seed)
    for l in range(len(net.layers) - 1):
        sent, heard = k.get(signals.layers[l][0].post), k.get(signals.layers[l + 1][0].pre)
        assert not sent[heard == 0].any()


@each_backend
def test_partners_lose_different_units(k):
    rule, x = replace(PLAIN, dropout=0.5), np.random.default_rng(0).random((4, 9))
    net = rule.init(np.random.default_rng(0), (9, 40, 40, 3), "he_normal", "zeros", "float64")
    up = k.get(rule.contrast(k, net, k.put(x), k.put(x), [1], [7, 8]).layers[1][0].pre)
    assert ((up[:4] == 0) != (up[4:] == 0)).any(axis=1).all()


@each_backend
@few
@given(rule=forward_forwards(), p=deep)
def test_the_least_dropout_is_none(k, rule, p):
    """At a rate of 2^-40 no unit is dropped, but in one case of 2^32; what is left is the scale 1 / (1 - 2^-40)."""
    rule = replace(rule, loss="logistic", alpha=1.0, norm="rms", negatives="uniform", peer=0.0)
    net = network(k, rule, p)
    inputs = both_inputs(k, rule, net, p)
    some, none = (gradients(k, net, replace(rule, dropout=rate).contrast(k, net, *inputs, range(len(net.layers)), keys))
                  for rate, keys in ((2.0**-40, [1, 2, 3]), (0.0, [])))
    for l in none:
        assert_close(some[l][0], none[l][0], 1e-9)


@each_backend
@few
@given(rule=forward_forwards(), p=deep, rate=rates)
def test_dropout_is_for_learning_only(k, rule, p, rate):
    net = network(k, rule, p)
    for name, read_out in rule.read_outs().items():
        other = replace(rule, dropout=rate).read_outs()[name]
        np.testing.assert_array_equal(other(k, net, k.put(p.x)), read_out(k, net, k.put(p.x)))


@each_backend
@few
@given(rule=forward_forwards(dropout=0.5), p=deep, seed=seeds)
def test_the_head_learns_from_what_dropout_leaves(k, rule, p, seed):
    """Of its features some are missing and the others what they are worth without dropout below, for the first layer."""
    rule = replace(rule, softmax_from=1)
    net = network(k, rule, p)
    seen = k.get(signals_of(k, rule, net, p, seed).head[0].pre)[:, : p.sizes[1]]
    whole = k.get(rule.features(k, net, k.put(p.x)))[:, : p.sizes[1]]
    np.testing.assert_allclose(seen, np.where(seen == 0, 0, 2 * whole), rtol=1e-12, atol=1e-12)


# ----- no norm -----


@each_backend
@few
@given(rule=forward_forwards(norm="none", dropout=0.0), p=problems(least=2, rows=just_one))
def test_without_a_norm_the_activity_itself_goes_up(k, rule, p):
    net = network(k, rule, p)
    passes = list(rule.forward(k, net, both_inputs(k, rule, net, p)[0]))
    assume(len(passes) > 1)
    for (_, h, _), (received, _, _) in zip(passes, passes[1:], strict=False):
        np.testing.assert_array_equal(k.get(received), k.get(h))


# ----- recipes -----


@pytest.mark.parametrize(("name", "read_out", "bound"), [
    ("ff-olsen", "softmax", 0.2),  # shifting by a pixel is much for digits of 8 x 8
    ("ff-symba", "goodness", 0.06),
    ("ff-collaborate", "softmax", 0.06),
])
def test_a_small_copy_of_each_recipe_learns_the_digits(name, read_out, bound):
    preset = PRESETS[name]
    small = replace(preset, rule=replace(preset.rule, label="append"), hidden=(200, 200), epochs=20, batch=50)
    assert ffnp.train(small, ffnp.load("digits")).history["read_outs"][read_out] < bound
