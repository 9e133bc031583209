"""Optimisers against torch and against their formulas over several steps, and who is moved by which."""

import numpy as np
import pytest
import torch
from hypothesis import given
from networks import assert_close, each_backend, put
from strategies import seeds

from ffnp.errors import UserError
from ffnp.kernels.contract import Pair
from ffnp.net import Dense, Net
from ffnp.optim import VELOCITIES, Optimiser, Optimisers, Signals

FACTORS = (1.0, 1.0, 0.5, 2.0, 0.1)  # of a schedule, one a step
ROWS = 3
KINDS = [*VELOCITIES, "adam"]


def start(rng, bias=True):
    """One layer (4, 5) and its gradient for every step, with the pairs that make it."""
    layer = Dense(rng.standard_normal((4, 5)), rng.standard_normal(5) if bias else None)
    pairs = [Pair(rng.standard_normal((ROWS, 4)), rng.standard_normal((ROWS, 5))) for _ in FACTORS]
    return layer, pairs, [(pre.T @ post / ROWS, post.sum(axis=0) / ROWS) for pre, post in pairs]


def steps(k, optimiser, layer, pairs):
    """The layer after a step for each pair, through `Optimisers.apply`."""
    net, optimisers = put(k, Net((layer,), 5)), Optimisers(optimiser)
    state = optimisers.init(k, net)
    for pair, factor in zip(pairs, FACTORS, strict=False):
        net, _ = optimisers.apply(k, net, Signals(ROWS, {0: [put(k, pair)]}), state, factor)
    return [None if a is None else k.get(a) for a in net.layers[0]]


def torch_steps(make, layer, gradients, rate):
    """The same with a torch optimiser, its learning rate set anew each step."""
    leaves = [torch.tensor(a, requires_grad=True) for a in layer]
    optimiser = make(leaves, lr=rate)
    for gradient, factor in zip(gradients, FACTORS, strict=True):
        optimiser.param_groups[0]["lr"] = rate * factor
        for leaf, g in zip(leaves, gradient, strict=True):
            leaf.grad = torch.tensor(g)
        optimiser.step()
    return [leaf.detach().numpy() for leaf in leaves]


# ----- against torch -----

TORCH = {
    "sgd": (Optimiser("sgd", 0.1), lambda p, lr: torch.optim.SGD(p, lr)),
    "sgd, l2": (Optimiser("sgd", 0.1, decay=0.3, decay_kind="l2", decay_biases=True),
                lambda p, lr: torch.optim.SGD(p, lr, weight_decay=0.3)),
    "momentum": (Optimiser("momentum", 0.1, momentum=0.8), lambda p, lr: torch.optim.SGD(p, lr, momentum=0.8)),
    "momentum, l2": (Optimiser("momentum", 0.1, momentum=0.8, decay=0.3, decay_kind="l2", decay_biases=True),
                     lambda p, lr: torch.optim.SGD(p, lr, momentum=0.8, weight_decay=0.3)),
    "ema is momentum at (1 - m) of the rate": (
        Optimiser("ema", 0.1, momentum=0.8), lambda p, lr: ScaledRate(p, lr, 1 - 0.8)),
    "adam": (Optimiser("adam", 0.1), lambda p, lr: torch.optim.Adam(p, lr)),
    "adam, l2": (Optimiser("adam", 0.1, decay=0.3, decay_kind="l2", decay_biases=True),
                 lambda p, lr: torch.optim.Adam(p, lr, weight_decay=0.3)),
    "adam, decoupled": (Optimiser("adam", 0.1, momentum=0.8, beta2=0.95, epsilon=1e-3, decay=0.3, decay_biases=True),
                        lambda p, lr: torch.optim.AdamW(p, lr, (0.8, 0.95), 1e-3, weight_decay=0.3)),
}


class ScaledRate(torch.optim.SGD):
    """Momentum 0.8 whose gradient is scaled, which a velocity linear in it turns into a scaled rate."""

    def __init__(self, parameters, lr, scale):
        super().__init__(parameters, lr, momentum=0.8)
        self.scale = scale

    def step(self):
        for parameter in self.param_groups[0]["params"]:
            parameter.grad *= self.scale
        super().step()


@each_backend
@pytest.mark.parametrize("name", TORCH)
@given(seed=seeds)
def test_steps_are_torchs(k, name, seed):
    ours, theirs = TORCH[name]
    layer, pairs, gradients = start(np.random.default_rng(seed))
    for a, b in zip(steps(k, ours, layer, pairs), torch_steps(theirs, layer, gradients, 0.1), strict=True):
        assert_close(a, b)


# ----- against the formulas -----


def by_hand(kind, layer, gradients, m, rate, decay, l2, biases):
    """W and b after a step for each gradient, each kind as its paper writes it."""
    out = []
    for is_bias, w in enumerate(layer):
        decays, v = not is_bias or biases, 0.0
        for pair, factor in zip(gradients, FACTORS, strict=True):
            g, lr = pair[is_bias] + (l2 * w if decays else 0), rate * factor
            v = {"sgd": g, "momentum": m * v + g, "momentum_inside": m * v + lr * g, "ema": m * v + (1 - m) * g}[kind]
            step = v if kind == "momentum_inside" else lr * v
            w = w - step - (lr * decay * w if decays else 0)
        out.append(w)
    return out


@each_backend
@pytest.mark.parametrize("kind", VELOCITIES)
@pytest.mark.parametrize("decay_kind", ["decoupled", "l2"])
@pytest.mark.parametrize("biases", [False, True])
@given(seed=seeds)
def test_every_velocity_follows_its_formula(k, kind, decay_kind, biases, seed):
    """Decay outside the velocity or inside it; of the biases only when asked."""
    layer, pairs, gradients = start(np.random.default_rng(seed))
    optimiser = Optimiser(kind, 0.2, 0.7, decay=0.4, decay_kind=decay_kind, decay_biases=biases)
    decay, l2 = (0.4, 0.0) if decay_kind == "decoupled" else (0.0, 0.4)
    expected = by_hand(kind, layer, gradients, 0.7, 0.2, decay, l2, biases)
    for a, b in zip(steps(k, optimiser, layer, pairs), expected, strict=True):
        assert_close(a, b)


@each_backend
@pytest.mark.parametrize("decay_kind", ["decoupled", "l2"])
@given(seed=seeds)
def test_adam_leaves_biases_without_decay_unless_asked(k, decay_kind, seed):
    layer, pairs, _ = start(np.random.default_rng(seed))
    W, b = steps(k, Optimiser("adam", 0.1, decay=0.3, decay_kind=decay_kind), layer, pairs)
    plain_W, plain_b = steps(k, Optimiser("adam", 0.1), layer, pairs)
    np.testing.assert_array_equal(b, plain_b)
    assert np.abs(W - plain_W).max() > 1e-3


@each_backend
def test_a_later_rate_leaves_the_velocity_inside_alone_and_scales_the_one_outside(k):
    """The two published conventions of momentum differ as soon as the rate changes. The gradient is always 1."""
    layer, pairs = Dense(np.zeros((1, 1)), None), [Pair(np.ones((ROWS, 1)), np.ones((ROWS, 1)))] * len(FACTORS)
    outside, inside = (steps(k, Optimiser(kind, 1.0, 0.5), layer, pairs)[0] for kind in ("momentum", "momentum_inside"))
    assert outside.item() == pytest.approx(-(1 + 1.5 + 0.5 * 1.75 + 2 * 1.875 + 0.1 * 1.9375))
    assert inside.item() == pytest.approx(-(1 + 1.5 + 1.25 + 2.625 + 1.4125))


# ----- who is moved -----


@each_backend
@pytest.mark.parametrize("kind", KINDS)
def test_layers_without_a_signal_are_left_alone(k, kind):
    """Neither decay nor memory touches them, and only those that moved are reported."""
    rng = np.random.default_rng(1)
    layers = [start(rng)[0] for _ in range(3)]
    net = put(k, Net(tuple(layers), 5, start(rng, bias=False)[0]))
    optimisers = Optimisers(Optimiser(kind, 0.1, decay=0.1), Optimiser(kind, 0.1, decay=0.1))
    state = optimisers.init(k, net)
    signals = Signals(ROWS, {1: [put(k, start(rng)[1][0])]})
    after, stepped = optimisers.apply(k, net, signals, state, 1.0)
    for l in (0, 2):
        for a, b in zip(after.layers[l], layers[l], strict=True):
            np.testing.assert_array_equal(k.get(a), b)
    assert [int(memory.steps[0]) for memory in (*state.layers, state.head)] == [0, 1, 0, 0]
    assert list(stepped) == ["layer 2"]
    assert stepped["layer 2"] == (pytest.approx(sum((k.get(a) ** 2).sum() for a in after.layers[1])), optimisers.layers.rate)


@each_backend
def test_the_head_has_an_optimiser_of_its_own(k):
    layer, pairs, gradients = start(np.random.default_rng(2), bias=False)
    net, pair = put(k, Net((layer,), 5, layer)), put(k, pairs[0])
    optimisers = Optimisers(Optimiser("sgd", 0.1), Optimiser("sgd", 0.7))
    after, stepped = optimisers.apply(k, net, Signals(ROWS, {0: [pair]}, [pair]), optimisers.init(k, net), 1.0)
    assert_close(k.get(after.layers[0].W), layer.W - 0.1 * gradients[0][0])
    assert_close(k.get(after.head.W), layer.W - 0.7 * gradients[0][0])
    assert after.head.b is None and list(stepped) == ["layer 1", "the head"]


@each_backend
def test_a_head_needs_an_optimiser(k):
    net = Net((), 2, head=Dense(np.zeros((3, 2)), None))
    with pytest.raises(UserError, match="the network has a softmax head, but no optimiser is named for it"):
        Optimisers(Optimiser("sgd", rate=1.0)).init(k, net)


@each_backend
@pytest.mark.parametrize("kind", KINDS)
def test_feedback_matrices_are_stepped_like_layers(k, kind):
    layer, pairs, _ = start(np.random.default_rng(5), bias=False)
    optimiser = Optimiser(kind, 0.1, decay=0.2)
    net, optimisers = put(k, Net((layer,), 5, feedback=(layer,))), Optimisers(optimiser, feedback=optimiser)
    state = optimisers.init(k, net)
    for pair, factor in zip(pairs, FACTORS, strict=True):
        sent = {0: [put(k, pair)]}
        net, stepped = optimisers.apply(k, net, Signals(ROWS, sent, feedback=sent), state, factor)
    np.testing.assert_array_equal(k.get(net.feedback[0].W), k.get(net.layers[0].W))
    assert stepped["feedback matrix 1"] == stepped["layer 1"]
    assert int(state.feedback[0].steps[0]) == len(FACTORS)


@each_backend
def test_feedback_has_an_optimiser_of_its_own(k):
    layer, pairs, gradients = start(np.random.default_rng(6), bias=False)
    net, pair = put(k, Net((layer,), 5, feedback=(layer, layer))), put(k, pairs[0])
    optimisers = Optimisers(Optimiser("sgd", 0.1), feedback=Optimiser("sgd", 0.7))
    after, stepped = optimisers.apply(k, net, Signals(ROWS, {}, feedback={1: [pair]}), optimisers.init(k, net), 1.0)
    for untouched in (after.layers[0], after.feedback[0]):
        np.testing.assert_array_equal(k.get(untouched.W), layer.W)
    assert_close(k.get(after.feedback[1].W), layer.W - 0.7 * gradients[0][0])
    assert after.feedback[1].b is None and list(stepped) == ["feedback matrix 2"]


@each_backend
def test_feedback_without_an_optimiser_stays_as_it_was_drawn(k):
    layer, pairs, _ = start(np.random.default_rng(7), bias=False)
    net, optimisers = put(k, Net((layer,), 5, feedback=(layer,))), Optimisers(Optimiser("sgd", 0.1, decay=0.3))
    state = optimisers.init(k, net)
    after, _ = optimisers.apply(k, net, Signals(ROWS, {0: [put(k, pairs[0])]}), state, 1.0)
    np.testing.assert_array_equal(k.get(after.feedback[0].W), layer.W)
    assert state.feedback == ()


@each_backend
def test_feedback_that_learns_needs_an_optimiser(k):
    layer, pairs, _ = start(np.random.default_rng(8), bias=False)
    net, optimisers = put(k, Net((layer,), 5, feedback=(layer,))), Optimisers(Optimiser("sgd", 0.1))
    signals = Signals(ROWS, {}, feedback={0: [put(k, pairs[0])]})
    with pytest.raises(UserError, match="the feedback matrices of this rule learn, but no optimiser is named for them"):
        optimisers.apply(k, net, signals, optimisers.init(k, net), 1.0)


@each_backend
def test_replaced_parts_take_the_place_of_the_old(k):
    """And every other part is the one that was there."""
    layer = start(np.random.default_rng(3), bias=False)[0]
    net = put(k, Net((layer,), 5, means=(np.zeros(5),), feedback=(layer,)))
    optimisers = Optimisers(Optimiser("sgd", 0.1))
    state = optimisers.init(k, net)
    for part, new in (("means", (np.ones(5),)), ("feedback", (Dense(np.ones((4, 5)), None),))):
        after, stepped = optimisers.apply(k, net, Signals(ROWS, {}, replaced={part: new}), state, 1.0)
        assert stepped == {} and getattr(after, part) is new
        assert all(getattr(after, other) is getattr(net, other) for other in Net._fields if other != part)


@each_backend
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", [0, 1], ids=["pre", "post"])
def test_a_nan_shows_in_the_sum_of_squares(k, kind, where):
    layer, pairs, _ = start(np.random.default_rng(4))
    pairs[0][where][1, 2] = np.nan
    net, optimisers = put(k, Net((layer,), 5)), Optimisers(Optimiser(kind, 0.1))
    _, stepped = optimisers.apply(k, net, Signals(ROWS, {0: [put(k, pairs[0])]}), optimisers.init(k, net), 1.0)
    assert not np.isfinite(stepped["layer 1"][0])


@pytest.mark.parametrize(("settings", "named"), [
    ({"kind": "lion"}, "no optimiser 'lion'; choose one of sgd, momentum, momentum_inside, ema, adam"),
    ({"decay_kind": "l1"}, "decay_kind must be decoupled or l2, not 'l1'"),
    ({"rate": 0.0}, "rate.* > 0.* must hold for .*rate=0.0"),
    ({"rate": float("nan")}, "rate=nan"),
    ({"momentum": 1.0}, "momentum=1.0"),
    ({"momentum": -0.1}, "momentum=-0.1"),
    ({"decay": -1e-4}, "decay=-0.0001"),
    ({"beta2": 1.0}, "beta2=1.0"),
    ({"epsilon": 0.0}, "epsilon=0.0"),
])
def test_settings_that_cannot_work_are_refused_by_name(settings, named):
    with pytest.raises(UserError, match=named):
        Optimiser(**{"kind": "adam", "rate": 0.1} | settings)
