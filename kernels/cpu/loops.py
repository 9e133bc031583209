"""What is done number by number or row by row: one pass each, on the calling thread."""

from collections.abc import Callable

import numpy as np

from .. import reference
from ..checks import check, check_activate, check_labels, check_shape
from ..contract import Array
from .compiling import compiled

FLOORS = {"linear": -np.inf, "relu": 0.0, "tanh": -np.inf}  # a first pass lets no number fall below; tanh takes another


def scalars(like: Array, *values: float) -> tuple[Array, ...]:
    """The values in the array's dtype, so that a loop over float32 stays in float32."""
    return tuple(like.dtype.type(value) for value in values)


def add(a: Array, b: Array, factor: float) -> Array:
    check(a, b)
    check_shape(a.shape, b)
    out = np.empty_like(a)
    _add(a.ravel(), b.ravel(), out.ravel(), *scalars(a, factor))
    return out


def activate(
    z: Array, factor: Array | None, rows: Array | None, labels: Array | None, b: Array | None, activation: str
) -> tuple[Array, Array]:
    if activation == "tanh":
        return reference.activate(z, factor, rows, labels, b, activation)
    check_activate(z, factor, rows, labels, b)
    B, O = z.shape
    factor = np.ones(B, z.dtype) if factor is None else factor
    rows, labels = (np.zeros((1, O), z.dtype), np.zeros(B, np.int64)) if rows is None else (rows, labels)
    h, squares = np.empty_like(z), np.empty(B, z.dtype)
    _activate(z, factor, rows, labels, np.zeros(O, z.dtype) if b is None else b, *scalars(z, FLOORS[activation]), h, squares)
    return h, squares


def gate(delta: Array, h: Array, activation: str) -> Array:
    check(delta, h)
    check_shape(delta.shape, h)
    return GATES[activation](delta, h, np.empty_like(delta))


def dropout(h: Array, rate: float, key: int) -> Array:
    check(h)
    out = np.empty_like(h)
    _dropout(h.ravel(), out.ravel(), int(np.ceil(rate * 2**32)), key, h.dtype.type(1 - rate))
    return out


def sum_squares(h: Array) -> Array:
    check(h)
    return _sum_squares(h, np.empty(len(h), h.dtype))


def normalise(h: Array, root: float, tiny: float) -> Array:
    check(h)
    return _normalise(h, np.empty_like(h), *scalars(h, root, tiny))


def peer_signal(mean: Array, h: Array, keep: float, strength: float) -> tuple[Array, Array]:
    check(mean, h)
    check_shape(h.shape[1:], mean)
    m = _running_mean(mean, h, np.empty_like(mean), *scalars(h, keep, (1 - keep) / len(h)))
    return m, (strength * (m - m.mean())).astype(h.dtype)[None]


def softmax_error(z: Array, y: Array) -> tuple[Array, float]:
    check(z)
    check_shape(z.shape[:1], y)
    check_labels(y, z.shape[1])
    e = np.empty_like(z)
    loss = _softmax_error(z, y, e)
    return e, float(loss) / len(y) if len(y) else 0.0


def goodness_signal(
    h: Array, squares: Array, positive: Array, theta: Array, share: float, least: float
) -> tuple[Array, float]:
    check(h, squares, positive, theta)
    check_shape(h.shape[:1], squares, positive, theta)
    post = np.empty_like(h)
    loss = _goodness_signal(h, squares, positive, theta, post, *scalars(h, share, least))
    return post, float(loss) / len(h) if len(h) else 0.0


@compiled
def _add(a, b, out, factor):
    for i in range(a.size):
        out[i] = a[i] + factor * b[i]


@compiled
def speaks(post):
    """Which rows are not all zero, (B,)."""
    out = np.empty(post.shape[0], np.bool_)
    for i in range(post.shape[0]):
        total = post.dtype.type(0)
        for j in range(post.shape[1]):  # to the end of the row: a sum is vectorised, a search is not
            total += abs(post[i, j])
        out[i] = total != 0
    return out


@compiled
def _activate(z, factor, rows, labels, b, floor, h, squares):
    for i in range(z.shape[0]):
        row, total = rows[labels[i]], z.dtype.type(0)
        for j in range(z.shape[1]):
            a = factor[i] * (z[i, j] + row[j]) + b[j]
            h[i, j] = floor if a <= floor else a  # a NaN stays
            total += h[i, j] * h[i, j]
        squares[i] = total


@compiled
def _gate_relu(delta, h, out):
    for i in range(h.shape[0]):
        for j in range(h.shape[1]):
            out[i, j] = delta[i, j] if h[i, j] > 0 else 0
    return out


@compiled
def _gate_tanh(delta, h, out):
    for i in range(h.shape[0]):
        for j in range(h.shape[1]):
            out[i, j] = delta[i, j] * (1 - h[i, j] * h[i, j])
    return out


GATES: dict[str, Callable[[Array, Array, Array], Array]] = {
    "linear": lambda delta, h, out: delta.copy(), "relu": _gate_relu, "tanh": _gate_tanh,
}


@compiled
def _dropout(h, out, threshold, key, kept):
    for i in range(h.size):
        x = (i * 0x9E3779B9 + key) & 0xFFFFFFFF
        x = ((x ^ (x >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
        x = ((x ^ (x >> 15)) * 0x846CA68B) & 0xFFFFFFFF
        out[i] = h[i] / kept if (x ^ (x >> 16)) >= threshold else 0


@compiled
def _sum_squares(h, out):
    for i in range(h.shape[0]):
        total = h.dtype.type(0)
        for j in range(h.shape[1]):
            total += h[i, j] * h[i, j]
        out[i] = total
    return out


@compiled
def _normalise(h, out, root, tiny):
    for i in range(h.shape[0]):
        total = h.dtype.type(0)
        for j in range(h.shape[1]):
            total += h[i, j] * h[i, j]
        factor = 1 / (np.sqrt(total) / root + tiny) if total != 0 else h.dtype.type(1)
        for j in range(h.shape[1]):
            out[i, j] = factor * h[i, j]
    return out


@compiled
def _running_mean(mean, h, m, keep, fresh):
    """keep mean + fresh (the sum of all rows of h)."""
    m[:] = 0
    for i in range(h.shape[0]):
        for j in range(h.shape[1]):
            m[j] += h[i, j]
    for j in range(m.size):
        m[j] = keep * mean[j] + fresh * m[j]
    return m


@compiled
def _softmax_error(z, y, e):
    loss = 0.0
    for i in range(z.shape[0]):
        top, total = z[i].max(), z.dtype.type(0)
        for j in range(z.shape[1]):
            e[i, j] = np.exp(z[i, j] - top)
            total += e[i, j]
        for j in range(z.shape[1]):
            e[i, j] /= total
        e[i, y[i]] -= 1
        loss += np.log(total) - (z[i, y[i]] - top)
    return loss


@compiled
def _goodness_signal(h, squares, positive, theta, post, share, least):
    loss = 0.0
    for i in range(h.shape[0]):
        margin = (1 - 2 * positive[i]) * (share * squares[i] - theta[i])  # to the wrong side
        small = np.exp(-abs(margin))
        loss += max(margin, 0) + np.log1p(small)
        weight = (1 if margin >= 0 else small) / (1 + small)  # |p - t|
        if weight <= least:
            post[i] = 0
        else:
            weight *= (1 - 2 * positive[i]) * share
            for j in range(h.shape[1]):
                post[i, j] = weight * h[i, j]
    return loss
