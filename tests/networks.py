"""Small networks, their gradients, and Forward-Forward's forward pass in plain NumPy, for the tests of the rules."""

import numpy as np
import pytest
from host import HOST

from ffnp.backend import load_backend
from ffnp.net import Dense
from ffnp.rules.rule import Moment
from ffnp.run import each_array

KERNELS = {name: load_backend(name) for name in HOST}
each_backend = pytest.mark.parametrize("k", KERNELS.values(), ids=KERNELS.keys())


def network(k, rule, problem, dtype="float64", bias="fan_in_uniform"):
    """A network of the rule where `k` computes, its head and running means drawn too, as if it had been trained a while."""
    net, rng = rule.init(problem.rng, problem.sizes, "fan_in_normal", bias, dtype), problem.rng
    if net.head:
        net = net._replace(head=Dense(rng.standard_normal(net.head.W.shape).astype(dtype), None))
    net = net._replace(means=tuple(rng.random(m.shape).astype(dtype) for m in net.means))
    return put(k, net)


def put(k, tree):
    """The network, or any nesting of tuples, with its arrays where `k` computes."""
    return each_array(tree, lambda name, a: k.put(a))


def contrasted(k, rule, net, p, trained=None, dtype="float64"):
    """The signals for the problem's right and wrong labels, to all layers unless only some are `trained`."""
    everything = range(len(net.layers))
    inputs = (rule.labelled(k, k.put(p.x.astype(dtype)), k.put(labels), net) for labels in (p.y, p.wrong))
    return rule.contrast(k, net, *inputs, trained or everything)


def gradients(k, net, signals):
    """layer -> (dW, db or None) of the signals, on the host."""
    steps = {l: k.gradient(net.layers[l], pairs, signals.rows) for l, pairs in signals.layers.items()}
    return {l: tuple(None if a is None else k.get(a) for a in step) for l, step in steps.items()}


def answers(k, rule, net, p, seed=0, moment=Moment()):
    """All signals that the rule answers the problem's batch with, while the weights stay as they are."""
    x = k.put(p.x.astype(net.layers[0].W.dtype))
    return list(rule.signals(k, net, x, k.put(p.y), np.random.default_rng(seed), moment))


def signals_of(k, rule, net, p, seed=0):
    """The rule's one answer to the problem's batch."""
    answer, = answers(k, rule, net, p, seed)
    return answer


def assert_close(actual, expected, relative=1e-12):
    """Equal to so much of the largest number expected, or of 1, the size of the numbers that made it; None only to None."""
    if expected is None:
        assert actual is None
    else:
        np.testing.assert_allclose(actual, expected, rtol=0, atol=relative * np.abs(expected).max(initial=1))


def activities(rule, net, x, Y):
    """h_1 .. h_L of a Forward-Forward network (on the host) for images x with label slots Y, as the formulas read."""
    h = np.hstack([Y, x[:, net.classes :]] if rule.label == "overlay" else [x, Y])
    for l, (W, b) in enumerate(net.layers):
        if l > 0 or rule.norm_input:
            h = normalised(rule, h)
        h = np.maximum(h @ W + b, 0)
        yield h


def normalised(rule, h):
    if rule.norm == "none":
        return h
    length = np.linalg.norm(h, axis=1, keepdims=True)
    return h / (length / (h.shape[1] ** 0.5 if rule.norm == "rms" else 1) + rule.tiny)


def goodness(rule, h):
    return (h**2).sum(axis=1) if rule.goodness == "sum" else (h**2).mean(axis=1)
