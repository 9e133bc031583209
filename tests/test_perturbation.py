"""PEPITA's own map: its formulas in plain NumPy, its sign, and what it is where F is aligned with the weights."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from networks import KERNELS, assert_close
from scenes import scene, with_net
from strategies import pepitas
from views import scenes

from ffnp.errors import UserError
from ffnp.net import Dense
from ffnp.rules import PEPITA, AdaptiveFeedback, Backprop
from ffnp.rules.pepita import projection
from ffnp.saliency import perturbation as module
from ffnp.saliency.gradient import gradient
from ffnp.saliency.perturbation import perturbation
from ffnp.saliency.scorer import probability


def host(score):
    """The first layers' (W, b), and F, on the host."""
    k = score.k
    return [(k.get(W), 0 if b is None else k.get(b)) for W, b in score.net.layers], k.get(projection(k, score.net.feedback))


def activity(rule, layers, x):
    """h_1 .. h_{L-1} of rows x, normalised one by one where the rule normalises."""
    for W, b in layers[:-1]:
        z = x @ W + b
        x = np.maximum(z, 0) if rule.activation == "relu" else np.tanh(z)
        if rule.norm != "none":
            length = np.linalg.norm(x, axis=1, keepdims=True)
            x = x / np.where(length > 0, length, 1)
        yield x


def error(score, x, y):
    """e = P - Y, by the scorer's own scores."""
    z = score(x)
    return np.stack([probability(z, np.full(len(x), c)) for c in range(z.shape[1])], axis=1) - np.eye(z.shape[1])[y]


@given(s=scenes(pepitas()))
def test_the_perturbation_is_sign_times_f_times_the_error(s):
    """In the units of the images: divided by the deviation that inputs are standardised with, it is what the rule adds."""
    _, F = host(s.score)
    _, std = s.score.run.preset.standardise or (0, 1)
    expected = std * s.score.rule.sign * error(s.score, s.x, s.y) @ F.T
    assert_close(perturbation(s.score, s.x, s.y).values, expected)


@given(s=scenes(pepitas(norm="none")))
def test_the_differences_are_those_of_two_plain_passes(s):
    """Of images, and of images with the perturbation added."""
    (layers, _), found = host(s.score), perturbation(s.score, s.x, s.y)
    passes = (activity(s.score.rule, layers, s.score.run.prepared(images)) for images in (s.x, s.x + found.values))
    for difference, h, g in zip(found.differences, *passes, strict=True):
        assert_close(difference, h - g)


@given(s=scenes(pepitas(norm="batch"), hidden=(30, 40)))
def test_normalised_activity_differs_by_the_rows_own_norm(s):
    """Also where training normalises rows together. In wide layers no row is so small that its norm magnifies rounding."""
    (layers, _), found = host(s.score), perturbation(s.score, s.x, s.y)
    passes = (activity(s.score.rule, layers, s.score.run.prepared(images)) for images in (s.x, s.x + found.values))
    for difference, h, g in zip(found.differences, *passes, strict=True):
        assert_close(difference, h - g)


@given(s=scenes(pepitas()))
def test_dropout_does_not_disturb_the_perturbation(s):
    preset = s.score.run.preset
    found = [perturbation(replace(s.score, run=s.score.run._replace(
        preset=replace(preset, rule=replace(preset.rule, dropout=rate)))), s.x, s.y) for rate in (0.0, 0.9)]
    for whole, dropped in zip(*([values, *differences] for values, differences in found), strict=True):
        np.testing.assert_array_equal(whole, dropped)


def aligned(s, factor):
    """The scene's net without hidden layers, its F = -sign factor W, as PEPITA aligns them."""
    (layer,), sign = s.score.net.layers, s.score.rule.sign
    net = s.score.net._replace(feedback=(Dense(-sign * factor * s.score.k.get(layer.W), None),))
    return with_net(s.score, net)


single = scenes(pepitas(feedback="uniform"), hidden=(), standardise=None)


@given(s=single)
def test_where_f_is_aligned_the_perturbation_is_a_step_of_descent(s):
    """-dloss/dx = d(sum_c (Y - P)_c z_c)/dx with P held fast."""
    score = aligned(s, 0.01)
    expected = 0.01 * gradient(score, s.x, -error(score, s.x, s.y))
    assert_close(perturbation(score, s.x, s.y).values, expected)


@given(s=single)
def test_where_f_is_aligned_the_perturbed_image_is_likelier_to_have_its_label(s):
    """With either sign: a positive value speaks for the label."""
    score = aligned(s, 0.01)
    moved = s.x + perturbation(score, s.x, s.y).values
    before, after = (probability(score(images), s.y) for images in (s.x, moved))
    assert (after > before).all()


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_more_images_than_are_looked_at_at_once_keep_their_places(monkeypatch, norm):
    s = scene(PEPITA(norm=norm), (3, 3), (6, 5), rows=17)
    whole = perturbation(s.score, s.x, s.y)
    monkeypatch.setattr(module, "CHUNK", 7)
    parts = perturbation(s.score, s.x, s.y)
    for a, b in zip((whole.values, *whole.differences), (parts.values, *parts.differences), strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("backend", KERNELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_perturbation_comes_to_the_host_in_the_dtype_of_the_net(dtype, backend):
    s = scene(PEPITA(), (2, 3, 2), (5, 4), rows=7, dtype=dtype, backend=backend)
    values, differences = perturbation(s.score, s.x, s.y)
    assert [(type(a), a.dtype, a.shape) for a in (values, *differences)] == [
        (np.ndarray, dtype, (7, columns)) for columns in (12, 5, 4)]


@pytest.mark.parametrize("rule", [Backprop(), AdaptiveFeedback()])
def test_a_net_of_another_rule_has_no_perturbation(rule):
    s = scene(rule, (3, 3), (5,))
    with pytest.raises(UserError, match="^recipe does not perturb its input by its error: only PEPITA does$"):
        perturbation(s.score, s.x, s.y)
