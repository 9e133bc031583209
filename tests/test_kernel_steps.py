"""From signals to a step, on every backend: sums of outer products, closed formulas, and the paths of torch's optimisers."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from host import every_backend, leaves, mapped
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import poisoned, precise, walks

from ffnp.kernels.contract import Adam, Momentum, Pair

EPS = np.finfo(np.float64).eps
brief = settings(max_examples=15)
every_step = pytest.mark.parametrize("kernel", ["momentum_step", "adam_step"])


def by_hand(layer: Any, pairs: Sequence[Pair], rows: int) -> list[np.ndarray]:
    """dW, and db where there are biases: one outer product after the other."""
    dW, db = np.zeros_like(layer[0]), np.zeros(layer[0].shape[1])
    for pre, post in pairs:
        for i in range(len(pre)):
            sent = post[0 if len(post) == 1 else i]
            dW += np.outer(pre[i], sent) / rows
            db += sent / rows
    return [dW, db][: len(leaves(layer))]


def assert_equal_up_to_rounding(actual: Any, expected: Any, pairs: Sequence[Pair]) -> None:
    """n terms of at most 36 are added with n roundings, and weight and velocity with a few more."""
    n = sum(len(pre) for pre, _ in pairs) + 6
    for a, e in zip(leaves(actual), leaves(expected), strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=EPS * 36 * n * n)


# ----- the gradient -----


@every_backend
@given(precise("gradient"))
def test_the_gradient_is_a_sum_of_outer_products(k, args):
    assert_equal_up_to_rounding(k.gradient(*args), by_hand(*args), args[1])


@every_backend
@given(precise("gradient"))
def test_a_layer_without_biases_has_no_bias_gradient(k, args):
    (W, _), pairs, rows = args
    assert k.gradient((W, None), pairs, rows)[1] is None


@every_backend
@given(precise("gradient"))
def test_silent_rows_change_nothing(k, args):
    layer, pairs, rows = args
    pairs = [Pair(pre, np.broadcast_to(post, (len(pre), post.shape[1])).copy()) for pre, post in pairs]
    longer = [Pair(np.vstack([pre, pre]), np.vstack([post, 0 * post])) for pre, post in pairs]
    assert_equal_up_to_rounding(k.gradient(layer, longer, rows), k.gradient(layer, pairs, rows), pairs)


# ----- one step -----


@every_backend
@given(precise("momentum_step"))
def test_a_momentum_step_is_its_formula(k, args):
    layer, velocity, pairs, rows, c = args
    expected = []
    for w, v, g, decays in zip(leaves(layer), leaves(velocity), by_hand(layer, pairs, rows), (1, c.decay_biases), strict=False):
        new = c.keep * v + c.gain * (g + decays * c.l2 * w)
        expected += [(1 - decays * c.decay) * w - c.rate * new, new]
    k.momentum_step(*args)
    actual = [part for both in zip(leaves(layer), leaves(velocity), strict=True) for part in both]
    assert_equal_up_to_rounding(actual, expected, pairs)


@every_backend
@every_step
@given(data=st.data())
def test_a_step_returns_the_squares_of_the_new_weights(k, kernel, data):
    layer, *rest = data.draw(precise(kernel))
    total = getattr(k, kernel)(layer, *rest)
    assert total == pytest.approx(sum(float((w * w).sum()) for w in leaves(layer)), rel=100 * EPS)


@every_backend
@every_step
@given(data=st.data())
def test_a_nan_in_a_layer_or_a_signal_shows_in_the_number_returned(k, kernel, data):
    assert not math.isfinite(getattr(k, kernel)(*data.draw(poisoned(kernel))))


# ----- many steps -----

Path = list[list[np.ndarray]]  # the arrays of a layer after each step


def zeros(layer: Any) -> Any:
    return mapped(np.zeros_like, layer)


def momentum_path(k: Any, layer: Any, steps: Any, rows: int, *coefficients: Momentum) -> Path:
    """From a velocity of zeros; step t takes coefficients[t], or the only ones."""
    layer, velocity, path = mapped(np.copy, layer), zeros(layer), []
    for t, pairs in enumerate(steps):
        k.momentum_step(layer, velocity, pairs, rows, coefficients[t % len(coefficients)])
        path.append(mapped(np.copy, leaves(layer)))
    return path


EPSILON = 1e-3  # Adam's: it multiplies the rounding of a gradient that cancels by rate / epsilon, at 1e-8 without a bound


def adam_path(k: Any, layer: Any, steps: Any, rows: int, **decays: Any) -> Path:
    layer, first, second, path = mapped(np.copy, layer), zeros(layer), zeros(layer), []
    for t, pairs in enumerate(steps, start=1):
        c = Adam(0.9, 0.999, 1 - 0.9**t, 1 - 0.999**t, EPSILON, 0.1, **decays)
        k.adam_step(layer, first, second, pairs, rows, c)
        path.append(mapped(np.copy, leaves(layer)))
    return path


def torch_path(optimiser: Any, k: Any, layer: Any, steps: Any, rows: int, **settings: Any) -> Path:
    """The same by an optimiser of torch, from our gradients."""
    weights = [torch.tensor(w, requires_grad=True) for w in leaves(layer)]
    optimiser, path = optimiser(weights, **settings), []
    for pairs in steps:
        for w, g in zip(weights, leaves(k.gradient(layer, pairs, rows)), strict=True):
            w.grad = torch.tensor(g)
        optimiser.step()
        path.append([w.detach().numpy().copy() for w in weights])
    return path


def assert_same_path(actual: Path, expected: Path) -> None:
    """Within 1e-12 of the largest number on the way."""
    largest = max(np.abs(w).max() for w in leaves(expected))
    for a, e in zip(leaves(actual), leaves(expected), strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-12 * largest)


@every_backend
@brief
@given(walks())
def test_momentum_with_the_rate_outside_is_torchs_sgd(k, walk):
    ours = momentum_path(k, *walk, Momentum(0.9, 1.0, 0.1, l2=0.01, decay_biases=True))
    assert_same_path(ours, torch_path(torch.optim.SGD, k, *walk, lr=0.1, momentum=0.9, weight_decay=0.01))


@every_backend
@brief
@given(walks())
def test_at_one_rate_the_two_momentum_conventions_agree(k, walk):
    inside, outside = Momentum(0.9, 0.1, 1.0), Momentum(0.9, 1.0, 0.1)
    assert_same_path(momentum_path(k, *walk, inside), momentum_path(k, *walk, outside))


@every_backend
@pytest.mark.parametrize("inside", [True, False], ids=["inside", "outside"])
@brief
@given(walk=walks())
def test_a_new_rate_inside_the_velocity_leaves_old_gradients_alone(k, inside, walk):
    """W_T = W_0 - sum_t sum_{s <= t} m^(t - s) rate g_s, where the rate is that of step s inside, and of step t outside."""
    layer, steps, rows = walk
    rates = [0.1, 0.05, 0.02, 0.01]
    ours = momentum_path(k, *walk, *(Momentum(0.9, r, 1.0) if inside else Momentum(0.9, 1.0, r) for r in rates))
    gradients = [by_hand(layer, pairs, rows) for pairs in steps]
    moves = [(0.9 ** (t - s) * rates[s if inside else t], gradients[s]) for t in range(4) for s in range(t + 1)]
    last = [w - sum(share * g[i] for share, g in moves) for i, w in enumerate(leaves(layer))]
    assert_same_path(ours[-1:], [last])


@every_backend
@brief
@given(walks())
def test_hintons_moving_average_is_torchs_momentum_at_a_tenth_of_the_rate(k, walk):
    ours = momentum_path(k, *walk, Momentum(0.9, 1 - 0.9, 0.1))
    assert_same_path(ours, torch_path(torch.optim.SGD, k, *walk, lr=0.1 * (1 - 0.9), momentum=0.9))


@every_backend
@brief
@given(walks())
@example(((np.array([[6.0, 6.0]]), None), [[Pair(np.array([[0.9]]), np.array([[-0.4, 0.0]]))]], 6))  # -0.06 + 0.01 * 6
def test_adam_is_torchs(k, walk):
    ours = adam_path(k, *walk, l2=0.01, decay_biases=True)
    assert_same_path(ours, torch_path(torch.optim.Adam, k, *walk, lr=0.1, weight_decay=0.01, eps=EPSILON))


@every_backend
@brief
@given(walks())
def test_adam_with_decoupled_decay_is_torchs_adamw(k, walk):
    ours = adam_path(k, *walk, decay=0.1 * 0.01, decay_biases=True)
    assert_same_path(ours, torch_path(torch.optim.AdamW, k, *walk, lr=0.1, weight_decay=0.01, eps=EPSILON))


@every_backend
@brief
@given(walks())
def test_biases_decay_only_when_told(k, walk):
    (W, b), steps, rows = walk
    layer = W, np.ones(W.shape[1]) if b is None else b
    momentum, decay = Momentum(0.9, 1.0, 0.1), {"decay": 0.1, "l2": 0.01}
    for decayed, plain in (
        (momentum_path(k, layer, steps, rows, momentum._replace(**decay)), momentum_path(k, layer, steps, rows, momentum)),
        (adam_path(k, layer, steps, rows, **decay), adam_path(k, layer, steps, rows)),
    ):
        assert_same_path([[b] for _, b in decayed], [[b] for _, b in plain])
