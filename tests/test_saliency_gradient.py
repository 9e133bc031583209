"""The closed-form gradient against central differences and its own identities; SmoothGrad and integrated gradients."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from networks import activities, assert_close, normalised
from scenes import scene, with_inputs
from scipy.stats import norm as gauss
from strategies import backprops, forward_forwards, mono_forwards, pepitas, seeds, unsupervised
from views import no_input_norm, scenes

from ffnp.errors import UserError
from ffnp.rules import PEPITA, Backprop, ForwardForward
from ffnp.saliency.gradient import goodness_gradients, gradient, integrated_gradients, smooth_grad

few, many = settings(max_examples=15), settings(max_examples=150)
direction_only = unsupervised.map(lambda rule: replace(rule, norm_input=True, norm="rms", tiny=0.0))
relus = backprops.map(lambda rule: replace(rule, activation="relu")) | mono_forwards
by_goodness = forward_forwards(read_out="goodness")
WIDE = (30, 40)  # no layer falls silent, so that its norm never jumps nor magnifies rounding


def weighed(score, x, weights):
    """S, (n,)."""
    return (weights * score(x)).sum(axis=1)


# ----- central differences -----


@many
@given(s=scenes())
def test_the_gradient_is_the_slope_of_the_score(s):
    """To 1e-6 in a random direction: the step is 1e-6, the rounding of S over it 1e-9. Left and right slopes that differ
    tell of a kink of ReLU between them, or of a norm so small that S bends within the step: such nets are left out."""
    direction, step = s.rng.standard_normal(s.x.shape), 1e-6
    behind, here, ahead = (weighed(s.score, s.x + n * step * direction, s.weights) for n in (-1, 0, 1))
    size = 1 + np.abs(here) + np.abs(ahead - behind) / step
    assume((np.abs(ahead + behind - 2 * here) / step < 1e-4 * size).all())
    slope = (gradient(s.score, s.x, s.weights) * direction).sum(axis=1)
    assert (np.abs((ahead - behind) / (2 * step) - slope) < 1e-6 * size).all()


# ----- identities -----


@given(s=scenes(hidden=WIDE))
def test_the_gradient_is_linear_in_the_weights_of_the_classes(s):
    other = s.rng.standard_normal(s.weights.shape)
    parts = gradient(s.score, s.x, s.weights), gradient(s.score, s.x, other)
    together = gradient(s.score, s.x, 2 * s.weights - other)
    assert_close(together, 2 * parts[0] - parts[1], 1e-12 * max(1, *(np.abs(part).max() for part in parts)))


@given(s=scenes(hidden=WIDE))
def test_the_gradient_of_an_image_is_its_own(s):
    """Whatever images stand beside it."""
    alone = [gradient(s.score, s.x[[i]], s.weights[[i]])[0] for i in range(len(s.x))]
    assert_close(gradient(s.score, s.x, s.weights), np.array(alone))


@given(s=scenes(dtype="float32"))
def test_gradients_have_the_dtype_of_the_net_and_the_shape_of_the_images(s):
    for found in (gradient(s.score, s.x, s.weights), smooth_grad(s.score, s.x, s.weights, samples=2),
                  integrated_gradients(s.score, s.x, s.weights, steps=2)[0]):
        assert found.dtype == np.float32 and found.shape == s.x.shape


@given(s=scenes(forward_forwards(label="overlay")))
def test_where_a_label_is_written_the_gradient_is_zero(s):
    found = gradient(s.score, s.x, s.weights)
    assert not found[:, : s.score.net.classes].any()


@given(s=scenes(by_goodness, hidden=WIDE))
def test_the_gradients_of_the_layers_add_up_to_that_of_their_sum(s):
    """Whatever layers the score counts."""
    score = replace(s.score, read_out="goodness", layers=())
    each = goodness_gradients(score, s.x, s.weights)
    for layers in (score.layers, (1, 2), (2,)):
        together = gradient(replace(score, layers=layers), s.x, s.weights)
        assert_close(together, each[[l - 1 for l in layers]].sum(axis=0))


def test_only_goodness_has_layers_of_its_own():
    s = scene(Backprop(), (3, 3), (5,))
    with pytest.raises(UserError, match="recipe by softmax has no goodness of labels"):
        goodness_gradients(s.score, s.x, s.weights)


@given(rule=forward_forwards(norm="rms", norm_input=True, goodness="sum", label="append", tiny=1e-8), seed=seeds)
def test_the_goodness_of_the_first_layer_has_the_gradient_of_its_formula(rule, seed):
    """dG/dxhat = 2 W h = g, and through xhat = x / r, r the root mean square of the n inputs: (g - xhat (xhat . g) / n) / r."""
    s = scene(rule, (2, 4), (5, 4), seed=seed)
    score, c = replace(s.score, read_out="goodness", layers=(1,)), 1
    label = np.tile(rule.strength * np.eye(3)[c], (len(s.x), 1))
    received = np.hstack([s.x, label])
    h = next(activities(rule, score.net, s.x, label))
    xhat, r = normalised(rule, received), np.sqrt((received**2).mean(axis=1, keepdims=True))
    g = 2 * h @ score.net.layers[0].W.T
    expected = (g - xhat * (xhat * g).mean(axis=1, keepdims=True)) / r
    found = gradient(score, s.x, np.tile(np.eye(3)[c], (len(s.x), 1)))
    assert_close(found, expected[:, : s.x.shape[1]], 1e-7)  # the formula has no `tiny`, 1e-8 of r


@given(s=scenes(direction_only, hidden=WIDE, standardise=None))
def test_an_input_of_which_only_the_direction_counts_has_no_slope_along_it(s):
    """And half as bright an image has twice the gradient."""
    found, half = gradient(s.score, s.x, s.weights), gradient(s.score, s.x / 2, s.weights)
    assert_close((found * s.x).sum(axis=1), np.zeros(len(s.x)), 1e-12 * np.abs(found).max(initial=1))
    assert_close(half, 2 * found)


@given(s=scenes(relus, bias=None, standardise=None))
def test_without_biases_the_score_is_its_slope_times_the_image(s):
    """Twice as bright an image has twice the score (Euler), so integrated gradients from black are exact in one step."""
    S, found = weighed(s.score, s.x, s.weights), gradient(s.score, s.x, s.weights)
    assert_close((found * s.x).sum(axis=1), S)
    values, gap = integrated_gradients(s.score, s.x, s.weights, steps=1)
    assert_close(values, s.x * found)
    assert_close(gap, np.zeros_like(gap))


@given(s=scenes(no_input_norm))
def test_a_pixel_that_no_weight_reads_has_neither_gradient_nor_integrated_gradient(s):
    dead = int(s.rng.integers(s.x.shape[1]))

    def blinded(W):
        W[dead] = 0
        return W
    score = with_inputs(s.score, blinded)
    maps = [gradient(score, s.x, s.weights), smooth_grad(score, s.x, s.weights, samples=2),
            integrated_gradients(score, s.x, s.weights, steps=2)[0]]
    assert not any(found[:, dead].any() for found in maps)


def test_where_the_input_is_normalised_a_bright_pixel_that_no_weight_reads_dims_the_others():
    """By its share in the norm, so its gradient is not zero; a dark one takes nothing."""
    def blinded(W):
        W[:2] = 0
        return W
    s = scene(ForwardForward(label="append"), (3, 3), (9, 9))
    score, x = with_inputs(s.score, blinded), s.x.copy()
    x[:, 1] = 0
    found = gradient(score, x, s.weights)
    assert found[:, 0].all() and not found[:, 1].any()


# ----- nets without hidden layers: their score is linear -----

linear = scenes(backprops | pepitas(), hidden=())


@given(s=linear)
def test_of_a_linear_score_smoothing_keeps_the_gradient(s):
    for sigma in (0.0, 0.15, 10.0):
        assert_close(smooth_grad(s.score, s.x, s.weights, samples=3, sigma=sigma), gradient(s.score, s.x, s.weights))


@given(s=linear)
def test_of_a_linear_score_integrated_gradients_are_the_gradient_times_the_way(s):
    to = s.rng.random(s.x.shape)
    for steps in (1, 7):
        values, gap = integrated_gradients(s.score, s.x, s.weights, to, steps)
        assert_close(values, (s.x - to) * gradient(s.score, s.x, s.weights))
        assert_close(gap, np.zeros_like(gap))


# ----- SmoothGrad -----


@few
@given(s=scenes())
def test_smoothing_with_hardly_any_noise_is_the_gradient(s):
    """By noise of 1e-9, unless a kink or a jump of the gradient is that near."""
    plain, smooth = gradient(s.score, s.x, s.weights), smooth_grad(s.score, s.x, s.weights, samples=2, sigma=1e-9)
    near = gradient(s.score, s.x + 1e-8 * s.rng.standard_normal(s.x.shape), s.weights)
    size = np.abs(plain).max(initial=1)
    assume((np.abs(near - plain) < 1e-5 * size).all())
    assert (np.abs(smooth - plain) < 1e-5 * size).all()


def test_smoothing_a_relu_gates_it_by_the_chance_that_noise_leaves_it_open():
    """P(z + noise > 0) = Phi(z / (sigma |w|)), to six standard errors of the mean of so many samples."""
    s, sigma, samples = scene(Backprop(), (2, 3), (4,), seed=3), 0.5, 2000
    (W, b), (V, _) = s.score.net.layers
    chance = gauss.cdf((s.x @ W + b) / (sigma * np.linalg.norm(W, axis=0)))  # (n, O)
    sent = s.weights @ V.T
    expected, doubt = (chance * sent) @ W.T, np.sqrt((chance * (1 - chance) * sent**2) @ (W.T**2) / samples)
    found = smooth_grad(s.score, s.x, s.weights, samples, sigma)
    assert (np.abs(found - expected) < 6 * np.sqrt(W.shape[1]) * doubt).all()  # units may err together


def test_smoothing_is_the_same_for_the_same_seed_only():
    s = scene(ForwardForward(), (3, 4), (9, 9))
    same, again, other = (smooth_grad(s.score, s.x, s.weights, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(same, again)
    assert (same != other).any()


def test_more_samples_take_no_more_memory():
    """All samples at once would take 40 times as much as the one that is summed up at a time."""
    s = scene(Backprop(), (20, 20), (9,), rows=400)
    smooth_grad(s.score, s.x, s.weights, samples=1)  # what is imported and compiled on first use
    peaks = []
    for samples in (2, 80):
        tracemalloc.start()
        smooth_grad(s.score, s.x, s.weights, samples)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


# ----- integrated gradients -----


@few
@given(s=scenes())
def test_the_completeness_gap_is_what_the_values_lack_of_the_change_of_the_score(s):
    to = s.rng.random(s.x.shape)
    values, gap = integrated_gradients(s.score, s.x, s.weights, to, steps=3)
    change = weighed(s.score, s.x, s.weights) - weighed(s.score, to, s.weights)
    assert_close(gap, values.sum(axis=1) - change, 1e-12 * np.abs(values).max(initial=1))


@few
@given(s=scenes(hidden=WIDE, rows=2))
def test_the_completeness_gap_closes_with_more_steps(s):
    """The slope along the way has some total variation V, which ReLU's kinks make in jumps. A rule of positive weights w_i
    that interlace with its points errs by no more than V max w_i, and Gauss's largest is below 1.6 / steps. V is taken from
    500 points, and so a little too small."""
    to = s.rng.random(s.x.shape)
    points = np.linspace(0, 1, 500)
    slopes = [((s.x - to) * gradient(s.score, to + t * (s.x - to), s.weights)).sum(axis=1) for t in points]
    V = np.abs(np.diff(slopes, axis=0)).sum(axis=0)
    for steps in (8, 64):
        _, gap = integrated_gradients(s.score, s.x, s.weights, to, steps)
        assert (np.abs(gap) <= 1.2 * V * 1.6 / steps + 1e-10 * (1 + V)).all()


@few
@given(s=scenes(pepitas(activation="tanh", norm="none"), hidden=(9,), rows=2))
def test_of_a_smooth_score_the_default_steps_leave_no_gap(s):
    """Gauss and Legendre's points converge as fast as the score is smooth."""
    _, gap = integrated_gradients(s.score, s.x, s.weights)
    assert (np.abs(gap) < 1e-9).all()


@few
@given(s=scenes(direction_only, hidden=WIDE, standardise=None))
def test_from_black_the_gap_of_a_net_that_sees_directions_only_is_all_of_the_change(s):
    """The score is flat along the line, and jumps where it begins."""
    values, gap = integrated_gradients(s.score, s.x, s.weights, steps=4)
    change = weighed(s.score, s.x, s.weights) - weighed(s.score, np.zeros_like(s.x), s.weights)
    assert_close(gap, -change, 1e-12 * max(1, np.abs(values).max(), np.abs(change).max()))


def test_integrated_gradients_begin_at_black():
    s = scene(PEPITA(), (3, 3), (8,))
    for found, expected in zip(integrated_gradients(s.score, s.x, s.weights, steps=4),
                               integrated_gradients(s.score, s.x, s.weights, np.zeros_like(s.x), steps=4), strict=True):
        np.testing.assert_array_equal(found, expected)
