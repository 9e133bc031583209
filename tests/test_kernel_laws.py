"""What the kernels mean: on every backend they obey the formulas of their papers, written here another way, and torch."""

import math

import numpy as np
import pytest
import torch
from host import every_backend
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from strategies import arguments, dtypes, keys, precise, rates, tenths, wild_logits

EPS = np.finfo(np.float64).eps


def slope(f, x: np.ndarray, e: float = 1e-4) -> np.ndarray:
    """The gradient of a number f(x) by central differences; off by e^2 f''' / 6 and by f eps / e."""
    gradient = np.empty_like(x)
    for i in np.ndindex(x.shape):
        high, low = x.copy(), x.copy()
        high[i] += e
        low[i] -= e
        gradient[i] = (f(high) - f(low)) / (2 * e)
    return gradient


# ----- moving data -----


@every_backend
def test_moving_data_by_example(k):
    a, b = np.array([[1.0, 2], [3, 4]]), np.array([[5.0, 6]])
    np.testing.assert_array_equal(k.take(a, np.array([1, 1, 0])), [[3, 4], [3, 4], [1, 2]])
    np.testing.assert_array_equal(k.take(np.array([7, 8]), np.array([1])), [8])
    np.testing.assert_array_equal(k.vstack(a, b), [[1, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(k.hstack(b, b, b[:, :1]), [[5, 6, 5, 6, 5]])
    np.testing.assert_array_equal(k.one_hot(np.array([2, 0]), 3, 0.5, a), [[0, 0, 0.5], [0.5, 0, 0]])
    np.testing.assert_array_equal(k.overlay(a, np.array([[9.0], [8]])), [[9, 2], [8, 4]])


# ----- dense layers -----


@every_backend
@given(precise("dense"))
def test_dense_is_a_weighted_sum_and_an_activation(k, args):
    x, W, b, activation = args
    z = np.einsum("bi,io->bo", x, W) + (0 if b is None else b)
    h = {"linear": z, "relu": np.where(z > 0, z, 0), "tanh": np.tanh(z)}[activation]
    np.testing.assert_allclose(k.dense(x, W, b, activation), h, rtol=0, atol=EPS * (len(W) + 1) * 36 * (len(W) + 1))


@every_backend
@given(precise("gate"))
def test_the_gate_is_the_slope_of_the_activation(k, args):
    delta, z, activation = args
    z, e = np.where(z == 0, 0.1, z), 1e-5  # ReLU has no slope at 0
    high, low, h = (k.dense(z + shift, np.eye(z.shape[1]), None, activation) for shift in (e, -e, 0))
    np.testing.assert_allclose(k.gate(delta, h, activation), delta * (high - low) / (2 * e), rtol=0, atol=6 * 1e-9)


@every_backend
def test_a_silent_relu_has_no_slope(k):
    np.testing.assert_array_equal(k.gate(np.ones((1, 3)), np.array([[0.0, -0.0, 1e-300]]), "relu"), [[0, 0, 1]])


@every_backend
@given(dtypes)
def test_a_relu_lets_nan_through(k, dtype):
    x = np.array([[1, np.nan], [1, 1]], dtype)
    h = k.dense(x, np.array([[1, -1], [1, -1]], dtype), None, "relu")
    np.testing.assert_array_equal(h, [[np.nan, np.nan], [2, 0]])


@every_backend
@given(precise("project"))
def test_projecting_is_the_adjoint_of_the_layer(k, args):
    """<x W, delta> = <x, delta W^T> for any x, so for each unit vector."""
    delta, M = args
    way_there = k.dense(np.eye(len(M)), M, None, "linear")
    tolerance = EPS * 36 * M.shape[1] ** 2
    np.testing.assert_allclose(k.project(delta, M), np.einsum("bo,io->bi", delta, way_there), rtol=0, atol=tolerance)


# ----- a product that is known -----


@every_backend
@given(precise("patch"))
def test_a_patched_product_is_that_of_the_patched_input(k, args):
    _, x, to, W, columns = args
    patched = x.copy()
    patched[:, columns] = to[:, columns]
    z = k.dense(x, W, None, "linear")
    tolerance = EPS * 36 * 6 * (len(W) + 3) * len(W)
    np.testing.assert_allclose(k.patch(z, x, to, W, columns), np.einsum("bi,io->bo", patched, W), rtol=0, atol=tolerance)


@every_backend
@pytest.mark.parametrize("root", [1.0, 2.5])
@given(precise("dense"))
def test_a_product_that_is_scaled_is_the_layer_of_the_normalised_input(k, root, args):
    x, W, b, activation = args
    z, factor = k.dense(x, W, None, "linear"), k.inverse_norm(k.sum_squares(x), 0.0, root, 0.0)
    h, goodness = k.activate(z, factor, None, None, b, activation)
    expected = k.dense(k.normalise(x, root, 0.0), W, b, activation)
    tolerance = EPS * 100 * (len(W) + 4) ** 2
    np.testing.assert_allclose(h, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(goodness, (expected**2).sum(axis=1), rtol=0, atol=tolerance * 2 * W.shape[1] * 40)


@every_backend
@given(precise("dense"), st.data())
def test_the_row_of_a_label_is_what_adds_the_label_to_an_input(k, args, data):
    """Of an input [x, 1 at the label's slot] the product is x W, and of the label's slots a row of the rest of W."""
    x, W, _, activation = args
    slots = data.draw(tenths(np.float64, 3, W.shape[1]))
    told = data.draw(arrays(np.int64, len(x), elements=st.integers(0, 2)))
    h, _ = k.activate(k.dense(x, W, None, "linear"), None, slots, told, None, activation)
    expected = k.dense(np.hstack([x, np.eye(3)[told]]), np.vstack([W, slots]), None, activation)
    np.testing.assert_allclose(h, expected, rtol=0, atol=EPS * 36 * (len(W) + 5) ** 2)


NEUTRAL = {  # what stands in the place of a part of `activate` that is not there, for B rows of O numbers
    "factor": lambda B, O: {"factor": np.ones(B)}, "b": lambda B, O: {"b": np.zeros(O)},
    "rows": lambda B, O: {"rows": np.zeros((1, O)), "labels": np.zeros(B, np.int64)}}


@every_backend
@pytest.mark.parametrize("part", NEUTRAL)
@given(args=precise("activate"))
def test_a_part_of_an_activity_that_is_not_there_changes_nothing(k, part, args):
    given = dict(zip(("z", "factor", "rows", "labels", "b", "activation"), args, strict=True))
    neutral = NEUTRAL[part](*given["z"].shape)
    for with_it, without in zip(k.activate(*(given | neutral).values()), k.activate(*(given | dict.fromkeys(neutral)).values()),
                                strict=True):
        np.testing.assert_array_equal(with_it, without)


# ----- dropout -----


def kept_by_hash(size: int, rate: float, key: int) -> list[bool]:
    """The mask with Python's integers: stride of the golden ratio, then Wellons's lowbias32."""
    kept = []
    for i in range(size):
        x = (i * 0x9E3779B9 + key) % 2**32
        x = (x ^ (x >> 16)) * 0x7FEB352D % 2**32
        x = (x ^ (x >> 15)) * 0x846CA68B % 2**32
        kept.append(x ^ (x >> 16) >= rate * 2**32)
    return kept


@every_backend
@given(arguments("dropout"))
def test_a_kept_unit_is_scaled_and_the_others_are_zero(k, args):
    h, rate, key = args
    kept = np.reshape(kept_by_hash(h.size, rate, key), h.shape)
    expected = np.where(kept, h.astype(np.float64) / (1 - rate), 0)
    np.testing.assert_allclose(k.dropout(h, rate, key), expected, rtol=2 * np.finfo(h.dtype).eps, atol=0)


@every_backend
@given(arguments("dropout"))
def test_dropout_at_rate_zero_keeps_everything(k, args):
    np.testing.assert_array_equal(k.dropout(args[0], 0.0, args[2]), args[0])


@every_backend
@given(rates, keys)
def test_the_share_kept_is_one_minus_the_rate(k, rate, key):
    """Binomial: 6 standard deviations off happens once in 5e8."""
    kept = np.count_nonzero(k.dropout(np.ones((50, 200)), rate, key))
    assert abs(kept - 10_000 * (1 - rate)) <= 6 * math.sqrt(10_000 * rate * (1 - rate))


@every_backend
@given(st.sets(keys, min_size=2, max_size=2))
def test_different_keys_give_masks_that_agree_by_chance_only(k, two):
    first, second = (k.dropout(np.ones((50, 200)), 0.5, key) > 0 for key in two)
    assert abs(np.sum(first == second) - 5000) <= 6 * math.sqrt(10_000 / 4)


# ----- classes -----


@every_backend
@given(precise("softmax"), st.integers(-1000, 1000))
def test_softmax_sees_differences_only(k, args, shift):
    (z,) = args
    P = k.softmax(z)
    np.testing.assert_allclose(P, torch.softmax(torch.tensor(z), 1), rtol=20 * EPS, atol=0)
    np.testing.assert_allclose(k.softmax(z + shift), P, rtol=4 * EPS * (1006 + 5), atol=0)


@every_backend
@given(dtypes)
def test_softmax_is_finite_for_any_spread(k, dtype):
    z, y = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4]], dtype), np.array([1, 0])
    np.testing.assert_allclose(k.softmax(z), [[1, 0, 0], [1 / 3] * 3], rtol=4 * np.finfo(dtype).eps)
    assert k.softmax_error(z, y)[1] == pytest.approx((2e4 + math.log(3)) / 2, rel=1e-6)


@every_backend
@settings(max_examples=20)
@given(precise("softmax_error"))
def test_the_softmax_error_is_the_gradient_of_the_cross_entropy(k, args):
    z, y = args
    e, _ = k.softmax_error(z, y)
    np.testing.assert_allclose(e, slope(lambda z: len(y) * k.softmax_error(z, y)[1], z), rtol=0, atol=1e-8)


@every_backend
@given(precise("softmax_error"))
def test_the_cross_entropy_is_torchs(k, args):
    z, y = args
    loss = torch.nn.functional.cross_entropy(torch.tensor(z), torch.tensor(y)).item() if len(y) else 0
    assert k.softmax_error(z, y)[1] == pytest.approx(loss, rel=1e-13, abs=1e-13)


@every_backend
@given(arguments("softmax_error"))
def test_a_row_of_the_softmax_error_sums_to_zero(k, args):
    e, _ = k.softmax_error(*args)
    assert (np.abs(e.sum(axis=1)) <= 2 * e.shape[1] * np.finfo(e.dtype).eps).all()


@every_backend
@settings(max_examples=200)
@given(wild_logits())
def test_wrong_labels_are_never_right(k, args):
    z, y, u = args
    wrong = k.draw_wrong(z, y, u)
    assert wrong.shape == y.shape and np.issubdtype(wrong.dtype, np.integer)
    assert ((wrong != y) & (wrong >= 0) & (wrong < z.shape[1])).all()


def shares_drawn(k, logits: np.ndarray, label: int, n: int) -> np.ndarray:
    """How often each class is drawn (C,) as u runs through n even steps of [0, 1)."""
    u = (np.arange(n) + 0.5) / n
    wrong = k.draw_wrong(np.tile(logits, (n, 1)), np.full(n, label), u)
    return np.bincount(wrong, minlength=len(logits)) / n


@every_backend
@given(precise("softmax_error"))
def test_wrong_labels_follow_the_softmax_of_the_others(k, args):
    """Each class gets an interval of u as long as its probability, and n steps measure it to 1 / n."""
    for logits, label in zip(*args, strict=True):
        p = np.exp(logits)
        p[label] = 0
        assert (np.abs(shares_drawn(k, logits, label, 200) - p / p.sum()) <= 1 / 200 + 20 * EPS).all()


@every_backend
@given(st.integers(2, 9), st.data())
def test_equal_logits_give_uniformly_wrong_labels(k, classes, data):
    label = data.draw(st.integers(0, classes - 1))
    uniform = np.where(np.arange(classes) == label, 0, 1 / (classes - 1))
    np.testing.assert_allclose(shares_drawn(k, np.zeros(classes), label, 50 * (classes - 1)), uniform, rtol=EPS)
