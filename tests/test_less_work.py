"""Doing less than the formulas say, with their results: sure rows are left out, and what passes share is computed once."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from networks import assert_close, contrasted, each_backend, gradients, network, signals_of
from strategies import deep_problems, forward_forwards, pepitas, seeds

from ffnp.net import Dense
from ffnp.rules import PEPITA, ForwardForward


def far_from_rounding(lengths):
    """Whether each row is zero or so long that to normalise it makes no rounding more than ten times as large."""
    return (lengths == 0).all() or lengths[lengths > 0].min() > 0.1


# ----- rows that a layer is sure of -----


def louder(net, times):
    """The network with this many times the weights: goodness far on either side of its threshold."""
    return net._replace(layers=tuple(Dense((times * W).astype(W.dtype), b) for W, b in net.layers))


@each_backend
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(rule=forward_forwards(), p=deep_problems, times=st.sampled_from([1, 3, 10]))
def test_a_row_left_out_would_have_changed_an_update_by_rounding_only(k, dtype, rule, p, times):
    """|p - t| is below eps / 2 there, so that each such row adds at most eps / 2 share |pre| |h|. All the rest is the same, but
    for the order of additions: twice n eps of the terms."""
    net, B, eps = louder(network(k, rule, p, dtype), times), len(p.y), np.finfo(dtype).eps
    spared, whole = (contrasted(k, replace(rule, sparing=sparing), net, p, dtype=dtype) for sparing in (True, False))
    ours, theirs = (gradients(k, net, signals) for signals in (spared, whole))
    inputs = k.vstack(*(rule.labelled(k, k.put(p.x.astype(dtype)), k.put(y), net) for y in (p.y, p.wrong)))
    for l, (pre, h, _) in enumerate(rule.forward(k, net, inputs)):
        out = ~k.get(spared.layers[l][0].post).any(axis=1)
        left = out[:, None] * rule.alpha * rule.share(h) * eps / 2 * np.abs(k.get(h))
        sent = sum(np.abs(k.get(post)) for _, post in whole.layers[l])  # with that of its peers
        terms = left + 2 * (2 * B + 4) * eps * sent
        bounds = np.abs(k.get(pre)).T @ terms / B, terms.sum(axis=0) / B
        for spare, full, bound in zip(ours[l], theirs[l], bounds, strict=True):
            assert (np.abs(spare - full) <= bound).all()
    assert spared.metrics["loss"] == whole.metrics["loss"]


@each_backend
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_rows_left_out_are_those_whose_weight_rounds_a_number_near_one_to_itself(k, dtype):
    """Layers that pass on what they receive: a positive row of margin G - theta is weighed by exp(-G + theta)."""
    rule = ForwardForward(theta=0.0, norm="none", norm_input=False, softmax_from=None, goodness_from=1, negatives="uniform")
    edge = -np.log(np.finfo(dtype).eps / 2)
    goodness = np.array([[0.9 * edge], [1.1 * edge]])
    net = rule.init(np.random.default_rng(0), (2, 2, 2), "he_normal", "zeros", dtype)
    net = net._replace(layers=(Dense(k.put(np.eye(2, dtype=dtype)), None),))
    x = k.put(np.hstack([np.sqrt(goodness), 0 * goodness]).astype(dtype))
    for sparing, heard in ((True, [True, False]), (False, [True, True])):
        signals = replace(rule, sparing=sparing).contrast(k, net, x, x, [0])
        np.testing.assert_array_equal(k.get(signals.layers[0][0].post)[:2].any(axis=1), heard)


# ----- the first layer of Forward-Forward, whatever the label -----


@each_backend
@given(rule=forward_forwards(), p=deep_problems)
def test_the_first_layer_answers_a_shared_product_as_it_answers_the_labelled_images(k, rule, p):
    net, x = network(k, rule, p), k.put(p.x)
    shared = rule.shared(k, net, x)
    for labels in (k.put(p.y), k.put(p.wrong), None):
        image = rule.unlabelled(k, net, x) if labels is None else rule.labelled(k, x, labels, net)
        _, *answer = next(rule.forward(k, net, image))
        for ours, expected in zip(rule.told(k, net, shared, labels), answer, strict=True):
            assert_close(k.get(ours), k.get(expected))


@each_backend
@given(rule=forward_forwards(), p=deep_problems)
def test_the_goodness_of_every_label_is_found_as_if_each_were_told_alone(k, rule, p):
    net, x = network(k, rule, p), k.put(p.x)
    found = rule.goodness_table(k, net, x)
    assert found.shape == (len(p.x), net.classes, len(net.layers))
    for c in range(net.classes):
        told = rule.labelled(k, x, k.put(np.full(len(p.x), c)), net)
        for l, (_, h, squares) in enumerate(rule.forward(k, net, told)):
            assume(far_from_rounding(np.sqrt(k.get(squares))))
            assert_close(found[:, c, l], rule.share(h) * k.get(squares))


# ----- the second pass of PEPITA -----


@dataclass(frozen=True)
class Twice(PEPITA):
    """The first layer multiplies in each pass."""

    def product(self, k, net, x):
        return None


def lengths(k, rule, net, p, seed):
    """Of every row of activity (B,) that is to be normalised, for each hidden layer and pass."""
    x, keys = k.put(p.x), rule.keys(net, np.random.default_rng(seed))
    first = rule.forward(k, net, x, keys)
    e, _ = k.softmax_error(first.logits, k.put(p.y))
    for up in first, rule.second(k, net, x, e, keys):
        for h, key in zip(up.active, keys, strict=True):
            yield np.linalg.norm(k.get(rule.masked(k, h, key)), axis=1)


@each_backend
@given(rule=pepitas(), p=deep_problems, seed=seeds)
def test_a_second_pass_through_a_narrow_product_sends_what_one_through_all_inputs_sends(k, rule, p, seed):
    net = network(k, rule, p)
    narrow, full = (signals_of(k, choice, net, p, seed) for choice in (rule, Twice(**vars(rule))))
    if rule.norm != "none":
        assume(all(map(far_from_rounding, lengths(k, rule, net, p, seed))))
    ours, theirs = (gradients(k, net, signals) for signals in (narrow, full))
    for l, expected in theirs.items():
        for a, b in zip(ours[l], expected, strict=True):
            assert_close(a, b)
    assert narrow.metrics["loss"] == pytest.approx(full.metrics["loss"], rel=1e-12)
