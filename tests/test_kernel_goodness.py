"""The kernels of Forward-Forward: on every backend the signal is the gradient of the paper's loss, exact at any margin."""

import math

import numpy as np
import pytest
import torch
from host import every_backend
from hypothesis import assume, given, settings
from strategies import arguments, dtypes, precise
from test_kernel_laws import slope

EPS = np.finfo(np.float64).eps

# ----- goodness -----


@every_backend
@settings(max_examples=20)
@given(precise("goodness_signal"))
def test_the_goodness_signal_is_half_the_gradient_of_the_loss(k, args):
    h, _, *rest, _ = args
    h = np.maximum(h / 6, 0)  # a ReLU layer; small, so that the third derivative is
    post, _ = k.goodness_signal(h, k.sum_squares(h), *rest, 0.0)
    gradient = slope(lambda h: len(h) * k.goodness_signal(h, k.sum_squares(h), *rest, 0.0)[1], h)
    np.testing.assert_allclose(post, gradient / 2, rtol=0, atol=1e-8)


@every_backend
@given(precise("goodness_signal"))
def test_the_goodness_loss_is_torchs_logistic_loss(k, args):
    h, squares, positive, theta, share, _ = args
    logits, targets = torch.tensor(share * squares - theta), torch.tensor(positive)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets).item() if len(h) else 0
    assert k.goodness_signal(*args)[1] == pytest.approx(loss, rel=1e-13, abs=1e-13)


@every_backend
@pytest.mark.parametrize(
    ("margin", "positive", "weight", "loss"), [(1e4, 1, 0, 0), (-1e4, 1, -1, 1e4), (1e4, 0, 1, 1e4), (-1e4, 0, 0, 0)])
@given(dtypes)
def test_the_goodness_signal_is_exact_at_any_margin(k, margin, positive, weight, loss, dtype):
    h, squares = np.array([[0.5, 0, 3]], dtype), np.array([1e4 + margin], dtype)
    post, cost = k.goodness_signal(h, squares, np.array([positive], dtype), np.array([1e4], dtype), 1.0, 0.0)
    np.testing.assert_array_equal(post, weight * h)
    assert cost == loss


@every_backend
@given(arguments("goodness_signal"))
def test_a_row_on_the_wrong_side_of_its_threshold_by_far_is_sent_all_of_its_activity(k, args):
    h, squares, positive, theta, share, least = args
    theta = np.where(positive == 1, 1e30, -1e30).astype(theta.dtype)
    post, _ = k.goodness_signal(h, squares, positive, theta, share, least)
    np.testing.assert_array_equal(post, np.where(positive == 1, -share, share)[:, None] * h)


@every_backend
@given(precise("goodness_signal"))
def test_raising_goodness_and_threshold_together_leaves_the_goodness_signal(k, args):
    h, squares, positive, theta, share, _ = args
    here, there = (k.goodness_signal(h, squares + rise / share, positive, theta + rise, share, 0.0)[0] for rise in (0, 8))
    np.testing.assert_allclose(there, here, rtol=0, atol=6 * (20 / 4 + 6) * EPS)  # |h|, the margin's error, the sigmoid's


@every_backend
@given(precise("goodness_signal"))
def test_a_row_that_is_sure_enough_is_sent_zeros_and_every_other_what_it_is_sent_anyway(k, args):
    h, squares, positive, theta, share, least = args
    weight = torch.sigmoid(torch.tensor((1 - 2 * positive) * (share * squares - theta))).numpy()  # |p - t|
    assume((np.abs(weight - least) > 40 * EPS).all())
    (post, loss), (whole, same) = (k.goodness_signal(h, squares, positive, theta, share, level) for level in (least, 0.0))
    np.testing.assert_array_equal(post, np.where((weight <= least)[:, None], 0, whole))
    assert loss == same


@every_backend
@given(arguments("goodness_signal"))
def test_the_weight_of_a_row_that_is_sure_is_exact_however_small(k, args):
    """1 - p, computed as such: 1 minus a p that has been rounded would be 0 beyond a margin of 17 in float32."""
    h, _, positive, theta, _, _ = args
    margins = np.where(positive == 1, 40, -40).astype(h.dtype)
    post, _ = k.goodness_signal(h, margins, positive, 0 * theta, 1.0, 0.0)
    expected = math.exp(-40) * np.where(positive == 1, -1, 1)[:, None] * h
    np.testing.assert_allclose(post, expected, rtol=8 * np.finfo(h.dtype).eps, atol=0)


@every_backend
@given(dtypes)
def test_no_row_whose_margin_is_nan_is_sure_of_anything(k, dtype):
    h, one = np.ones((2, 3), dtype), np.ones(2, dtype)
    with np.errstate(invalid="ignore"):
        post, loss = k.goodness_signal(h, np.array([np.nan, 100], dtype), one, one, 1.0, 0.25)
    np.testing.assert_array_equal(post, [[np.nan] * 3, [0] * 3])
    assert math.isnan(loss)


# ----- peers -----


@every_backend
@given(precise("peer_signal"))
def test_the_peer_signal_compares_running_means(k, args):
    mean, h, keep, strength = args
    new, signal = k.peer_signal(*args)
    running = [keep * m + (1 - keep) * math.fsum(column) / len(h) for m, column in zip(mean, h.T, strict=True)]
    average = math.fsum(running) / len(running)
    np.testing.assert_allclose(new, running, rtol=0, atol=100 * EPS)
    np.testing.assert_allclose(signal, [[strength * (m - average) for m in running]], rtol=0, atol=200 * EPS)


@every_backend
@given(arguments("peer_signal"))
def test_the_peer_signal_moves_no_average(k, args):
    _, signal = k.peer_signal(*args)
    assert abs(signal.sum(dtype=np.float64)) <= 2 * signal.size**2 * 6 * np.finfo(signal.dtype).eps
