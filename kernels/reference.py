"""The kernels of `contract` in plain NumPy, each as its formula reads: the truth the other backends are tested against."""

import math
from collections.abc import Callable

import numpy as np

from .checks import check, check_activate, check_shape, check_step
from .contract import Adam, Array, Layer, Momentum, Pair

Function = Callable[[Array], Array]
ACTIVATIONS: dict[str, Function] = {"linear": lambda z: z, "relu": lambda z: np.maximum(z, 0), "tanh": np.tanh}
DERIVATIVES: dict[str, Function] = {  # f'(z) as a function of the activity h = f(z)
    "linear": lambda h: np.ones_like(h),
    "relu": lambda h: (h > 0).astype(h.dtype),
    "tanh": lambda h: 1 - h * h,
}

# ----- moving data -----


def put(a: Array) -> Array:
    return np.array(a, order="C")


def get(a: Array) -> Array:
    return np.asarray(a)


def take(a: Array, rows: Array) -> Array:
    return a[rows]


def vstack(*parts: Array) -> Array:
    return np.vstack(parts)


def hstack(*parts: Array) -> Array:
    return np.hstack(parts)


# ----- number by number -----


def add(a: Array, b: Array, factor: float) -> Array:
    check(a, b)
    check_shape(a.shape, b)
    return a + a.dtype.type(factor) * b


def scale(a: Array, factor: float) -> Array:
    check(a)
    return a.dtype.type(factor) * a


def rescale(a: Array, like: Array, deviation: float, power: float) -> Array:
    check(a, like)
    return scale(a, (deviation / float(like.std())) ** power)


def sign(a: Array) -> Array:
    check(a)
    return np.sign(a)


def blend(mask: Array, a: Array, b: Array) -> Array:
    check(mask, a, b)
    check_shape(mask.shape, a, b)
    return np.where(mask != 0, a, b)


def shift(x: Array, moves: Array, shape: tuple[int, ...]) -> Array:
    check(x)
    check_shape((len(x), math.prod(shape)), x)
    check_shape((len(x), 2), moves)
    images = x.reshape(len(x), *shape)
    out = np.zeros_like(images)
    for image, moved, (down, right) in zip(images, out, moves.tolist(), strict=True):
        moved[window(down), window(right)] = image[window(-down), window(-right)]
    return out.reshape(x.shape)


def window(move: int) -> slice:
    """Where a line of pixels that is moved by `move` lands in the picture; of -move, which of them land there."""
    return slice(move, None) if move > 0 else slice(None, move or None)


# ----- dense layers -----


def dense(x: Array, W: Array, b: Array | None, activation: str) -> Array:
    check(x, W, b)
    check_shape(W.shape[1:], b)
    z = x @ W if b is None else x @ W + b
    return ACTIVATIONS[activation](z)


def dense_squares(x: Array, W: Array, b: Array | None, activation: str) -> tuple[Array, Array]:
    h = dense(x, W, b, activation)
    return h, sum_squares(h)


def gate(delta: Array, h: Array, activation: str) -> Array:
    check(delta, h)
    check_shape(delta.shape, h)
    return delta * DERIVATIVES[activation](h)


def project(delta: Array, M: Array) -> Array:
    check(delta, M)
    return delta @ M.T


def patch(z: Array, x: Array, to: Array, W: Array, columns: Array) -> Array:
    check(z, x, to, W)
    check_shape(x.shape, to)
    check_shape((len(x), W.shape[1]), z)
    return z + (to[:, columns] - x[:, columns]) @ W[columns]


def activate(
    z: Array, factor: Array | None, rows: Array | None, labels: Array | None, b: Array | None, activation: str
) -> tuple[Array, Array]:
    check_activate(z, factor, rows, labels, b)
    a = z if rows is None else z + rows[labels]
    a = a if factor is None else factor[:, None] * a
    h = ACTIVATIONS[activation](a if b is None else a + b)
    return h, sum_squares(h)


def dropout(h: Array, rate: float, key: int) -> Array:
    check(h)
    kept = hash32(np.arange(h.size, dtype=np.uint64), key).reshape(h.shape) >= rate * 2**32
    return np.where(kept, h / h.dtype.type(1 - rate), h.dtype.type(0))


def hash32(i: Array, key: int) -> Array:
    """32 well-mixed bits of (key, i): golden-ratio stride, then the finaliser "lowbias32" (C. Wellons, 2018)."""
    low = np.uint64(0xFFFFFFFF)
    x = (i * np.uint64(0x9E3779B9) + np.uint64(key)) & low
    x = ((x ^ (x >> np.uint64(16))) * np.uint64(0x7FEB352D)) & low
    x = ((x ^ (x >> np.uint64(15))) * np.uint64(0x846CA68B)) & low
    return x ^ (x >> np.uint64(16))


# ----- classes -----


def one_hot(y: Array, classes: int, value: float, like: Array) -> Array:
    Y = np.zeros((len(y), classes), like.dtype)
    Y[np.arange(len(y)), y] = value
    return Y


def softmax(z: Array) -> Array:
    check(z)
    P = np.exp(z - z.max(axis=1, keepdims=True))
    return P / P.sum(axis=1, keepdims=True)


def softmax_error(z: Array, y: Array) -> tuple[Array, float]:
    check(z)
    check_shape(z.shape[:1], y)
    rows = np.arange(len(y))
    shifted = z - z.max(axis=1, keepdims=True)
    loss = np.log(np.exp(shifted).sum(axis=1)) - shifted[rows, y]
    e = softmax(z)
    e[rows, y] -= 1
    return e, float(loss.mean()) if len(y) else 0.0


def draw_wrong(z: Array, y: Array, u: Array) -> Array:
    check(z)
    check(u)
    check_shape(z.shape[:1], y, u)
    rows = np.arange(len(y))
    wrong = z.astype(np.float64)
    wrong[rows, y] = -np.inf
    so_far = softmax(wrong).cumsum(axis=1)
    return (u[:, None] * so_far[:, -1:] >= so_far).sum(axis=1)


def agreement(a: Array, b: Array) -> float:
    check_shape(a.shape, b)
    return float((a == b).mean()) if len(a) else 0.0


# ----- Forward-Forward -----


def overlay(x: Array, Y: Array) -> Array:
    check(x, Y)
    check_shape(x[:, : Y.shape[1]].shape, Y)
    out = x.copy()
    out[:, : Y.shape[1]] = Y
    return out


def normalise(h: Array, root: float, tiny: float) -> Array:
    check(h)
    norm = np.sqrt(sum_squares(h))[:, None]
    return h / np.where(norm != 0, norm / h.dtype.type(root) + h.dtype.type(tiny), 1)


def inverse_norm(squares: Array, more: float, root: float, tiny: float) -> Array:
    check(squares)
    norm = np.sqrt(squares + squares.dtype.type(more))
    return 1 / np.where(norm != 0, norm / squares.dtype.type(root) + squares.dtype.type(tiny), norm.dtype.type(1))


def normalise_batch(h: Array) -> Array:
    check(h)
    norm = np.sqrt(sum_squares(h).sum())
    return h / norm if norm != 0 else h.copy()


def sum_squares(h: Array) -> Array:
    check(h)
    return (h * h).sum(axis=1)


def goodness_signal(
    h: Array, squares: Array, positive: Array, theta: Array, share: float, least: float
) -> tuple[Array, float]:
    check(h, squares, positive, theta)
    check_shape(h.shape[:1], squares, positive, theta)
    margin = share * squares - theta
    loss = np.logaddexp(0, (1 - 2 * positive) * margin)
    weight = np.where(positive == 1, -sigmoid(-margin), sigmoid(margin))  # p - t, without the rounding of p near 1
    post = np.where(np.abs(weight)[:, None] <= least, 0, (weight * share).astype(h.dtype)[:, None] * h)
    return post.astype(h.dtype), float(loss.mean()) if len(loss) else 0.0


def sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))  # never overflows
    return np.where(x >= 0, 1, small) / (1 + small)


def peer_signal(mean: Array, h: Array, keep: float, strength: float) -> tuple[Array, Array]:
    check(mean, h)
    check_shape(h.shape[1:], mean)
    m = (keep * mean + (1 - keep) * h.mean(axis=0)).astype(h.dtype)
    return m, (strength * (m - m.mean())).astype(h.dtype)[None]


# ----- from signals to a step -----


def gradient(layer: Layer, pairs: list[Pair], rows: int) -> Layer:
    check_step([layer], pairs)
    W, b = layer
    dW, db = np.zeros_like(W), np.zeros(W.shape[1], W.dtype)
    for pre, post in pairs:
        sent = np.broadcast_to(post, (len(pre), W.shape[1]))
        dW += pre.T @ sent / rows
        db += sent.sum(axis=0) / rows
    return dW, None if b is None else db


def momentum_step(layer: Layer, velocity: Layer, pairs: list[Pair], rows: int, c: Momentum) -> float:
    check_step([layer, velocity], pairs)
    for is_bias, (w, v, g) in enumerate(zip(layer, velocity, gradient(layer, pairs, rows), strict=True)):
        if w is not None:
            decays = not is_bias or c.decay_biases
            v[:] = c.keep * v + c.gain * (g + decays * c.l2 * w)
            w[:] = (1 - decays * c.decay) * w - c.rate * v
    return squares(layer)


def adam_step(layer: Layer, first: Layer, second: Layer, pairs: list[Pair], rows: int, c: Adam) -> float:
    check_step([layer, first, second], pairs)
    for is_bias, (w, m, s, g) in enumerate(zip(layer, first, second, gradient(layer, pairs, rows), strict=True)):
        if w is not None:
            decays = not is_bias or c.decay_biases
            g = g + decays * c.l2 * w
            m[:] = c.beta1 * m + (1 - c.beta1) * g
            s[:] = c.beta2 * s + (1 - c.beta2) * g * g
            step = (m / c.correct1) / (np.sqrt(s / c.correct2) + c.epsilon)
            w[:] = (1 - decays * c.decay) * w - c.rate * step
    return squares(layer)


def squares(layer: Layer) -> float:
    return sum(float(np.vdot(w, w)) for w in layer if w is not None)
