"""The diagnostics' own back-propagation, through all layers and normalisations, against autograd of the sum of all losses."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from networks import KERNELS, assert_close, network
from strategies import mono_forwards, problems
from torch.nn.functional import cross_entropy, logsigmoid

from ffnp.diagnostics import backprop
from ffnp.rules import PEPITA, ForwardForward, UnsupervisedForwardForward
from ffnp.rules.forward_forward import NEGATIVES

K = KERNELS["numpy"]
few, some = settings(max_examples=10), settings(max_examples=20)


def generator():
    """As the diagnostics draw."""
    return np.random.default_rng(0)


def leaves(net):
    return [(torch.tensor(W, requires_grad=True), torch.tensor(b, requires_grad=True)) for W, b in net.layers]


def flat_grads(loss, layers):
    found = torch.autograd.grad(loss, [a for layer in layers for a in layer])
    return [np.concatenate([dW.numpy().ravel(), db.numpy()]) for dW, db in zip(found[::2], found[1::2], strict=True)]


def torch_norm(rule, h):
    if rule.norm == "none":
        return h
    length = torch.linalg.vector_norm(h) if rule.norm == "batch" else torch.linalg.vector_norm(h, dim=1, keepdim=True)
    root = h.shape[1] ** 0.5 if rule.norm == "rms" else 1.0
    return h / torch.where(length > 0, length / root + getattr(rule, "tiny", 0.0), 1.0)


def assert_all_close(ours, theirs):
    for actual, expected in zip(ours, theirs, strict=True):
        assert_close(actual, expected)


@pytest.mark.parametrize("norm", ["none", "batch", "sample"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@some
@given(p=problems(least=0))
def test_backprop_of_a_softmax_net_is_autograd_of_the_cross_entropy(activation, norm, p):
    rule = PEPITA(activation=activation, norm=norm, dropout=0.5)
    net = network(K, rule, p)
    layers, h = leaves(net), torch.tensor(p.x)
    for W, b in layers[:-1]:
        h = torch_norm(rule, getattr(torch, activation)(h @ W + b))
    loss = cross_entropy(h @ layers[-1][0] + layers[-1][1], torch.tensor(p.y))
    assert_all_close(backprop(rule, net, p.x, p.y), flat_grads(loss, layers))


def summed_losses(rule, layers, inputs):
    """Half the sum of all layers' losses, each its mean over the pairs: the halves are the rule's own."""
    h, goods, loss = torch.tensor(inputs), [], 0
    for l, (W, b) in enumerate(layers):
        h = torch.relu((torch_norm(rule, h) if l or rule.norm_input else h) @ W + b)
        goods.append((h * h).sum(dim=1) if rule.goodness == "sum" else (h * h).mean(dim=1))
    B = len(inputs) // 2
    for G, (_, b) in zip(goods, layers, strict=True):
        others = (sum(goods) - G).detach() if rule.collaborate else 0
        margin = rule.alpha * (G + others - rule.theta * (len(b) if rule.theta_per_unit else 1))
        if rule.loss == "symba":
            loss = loss - logsigmoid(margin[:B] - margin[B:]).sum()  # torch's softplus is exact to 2e-9 only
        else:
            loss = loss - logsigmoid(margin[:B]).sum() - logsigmoid(-margin[B:]).sum()
    return loss / (2 * B)


CHOICES = [{}, {"goodness": "mean", "norm": "l2"}, {"norm": "none", "norm_input": False}, {"loss": "symba", "alpha": 2.0},
           {"collaborate": True}, {"label": "append", "tiny": 0.1, "theta_per_unit": False}, {"schedule": "layerwise"},
           {"peer": 0.7, "dropout": 0.5}]


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: "-".join(map(str, choice.values())) or "plain")
@few
@given(p=problems())
def test_backprop_of_forward_forward_is_autograd_of_the_sum_of_all_losses(choice, p):
    rule = ForwardForward(**choice, negatives="uniform", softmax_from=None, goodness_from=1)
    net, rng = network(K, rule, p), generator()
    wrong = NEGATIVES["uniform"](K, p.y, np.zeros((len(p.y), net.classes)), rng)
    inputs = np.vstack([rule.labelled(K, p.x, labels, net) for labels in (p.y, wrong)])
    layers = leaves(net)
    assert_all_close(backprop(rule, net, p.x, p.y), flat_grads(summed_losses(rule, layers, inputs), layers))


@few
@given(p=problems())
def test_backprop_without_labels_is_autograd_of_the_sum_of_all_losses(p):
    rule = UnsupervisedForwardForward(softmax_from=1)
    net = network(K, rule, p)
    layers, inputs = leaves(net), np.vstack([p.x, rule.hybrids(K, p.x, generator())])
    assert_all_close(backprop(rule, net, p.x, p.y), flat_grads(summed_losses(rule, layers, inputs), layers))


@some
@given(rule=mono_forwards, p=problems())
def test_backprop_of_mono_forward_is_autograd_of_the_sum_of_all_losses(rule, p):
    net = network(K, rule, p)
    layers, h, loss = leaves(net), torch.tensor(p.x), 0
    for (W, b), (M, _) in zip(layers, net.feedback, strict=True):
        h = torch.relu(h @ W + b)
        loss = loss + cross_entropy(h @ torch.tensor(M), torch.tensor(p.y))
    assert_all_close(backprop(rule, net, p.x, p.y), flat_grads(loss, layers))
