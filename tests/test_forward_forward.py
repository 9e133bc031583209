"""What holds for Forward-Forward whatever the settings: its labels, its locality, its symmetries and its read-outs."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from networks import (
    KERNELS,
    activities,
    assert_close,
    contrasted,
    each_backend,
    goodness,
    gradients,
    network,
    put,
    signals_of,
)
from strategies import forward_forwards, just_one, problems, scales, seeds, wide_logits

from ffnp.kernels.contract import Pair
from ffnp.net import Dense
from ffnp.presets import PRESETS
from ffnp.rules import ForwardForward
from ffnp.rules.forward_forward import NEGATIVES
from ffnp.rules.rule import Moment

deep = problems(least=2)
few = settings(max_examples=10)


def labels_seen(k, rule, net, signals):
    """The label of each row of both passes, read from what the first layer received."""
    seen = k.get(signals.layers[0][0].pre)
    slots = seen[:, : net.classes] if rule.label == "overlay" else seen[:, -net.classes :]
    return slots.argmax(axis=1)


# ----- labels -----


@each_backend
@pytest.mark.parametrize("kind", ["hard", "uniform"])
@given(batch=wide_logits(), seed=seeds)
def test_wrong_labels_are_never_right_whatever_the_head_believes(k, kind, batch, seed):
    z, y = batch
    wrong = k.get(NEGATIVES[kind](k, k.put(y), k.put(z), np.random.default_rng(seed)))
    assert ((wrong != y) & (wrong >= 0) & (wrong < z.shape[1])).all()


@each_backend
@given(rule=forward_forwards(norm_input=False), p=deep)
def test_positive_rows_show_the_right_label_and_negative_rows_a_wrong_one(k, rule, p):
    net = network(k, rule, p)
    seen = labels_seen(k, rule, net, signals_of(k, rule, net, p))
    np.testing.assert_array_equal(seen[: len(p.y)], p.y)
    assert (seen[len(p.y) :] != p.y).all()


@each_backend
@few
@given(p=problems(least=2))
def test_hard_labels_come_as_often_as_the_head_believes_in_them(k, p):
    """The share of each wrong label in 4,000 draws is its softmax without the right one, within Bernstein's bound.

    A share strays by more than sqrt(32 P (1 - P) / n) + 11 / n with a chance below 3e-7.
    """
    rule, n = ForwardForward(label="append", norm_input=False), 4000
    net = network(k, rule, p)
    many = p._replace(x=np.tile(p.x[:1], (n, 1)), y=np.repeat(p.y[:1], n))
    drawn = labels_seen(k, rule, net, signals_of(k, rule, net, many))[n:]
    P = np.exp(rule.by_softmax(k, net, k.put(p.x[:1]))[0])
    P[p.y[0]] = 0
    P /= P.sum()
    share = np.bincount(drawn, minlength=net.classes) / n
    assert (np.abs(share - P) <= np.sqrt(32 * P * (1 - P) / n) + 11 / n).all()


@each_backend
@pytest.mark.parametrize("kind", ["permuted", "permuted once"])
@given(p=problems(least=2))
def test_permuted_labels_report_their_share_of_right_ones(k, kind, p):
    rule = ForwardForward(negatives=kind, norm_input=False)
    net = network(k, rule, p)
    signals = signals_of(k, rule, net, p)
    wrong = labels_seen(k, rule, net, signals)[len(p.y) :]
    np.testing.assert_array_equal(np.sort(wrong), np.sort(p.y))
    assert signals.metrics["false_negatives"] == np.mean(wrong == p.y)


@each_backend
def test_labels_permuted_once_stay_so_and_permuted_ones_change(k):
    def twice(kind):
        return [k.get(NEGATIVES[kind](k, k.put(np.arange(50)), None, np.random.default_rng(seed))) for seed in (1, 2)]

    assert np.array_equal(*twice("permuted once")) and not np.array_equal(*twice("permuted"))


@each_backend
@given(rule=forward_forwards(label="overlay"), p=deep)
def test_overlaid_labels_hide_the_first_inputs(k, rule, p):
    net, other = network(k, rule, p), p.x.copy()
    other[:, : net.classes] += 7
    for read_out in rule.read_outs().values():
        np.testing.assert_array_equal(read_out(k, net, k.put(p.x)), read_out(k, net, k.put(other)))


@pytest.mark.parametrize(("label", "received"), [("overlay", 9), ("append", 13)])
def test_an_appended_label_widens_the_first_layer(label, received):
    net = ForwardForward(label=label).init(np.random.default_rng(0), (9, 5, 6, 4), "he_normal", "zeros", "float32")
    assert [layer.W.shape for layer in net.layers] == [(received, 5), (5, 6)]
    assert net.head.W.shape == (6, 4) and net.head.b is None and not net.head.W.any()


# ----- each layer on its own -----


@each_backend
@given(rule=forward_forwards(), p=deep)
def test_a_layer_is_sent_the_same_whoever_else_learns(k, rule, p):
    """So layer 1 trained first, on its own, moves as it does in joint training."""
    net = network(k, rule, p)
    joint = contrasted(k, rule, net, p).layers
    for l in joint:
        alone = contrasted(k, rule, net, p, [l]).layers
        assert list(alone) == [l]
        for ours, same in zip(alone[l], joint[l], strict=True):
            np.testing.assert_array_equal(k.get(ours.pre), k.get(same.pre))
            np.testing.assert_array_equal(k.get(ours.post), k.get(same.post))


@each_backend
@given(rule=forward_forwards(negatives="uniform", schedule="layerwise"), p=deep)
def test_layerwise_stages_train_one_layer_each_and_the_head_last(k, rule, p):
    net = network(k, rule, p)
    learns = []
    for stage in range(rule.stages(net)):
        signals, = rule.signals(k, net, k.put(p.x), k.put(p.y), p.rng, Moment(stage))
        learns.append([*signals.layers, *(["head"] if signals.head else [])])
    assert learns == [*([l] for l in range(len(net.layers))), ["head"]]


@each_backend
@given(rule=forward_forwards(schedule="joint"), p=deep)
def test_joint_training_is_one_stage_of_all_layers_and_the_head(k, rule, p):
    net = network(k, rule, p)
    signals = signals_of(k, rule, net, p)
    assert rule.stages(net) == 1 and list(signals.layers) == list(range(len(net.layers))) and signals.head


@each_backend
@given(rule=forward_forwards(peer=0.03), p=deep)
def test_peer_signals_sum_to_zero_over_the_units(k, rule, p):
    for _, (_, peer) in contrasted(k, rule, network(k, rule, p), p).layers.values():
        post = k.get(peer)
        assert len(post) == 1 and abs(post.sum()) <= 1e-14  # means are of order 1, widths at most 6


# ----- what a step does -----


def stepped(net, l, gradient, size):
    """The network after a step of this size down the gradient of layer l."""
    layer = Dense(*(a - size * d for a, d in zip(net.layers[l], gradient, strict=True)))
    return net._replace(layers=net.layers[:l] + (layer,) + net.layers[l + 1 :])


def falls(f, net, l, gradient):
    """Whether f(net) falls when layer l makes a small enough step. True where the gradient is nothing."""
    if sum((d**2).sum() for d in gradient) < 1e-10:
        return True
    return any(f(stepped(net, l, gradient, 0.5**n)) < f(net) for n in range(20))


@each_backend
@given(rule=forward_forwards(peer=0.0, collaborate=False), p=deep)
def test_a_small_enough_step_lowers_the_layers_loss(k, rule, p):
    net = network(KERNELS["numpy"], rule, p)
    for l, gradient in gradients(k, put(k, net), contrasted(k, rule, put(k, net), p)).items():
        assert falls(lambda net, l=l: contrasted(k, rule, put(k, net), p).metrics["loss"][l], net, l, gradient)


@each_backend
@pytest.mark.parametrize("sign", [1, -1], ids=["negative", "positive"])
@given(rule=forward_forwards(peer=0.0), p=problems(least=2, rows=just_one))
def test_a_small_enough_step_lowers_a_negative_and_raises_a_positive_examples_goodness(k, sign, rule, p):
    net = network(KERNELS["numpy"], rule, p)
    labels, row = (p.wrong, 1) if sign == 1 else (p.y, 0)
    Y = rule.strength * np.eye(net.classes)[labels]
    for l, ((pre, post),) in contrasted(k, rule, put(k, net), p).layers.items():
        example = [Pair(pre[row : row + 1], post[row : row + 1])]
        gradient = [k.get(a) for a in k.gradient(put(k, net).layers[l], example, 1)]
        assert falls(lambda net, l=l: sign * goodness(rule, list(activities(rule, net, p.x, Y))[l]), net, l, gradient)


# ----- symmetries -----


def shuffled_units(net, order, first):
    """The network with each hidden layer's units in another order; `first`: the first layer that feeds the head."""
    layers, before = [], slice(None)
    for (W, b), after in zip(net.layers, order, strict=True):
        layers.append(Dense(np.ascontiguousarray(W[before][:, after]), b[after]))
        before = after
    starts = np.cumsum([0, *map(len, order[first - 1 :])])
    rows = np.concatenate([start + after for start, after in zip(starts, order[first - 1 :], strict=False)])
    means = tuple(m[after] for m, after in zip(net.means, order, strict=False))
    return net._replace(layers=tuple(layers), head=Dense(net.head.W[rows], None), means=means)


@each_backend
@given(rule=forward_forwards(), p=deep)
def test_the_order_of_the_hidden_units_is_of_no_consequence(k, rule, p):
    """Signals come in the new order, and what is read out stays."""
    net = network(KERNELS["numpy"], rule, p)
    order = [p.rng.permutation(units) for units in p.sizes[1:-1]]
    other = shuffled_units(net, order, rule.softmax_from)
    plain, shuffled = (contrasted(k, rule, put(k, a), p).layers for a in (net, other))
    for l, after in enumerate(order):
        for before, now in zip(plain[l], shuffled[l], strict=True):
            assert_close(k.get(now.post), k.get(before.post)[:, after])
    for read_out in rule.read_outs().values():
        assert_close(read_out(k, put(k, other), k.put(p.x)), read_out(k, put(k, net), k.put(p.x)))


@each_backend
@given(rule=forward_forwards(norm_input=True, tiny=math.exp(-100)), p=deep, scale=scales)
def test_the_length_of_an_input_is_of_no_consequence_when_it_is_normalised(k, rule, p, scale):
    assume(rule.norm != "none")
    net = put(k, network(k, rule, p))
    image = rule.labelled(k, k.put(p.x), k.put(p.y), net)
    plain, scaled = rule.forward(k, net, image), rule.forward(k, net, k.scale(image, scale))
    for (received, h, _), (same, g, _) in zip(plain, scaled, strict=True):
        assert_close(k.get(same), k.get(received))
        assert_close(k.get(g), k.get(h))


def test_published_rows_are_normalised_to_the_published_length():
    """Hinton: mean square 1. mpezeshki: length 1 up to his 1e-4."""
    h = np.random.default_rng(0).random((5, 8))
    hinton, mpezeshki = (PRESETS[name].rule.normalise(KERNELS["numpy"], h) for name in ("ff-hinton2022", "ff-mpezeshki"))
    np.testing.assert_allclose((hinton**2).mean(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(np.linalg.norm(mpezeshki, axis=1), 1, rtol=1e-3)
