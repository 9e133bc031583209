"""The rules against torch: autograd where a paper states an objective, its published program where it states only steps.

The twins are written from the papers' formulas, in float64. Of float64 a relative error of 1e-12 is asked; the bounds for
float32 follow from its eps, the K terms of each sum, and the rounding of a product, 2 eps sqrt(K) |x_i| |w_j|.
"""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from networks import assert_close, contrasted, each_backend, gradients, network, signals_of
from strategies import problems, seeds
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from ffnp.rules import Backprop, ForwardForward
from ffnp.run import each_array

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}
EPS32 = float(np.finfo(np.float32).eps)
each_bias = pytest.mark.parametrize("bias", ["fan_in_uniform", None])
few = settings(max_examples=5)


def leaf(a):
    return None if a is None else torch.tensor(np.asarray(a, np.float64), requires_grad=True)


def plus(z, b):
    return z if b is None else z + b


def grads(loss, *leaves):
    """The gradient in each leaf; None for a leaf that is None."""
    found = iter(torch.autograd.grad(loss, [a for a in leaves if a is not None]))
    return tuple(None if a is None else next(found).numpy() for a in leaves)


# ----- backprop -----


def torch_backprop(net, x, y, activation, masks):
    """(dW, db) of each layer, and the hidden pre-activations."""
    layers, zs, h = [(leaf(W), leaf(b)) for W, b in net.layers], [], torch.tensor(x, dtype=torch.float64)
    for (W, b), mask in zip(layers, masks, strict=False):
        zs.append(plus(h @ W, b))
        h = ACTIVATIONS[activation](zs[-1]) * torch.tensor(mask, dtype=torch.float64)
    W, b = layers[-1]
    found = grads(cross_entropy(plus(h @ W, b), torch.tensor(y)), *itertools.chain(*layers))
    return list(zip(found[::2], found[1::2], strict=True)), [z.detach().numpy() for z in zs]


def dropout_masks(k, rate, p, seed):
    """What each hidden unit is multiplied by; the keys come from the generator the rule is given."""
    keys = np.random.default_rng(seed).integers(2**32, size=len(p.sizes) - 2)
    return [k.get(k.dropout(k.put(np.ones((len(p.x), units))), rate, int(key)))
            for units, key in zip(p.sizes[1:], keys, strict=False)]


def backprop_both(k, p, dtype, activation, rate, bias, seed):
    """Our gradients and torch's of one batch, the network, and torch's hidden pre-activations."""
    rule, x = Backprop(activation, rate), p.x.astype(dtype)
    net = network(k, rule, p, dtype, bias)
    ours = gradients(k, net, signals_of(k, rule, net, p, seed))
    return ours, *torch_backprop(net, x, p.y, activation, dropout_masks(k, rate, p, seed)), net


@each_backend
@each_bias
@pytest.mark.parametrize("rate", [0.0, 0.5])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@settings(max_examples=15)
@given(p=problems(least=0), seed=seeds)
def test_backprop_is_autograd_of_the_cross_entropy(k, activation, rate, bias, p, seed):
    ours, theirs, _, _ = backprop_both(k, p, "float64", activation, rate, bias, seed)
    for l, (dW, db) in enumerate(theirs):
        assert_close(ours[l][0], dW)
        assert_close(ours[l][1], db)


def product_rounding(a, b):
    return 2 * EPS32 * np.sqrt(a.shape[1]) * np.linalg.norm(a, axis=1, keepdims=True) * np.linalg.norm(b, axis=0)


def roundings_up(net, x, activation, masks):
    """Of each layer: what it receives, its pre-activation, and how far off each may be in float32; its mask."""
    h, dh = x, np.zeros_like(x)
    for (W, b), mask in zip(net.layers, [*masks, 1.0], strict=True):
        z, dz = h @ W + b, dh @ np.abs(W) + product_rounding(h, W) + EPS32 * np.abs(b)
        yield h, dh, z, dz, mask
        active = np.tanh(z) if activation == "tanh" else np.maximum(z, 0)
        h, dh = mask * active, mask * (dz + 4 * EPS32 * np.abs(active))  # neither is anywhere steeper than 1


def backprop_rounding(net, x, y, activation, masks):
    """A bound on the rounding of each dW in float32, the last layer's first: every number's own, carried along both ways."""
    up = list(roundings_up(net, x, activation, masks))
    _, _, z, dz, _ = up[-1]
    P = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    delta = P - np.eye(net.classes)[y]
    off = P * (dz + (P * dz).sum(axis=1, keepdims=True) + 4 * EPS32 * (1 + np.abs(z).max()))
    for l in reversed(range(len(up))):
        h, dh, _, _, _ = up[l]
        yield (np.abs(h).T @ off + dh.T @ np.abs(delta) + product_rounding(h.T, delta)) / len(x)
        if l:
            (_, _, z, dz, mask), W = up[l - 1], net.layers[l].W
            slope, bend = (1 - np.tanh(z) ** 2, 2 * dz) if activation == "tanh" else (1.0 * (z > 0), 0 * dz)
            back, dback = delta @ W.T, off @ np.abs(W).T + product_rounding(delta, W.T)
            off = mask * (slope * dback + (4 * EPS32 * slope + bend) * np.abs(back))
            delta = mask * back * slope


@each_backend
@pytest.mark.parametrize("rate", [0.0, 0.5])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@given(p=problems(least=0), seed=seeds)
def test_backprop_in_float32_is_autograd_to_rounding(k, activation, rate, p, seed):
    ours, theirs, zs, net = backprop_both(k, p, "float32", activation, rate, "fan_in_uniform", seed)
    assume(all((np.abs(z) > 1e-4).all() for z in zs))  # no unit so near ReLU's kink that rounding moves it across
    bounds = backprop_rounding(each_array(net, lambda name, a: k.get(a).astype(float)), p.x, p.y, activation,
                               dropout_masks(k, rate, p, seed))
    for l, bound in zip(reversed(range(len(net.layers))), bounds, strict=True):
        assert ours[l][0].dtype == np.float32
        assert (np.abs(ours[l][0] - theirs[l][0]) <= bound).all()


# ----- Forward-Forward -----


def labelled(rule, x, y, classes):
    Y = rule.strength * np.eye(classes)[y]
    return np.hstack([Y, x[:, classes:]] if rule.label == "overlay" else [x, Y])


def torch_normalise(h, rule):
    length = (h * h).sum(dim=1, keepdim=True).sqrt()
    return h / ((length / h.shape[1] ** 0.5 if rule.norm == "rms" else length) + rule.tiny)


def torch_layer(rule, received, layer, positive):
    """One layer on its own: its activity, and (dW, db) of -log p(right or wrong) averaged over all 2 B rows."""
    W, b = map(leaf, layer)
    h = torch.relu(plus(received @ W, b))
    goodness = (h * h).sum(dim=1) if rule.goodness == "sum" else (h * h).mean(dim=1)
    theta = rule.theta * h.shape[1] if rule.theta_per_unit else rule.theta
    return h.detach(), grads(binary_cross_entropy_with_logits(goodness - theta, positive), W, b)


def torch_contrast(rule, net, p):
    """What each layer receives, answers and gets as its gradient; nothing flows between layers but `detach`ed activity."""
    h = torch.tensor(np.vstack([labelled(rule, p.x, labels, net.classes) for labels in (p.y, p.wrong)]))
    positive = torch.tensor([1.0] * len(p.y) + [0.0] * len(p.y), dtype=torch.float64)
    for l, layer in enumerate(net.layers):
        received = torch_normalise(h, rule) if l > 0 or rule.norm_input else h
        h, found = torch_layer(rule, received, layer, positive)
        yield received.numpy(), h.numpy(), found


CHOICES = {"goodness": ["sum", "mean"], "theta_per_unit": [True, False], "norm": ["rms", "l2"],
           "norm_input": [True, False], "label": ["overlay", "append"]}
every_choice = pytest.mark.parametrize(
    "choice", [dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())],
    ids=lambda choice: "-".join(map(str, choice.values())))


@each_backend
@every_choice
@few
@given(p=problems())
def test_forward_forward_is_autograd_of_each_layers_own_loss(k, choice, p):
    rule = ForwardForward(**choice, theta=1.5, strength=2.0, negatives="uniform", softmax_from=None, goodness_from=1)
    for bias in ("fan_in_uniform", None):
        net = network(k, rule, p, bias=bias)
        ours = gradients(k, net, contrasted(k, rule, net, p))
        for l, (_, _, (dW, db)) in enumerate(torch_contrast(rule, net, p)):
            assert_close(ours[l][0], dW)
            assert_close(ours[l][1], db)


def layer_rounding(rule, pre, layer, h):
    """A bound on the rounding of a layer's dW in float32, for what it received: dz of each z, dG, dp and the sum over rows."""
    (W, b), D, B = layer, h.shape[1], len(h) / 2
    share = 1 if rule.goodness == "sum" else 1 / D
    theta = rule.theta * D if rule.theta_per_unit else rule.theta
    rows = np.linalg.norm(pre, axis=1, keepdims=True)
    dz = 2 * EPS32 * (np.sqrt(len(W)) * rows * np.linalg.norm(W, axis=0) + np.abs(b))
    dG = share * (2 * h * dz).sum(axis=1) + 4 * EPS32 * (np.sqrt(D) * share * (h * h).sum(axis=1) + theta)
    dp = dG / 4 + 4 * EPS32  # a sigmoid is nowhere steeper than 1/4
    dpost = share * (dz + dp[:, None] * h + 4 * EPS32 * h)
    sums = 2 * EPS32 * np.sqrt(2 * B) * np.outer(np.linalg.norm(pre, axis=0), np.linalg.norm(share * h, axis=0))
    return (np.abs(pre).T @ dpost + sums) / B


@each_backend
@every_choice
@few
@given(p=problems())
def test_forward_forward_in_float32_is_autograd_to_rounding(k, choice, p):
    rule = ForwardForward(**choice, negatives="uniform", softmax_from=None, goodness_from=1)
    net = network(k, rule, p, "float32")
    signals = contrasted(k, rule, net, p, dtype="float32")
    positive = torch.tensor([1.0] * len(p.y) + [0.0] * len(p.y), dtype=torch.float64)
    for l, (dW, _) in gradients(k, net, signals).items():
        pre = k.get(signals.layers[l][0].pre).astype(np.float64)
        h, (expected, _) = torch_layer(rule, torch.tensor(pre), net.layers[l], positive)
        assert dW.dtype == np.float32
        assert (np.abs(dW - expected) <= layer_rounding(rule, pre, net.layers[l], h.numpy())).all()


@each_backend
@given(p=problems())
def test_peer_normalisation_adds_its_formula(k, p):
    """To every positive row: strength (m - mean of m), m = 0.9 m0 + 0.1 mean activity of the positive rows."""
    rule = ForwardForward(peer=0.7, negatives="uniform", softmax_from=None, goodness_from=1)
    net, B = network(k, rule, p), len(p.y)
    signals = contrasted(k, rule, net, p)
    ours = gradients(k, net, signals)
    for l, (received, h, (dW, db)) in enumerate(torch_contrast(rule, net, p)):
        m = 0.9 * k.get(net.means[l]) + 0.1 * h[:B].mean(axis=0)
        sent = 0.7 * (m - m.mean())
        assert_close(k.get(signals.replaced["means"][l]), m)
        assert_close(ours[l][0], dW + np.outer(received[:B].mean(axis=0), sent))
        assert_close(ours[l][1], db + sent)


@each_backend
@given(p=problems())
def test_the_head_is_softmax_regression_on_detached_features(k, p):
    rule = ForwardForward(goodness_from=1, softmax_from=1, neutral=0.1)
    net = network(k, rule, p)
    signals = signals_of(k, rule, net, p)
    h = torch.tensor(np.hstack([np.full((len(p.y), net.classes), 0.1), p.x[:, net.classes :]]))
    features = []
    for W, b in net.layers:
        h = torch.relu(torch_normalise(h, rule) @ torch.tensor(W) + torch.tensor(b))
        features.append(torch_normalise(h, rule))
    W = leaf(net.head.W)
    loss = cross_entropy(torch.hstack(features) @ W, torch.tensor(p.y))
    assert_close(k.get(k.gradient(net.head, signals.head, signals.rows)[0]), *grads(loss, W))
    assert signals.metrics["head_loss"] == pytest.approx(loss.item(), rel=1e-12)
