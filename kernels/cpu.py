"""The kernels of `contract` for speed on the CPU: BLAS for the products, Numba for one pass over everything else.

Four ideas:
1. A product writes straight into its target. `gemm` adds into the velocity (beta = keep), so no gradient is ever stored.
2. A row whose post is all zero changes nothing and is left out of the product. In Forward-Forward these are the examples
   a layer is already sure of (p - t rounds to 0), soon most of them.
3. The pairs of a layer are stacked into one longer product; BLAS is fastest when the summed dimension is long.
4. What follows a product (bias, activation, decay, step) reads each number once and writes it once.

There is one pool of threads, BLAS's; the loops run on the calling thread. All products go through SciPy's BLAS:
NumPy's is a second copy with threads of its own, and two pools wait for each other.
Reductions vectorise only if additions may be reordered, so FAST allows that but keeps NaN and infinity.
What NumPy already does in one pass is taken from `reference` as it is.
"""

from collections.abc import Callable

import numpy as np
from numba import njit
from scipy.linalg import blas

from . import reference
from .checks import check, check_shape, check_step
from .contract import Adam, Array, Layer, Momentum, Pair
from .reference import (  # noqa: F401
    agreement,
    blend,
    draw_wrong,
    get,
    hstack,
    normalise_batch,
    one_hot,
    overlay,
    peer_signal,
    put,
    rescale,
    scale,
    shift,
    sign,
    softmax,
    softmax_error,
    take,
    vstack,
)

FAST = {"reassoc", "contract", "arcp", "nsz"}
loop = njit(fastmath=FAST, error_model="numpy", nogil=True, cache=True)

# ----- products -----


def gemm(alpha: float, a: Array, b: Array, out: Array, beta: float = 0.0, ta: bool = False, tb: bool = False) -> Array:
    """out <- alpha op(a) op(b) + beta out, row-major. BLAS is column-major, so it is asked for the transpose."""
    left, right = a.T if ta else a, b.T if tb else b
    if left.shape[1] != len(right) or out.shape != (len(left), right.shape[1]):
        raise ValueError(f"the product of {left.shape} and {right.shape} does not fit {out.shape}")
    if left.size and right.size:
        routine = blas.sgemm if out.dtype == np.float32 else blas.dgemm
        routine(alpha, b.T, a.T, beta, out.T, tb, ta, overwrite_c=True)
    else:
        out[:] = beta * out if beta else 0
    return out


def dense(x: Array, W: Array, b: Array | None, activation: str) -> Array:
    check(x, W, b)
    check_shape(W.shape[1:], b)
    z = gemm(1.0, x, W, np.empty((len(x), W.shape[1]), x.dtype))
    if b is not None:
        _add_bias(z, b)
    return IN_PLACE[activation](z)


def dense_squares(x: Array, W: Array, b: Array | None, activation: str) -> tuple[Array, Array]:
    h = dense(x, W, b, activation)
    return h, sum_squares(h)


def project(delta: Array, M: Array) -> Array:
    check(delta, M)
    return gemm(1.0, delta, M, np.empty((len(delta), len(M)), delta.dtype), tb=True)


def patch(z: Array, x: Array, to: Array, W: Array, columns: Array) -> Array:
    check(z, x, to, W)
    check_shape(x.shape, to)
    return gemm(1.0, to[:, columns] - x[:, columns], W[columns], z.copy(), beta=1.0)


def stack(pairs: list[Pair]) -> Pair:
    """The pairs as one, without silent rows."""
    each = [audible(*pair) for pair in pairs]
    return each[0] if len(each) == 1 else Pair(*(np.vstack(part) for part in zip(*each, strict=True)))


def audible(pre: Array, post: Array) -> Pair:
    """The pair without the rows whose post is all zero. A post of one row meets the sum of `pre`."""
    if len(post) == 1:
        return Pair(pre.sum(axis=0, keepdims=True), post)
    rows = _speaks(post, np.empty(len(post), np.bool_))
    return Pair(pre, post) if rows.all() else Pair(pre[rows], post[rows])


def bias_gradient(pairs: list[Pair], rows: int) -> Array:
    """The sum of all posts / rows, (O,); a post of one row counts once for each row of `pre`."""
    return sum(p.post.sum(axis=0) * (len(p.pre) / len(p.post) / rows if len(p.post) else 0) for p in pairs)


def gradient(layer: Layer, pairs: list[Pair], rows: int) -> Layer:
    check_step([layer], pairs)
    W, b = layer
    pre, post = stack(pairs)
    dW = gemm(1 / rows, pre, post, np.empty_like(W), ta=True)
    return dW, None if b is None else bias_gradient(pairs, rows).astype(W.dtype)


def momentum_step(layer: Layer, velocity: Layer, pairs: list[Pair], rows: int, c: Momentum) -> float:
    check_step([layer, velocity], pairs)
    (W, b), (v, u) = layer, velocity
    pre, post = stack(pairs)
    gemm(c.gain / rows, pre, post, v, beta=c.keep, ta=True)
    total = _descend(W.ravel(), v.ravel(), *_as(W, c.gain * c.l2, c.decay, c.rate))
    if b is not None:
        u[:] = c.keep * u + c.gain * bias_gradient(pairs, rows)
        l2, decay = (c.l2, c.decay) if c.decay_biases else (0.0, 0.0)
        total += _descend(b, u, *_as(W, c.gain * l2, decay, c.rate))
    return float(total)


def adam_step(layer: Layer, first: Layer, second: Layer, pairs: list[Pair], rows: int, c: Adam) -> float:
    check_step([layer, first, second], pairs)
    total = 0.0
    for is_bias, (w, m, s, g) in enumerate(zip(layer, first, second, gradient(layer, pairs, rows), strict=True)):
        if w is not None:
            l2, decay = (c.l2, c.decay) if c.decay_biases or not is_bias else (0.0, 0.0)
            betas = _as(w, c.beta1, 1 - c.beta1, c.beta2, 1 - c.beta2)  # in float32, 1 - 0.999 is off by 5e-5
            scalars = _as(w, c.correct1, c.correct2, c.epsilon, c.rate, decay, l2)
            total += _adam(w.ravel(), m.ravel(), s.ravel(), g.ravel(), *betas, *scalars)
    return float(total)


# ----- everything else: one pass -----


def add(a: Array, b: Array, factor: float) -> Array:
    check(a, b)
    check_shape(a.shape, b)
    out = np.empty_like(a)
    _add(a.ravel(), b.ravel(), out.ravel(), *_as(a, factor))
    return out


def activate(z: Array, row: Array, factor: Array, b: Array | None, activation: str) -> tuple[Array, Array]:
    check(z, row, factor, b)
    check_shape(z.shape[1:], row, b)
    check_shape(z.shape[:1], factor)
    if activation != "relu":
        return reference.activate(z, row, factor, b, activation)
    h, squares = np.empty_like(z), np.empty(len(z), z.dtype)
    _activate(z, row, factor, np.zeros_like(row) if b is None else b, h, squares)
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
    return _normalise(h, np.empty_like(h), *_as(h, root, tiny))


def goodness_signal(h: Array, squares: Array, positive: Array, theta: Array, share: float) -> tuple[Array, float]:
    check(h, squares, positive, theta)
    check_shape(h.shape[:1], squares, positive, theta)
    post = np.empty_like(h)
    loss = _goodness_signal(h, squares, positive, theta, post, *_as(h, share))
    return post, float(loss) / len(h) if len(h) else 0.0


def _as(like: Array, *scalars: float) -> tuple[Array, ...]:
    """The scalars in the array's dtype, so that a loop over float32 stays in float32."""
    return tuple(like.dtype.type(s) for s in scalars)


@loop
def _add(a, b, out, factor):
    for i in range(a.size):
        out[i] = a[i] + factor * b[i]


@loop
def _speaks(post, out):
    for i in range(post.shape[0]):
        out[i] = False
        for j in range(post.shape[1]):
            if post[i, j] != 0:
                out[i] = True
                break
    return out


@loop
def _add_bias(z, b):
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] += b[j]
    return z


@loop
def _activate(z, row, factor, b, h, squares):
    for i in range(z.shape[0]):
        total = z.dtype.type(0)
        for j in range(z.shape[1]):
            a = factor[i] * (z[i, j] + row[j]) + b[j]
            h[i, j] = 0 if a <= 0 else a  # a NaN stays
            total += h[i, j] * h[i, j]
        squares[i] = total


@loop
def _relu(z):
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] = 0 if z[i, j] <= 0 else z[i, j]  # a NaN stays
    return z


IN_PLACE: dict[str, Callable[[Array], Array]] = {
    "linear": lambda z: z, "relu": _relu, "tanh": lambda z: np.tanh(z, out=z),
}


@loop
def _gate_relu(delta, h, out):
    for i in range(h.shape[0]):
        for j in range(h.shape[1]):
            out[i, j] = delta[i, j] if h[i, j] > 0 else 0
    return out


@loop
def _gate_tanh(delta, h, out):
    for i in range(h.shape[0]):
        for j in range(h.shape[1]):
            out[i, j] = delta[i, j] * (1 - h[i, j] * h[i, j])
    return out


GATES: dict[str, Callable[[Array, Array, Array], Array]] = {
    "linear": lambda delta, h, out: delta.copy(), "relu": _gate_relu, "tanh": _gate_tanh,
}


@loop
def _dropout(h, out, threshold, key, kept):
    for i in range(h.size):
        x = (i * 0x9E3779B9 + key) & 0xFFFFFFFF
        x = ((x ^ (x >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
        x = ((x ^ (x >> 15)) * 0x846CA68B) & 0xFFFFFFFF
        out[i] = h[i] / kept if (x ^ (x >> 16)) >= threshold else 0


@loop
def _sum_squares(h, out):
    for i in range(h.shape[0]):
        total = h.dtype.type(0)
        for j in range(h.shape[1]):
            total += h[i, j] * h[i, j]
        out[i] = total
    return out


@loop
def _normalise(h, out, root, tiny):
    for i in range(h.shape[0]):
        total = h.dtype.type(0)
        for j in range(h.shape[1]):
            total += h[i, j] * h[i, j]
        norm = np.sqrt(total) / root + tiny if total != 0 else h.dtype.type(1)
        for j in range(h.shape[1]):
            out[i, j] = h[i, j] / norm
    return out


@loop
def _goodness_signal(h, squares, positive, theta, post, share):
    loss = 0.0
    for i in range(h.shape[0]):
        margin = share * squares[i] - theta[i]
        small = np.exp(-abs(margin))
        p = (1 if margin >= 0 else small) / (1 + small)
        loss += max((1 - 2 * positive[i]) * margin, 0) + np.log1p(small)
        weight = (p - positive[i]) * share
        for j in range(h.shape[1]):
            post[i, j] = weight * h[i, j]
    return loss


@loop
def _descend(w, v, l2, decay, rate):
    """v += l2 w;  w <- (1 - decay) w - rate v;  returns sum w^2."""
    total = w.dtype.type(0)
    if l2 != 0:
        for i in range(w.size):
            v[i] += l2 * w[i]
    for i in range(w.size):
        w[i] = w[i] - decay * w[i] - rate * v[i]
        total += w[i] * w[i]
    return total


@loop
def _adam(w, m, s, g, beta1, fresh1, beta2, fresh2, correct1, correct2, epsilon, rate, decay, l2):
    total = w.dtype.type(0)
    for i in range(w.size):
        d = g[i] + l2 * w[i]
        m[i] = beta1 * m[i] + fresh1 * d
        s[i] = beta2 * s[i] + fresh2 * d * d
        step = m[i] / correct1 / (np.sqrt(s[i] / correct2) + epsilon)
        w[i] = w[i] - decay * w[i] - rate * step
        total += w[i] * w[i]
    return total
