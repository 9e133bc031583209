"""Hebbian PEPITA is Forward-Forward without gates: the identity, the remainder, and the table that shows both."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from networks import assert_close, each_backend, gradients, network, signals_of
from strategies import deep_problems, pepitas, problems

from ffnp.errors import UserError
from ffnp.net import Net
from ffnp.relation import Terms, Ungated, report, terms
from ffnp.rules import PEPITA
from ffnp.rules.contrast import Contrast

few = settings(max_examples=20)
plain = pepitas(update="hebbian", activation="relu", norm="none", dropout=0.0)
UNGATED = Ungated(norm="none", norm_input=False)


def modulated(k, rule, net, x, y):
    """x + sign F e, as PEPITA's own code makes it."""
    return rule.modulated(k, net, x, k.softmax_error(rule.forward(k, net, x).logits, y)[0])


def hidden(net):
    return Net(net.layers[:-1], net.classes)


@each_backend
@given(rule=plain, p=problems())
def test_hebbian_pepita_is_forward_forward_without_gates_on_modulated_positives_and_clean_negatives(k, rule, p):
    """For every hidden layer; the rounding is that of one pass of 2 B rows against two passes of B."""
    net, x, y = network(k, rule, p, bias=None), k.put(p.x), k.put(p.y)
    theirs = gradients(k, net, signals_of(k, rule, net, p))
    ours = UNGATED.contrast(k, hidden(net), modulated(k, rule, net, x, y), x, range(len(net.layers) - 1))
    found = gradients(k, hidden(net), ours)
    assert list(found) == list(range(len(net.layers) - 1))
    for l, (dW, _) in found.items():
        assert_close(dW, theirs[l][0])


@each_backend
@few
@given(p=deep_problems)
def test_without_gates_every_row_is_sent_its_own_activity(k, p):
    rule = UNGATED
    net = hidden(network(k, PEPITA(), p, bias=None))
    signals = rule.contrast(k, net, k.put(p.x), k.put(2 * p.x), range(len(net.layers)))
    for l, (_, h, _) in enumerate(rule.forward(k, net, k.vstack(k.put(p.x), k.put(2 * p.x)))):
        signs = np.repeat([-1, 1], len(p.x))[:, None]
        np.testing.assert_array_equal(k.get(signals.layers[l][0].post), signs * k.get(h))


@each_backend
@few
@given(p=deep_problems)
def test_forward_forward_is_told_apart_by_its_gates_only(k, p):
    """The gated signals are the ungated ones times 1 - p of a positive and p of a negative row."""
    net, x = hidden(network(k, PEPITA(), p, bias=None)), (k.put(p.x), k.put(2 * p.x))
    everything = range(len(net.layers))
    gated = Contrast(norm="none", norm_input=False).contrast(k, net, *x, everything)
    free = UNGATED.contrast(k, net, *x, everything)
    for l in everything:
        h = k.get(free.layers[l][0].post)
        belief = 1 / (1 + np.exp(h.shape[1] - (h**2).sum(axis=1)))
        gate = np.where(np.arange(len(h)) < len(p.x), 1 - belief, belief)
        assert_close(k.get(gated.layers[l][0].post), gate[:, None] * h)


@each_backend
@few
@given(rule=plain, p=problems())
def test_the_remainder_is_what_pepita_proper_adds(k, rule, p):
    net = network(k, rule, p, bias=None)
    proper, hebbian = (gradients(k, net, signals_of(k, replace(rule, update=update, pre="second"), net, p))
                       for update in ("modulated", "hebbian"))
    for l, found in enumerate(terms(k, net, k.put(p.x), k.put(p.y), rule)):
        left, size = np.linalg.norm(proper[l][0] - hebbian[l][0]), np.linalg.norm(hebbian[l][0])
        assert_close(found.remainder, left, 1e-12 * max(1, found.clean))
        assert_close(found.relative * size, found.remainder)


@each_backend
@few
@given(rule=plain, p=problems())
def test_the_terms_are_the_lengths_of_the_phases(k, rule, p):
    net, B = network(k, rule, p, bias=None), len(p.y)
    clean, x = p.x, k.get(modulated(k, rule, net, k.put(p.x), k.put(p.y)))
    for layer, found in zip(net.layers[:-1], terms(k, net, k.put(p.x), k.put(p.y), rule), strict=True):
        h, g = (np.maximum(a @ k.get(layer.W), 0) for a in (clean, x))
        p_h, p_g = (1 / (1 + np.exp(a.shape[1] - (a**2).sum(axis=1, keepdims=True))) for a in (h, g))
        down, up = clean.T @ (p_h * h) / B, x.T @ ((1 - p_g) * g) / B
        expected = [clean.T @ h / B, x.T @ g / B, down, up]
        assert_close(found[:4], [np.linalg.norm(a) for a in expected])
        assert_close(found[4:6], [p_h.mean(), 1 - p_g.mean()])
        sizes = np.linalg.norm(expected[0] - expected[1]) * np.linalg.norm(down - up)
        assert abs(found.cosine * sizes - np.vdot(expected[0] - expected[1], down - up)) <= 1e-12 * max(1, found.clean) ** 2
        clean, x = h, g


def test_the_table_has_a_line_a_layer_and_a_column_a_term():
    head, *lines = report([Terms(*range(9)), Terms(*np.linspace(0.1, 0.9, 9))]).splitlines()
    assert head.split() == ["layer", *Terms._fields]
    assert lines[0].split() == ["1", *map(str, range(9))]
    assert lines[1].split() == ["2", *(f"0.{n}" for n in range(1, 10))]


@pytest.mark.parametrize(("settings", "named"), [({"activation": "tanh"}, "not of tanh and norm none"),
                                                  ({"norm": "batch"}, "not of relu and norm batch")])
def test_rules_outside_the_relation_are_refused(settings, named):
    with pytest.raises(UserError, match=named):
        terms(None, None, None, None, PEPITA(**settings))
