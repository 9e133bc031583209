"""How far two correct computations of one kernel may lie apart.

One rounding moves a number by at most eps / 2 of its size. A sum of n terms takes n roundings, so two orders of
addition differ by at most n eps sum |terms|. `BOUNDS` states this for each kernel in units of eps, one bound for each
array or number it computes: `out` is what the reference answered, then come the kernel's arguments. A kernel that is
not listed moves or picks numbers and computes none: its answer is exact.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from host import leaves, mapped

from ffnp.kernels import reference
from ffnp.kernels.contract import Adam, Momentum


def assert_same_kind(actual: Any, expected: Any) -> None:
    """Both are arrays of one dtype and shape, or both numbers of one type."""
    assert type(actual) is type(expected)
    assert getattr(actual, "dtype", None) == getattr(expected, "dtype", None)
    assert np.shape(actual) == np.shape(expected)


def assert_within(actual: Any, expected: Any, bounds: list[Any], eps: float) -> None:
    """Each array or number is of the kind of its twin and within bound * eps of it."""
    for a, e, bound in zip(leaves(actual), leaves(expected), bounds, strict=True):
        assert_same_kind(a, e)
        assert (np.abs(np.subtract(a, e, dtype=np.float64)) <= bound * eps).all()


def assert_agrees(kernel: str, actual: Any, expected: Any, args: Any) -> None:
    """`actual` is `expected`, what the reference answers to these arguments, within the kernel's bounds."""
    bounds = BOUNDS[kernel](expected, *args) if kernel in BOUNDS else [0] * len(leaves(expected))
    eps = max((np.finfo(a.dtype).eps for a in floats([args, actual])), default=0)
    numbers = [a.item() if isinstance(e, float) and isinstance(a, np.ndarray) else a  # a device's is an array
               for a, e in zip(leaves(actual), leaves(expected), strict=True)]
    assert_within(numbers, expected, bounds, eps)


def floats(tree: Any) -> list[Any]:
    return [a for a in leaves(tree) if isinstance(a, np.ndarray) and a.dtype.kind == "f"]


def rescale(out: Any, a: Any, like: Any, deviation: float, power: float) -> list[Any]:
    """A mean that is off by n eps mean |x| moves the deviation by no more; the power multiplies what is relative."""
    spread = like.std(dtype=np.float64)
    off = like.size * (1 + np.abs(like).mean() / spread)
    return [(power * (off + 4 + abs(np.log(deviation / spread))) + 6) * np.abs(out)]


def dense(out: Any, x: Any, W: Any, b: Any, activation: str) -> list[Any]:
    terms = np.abs(x) @ np.abs(W) + (0 if b is None else np.abs(b))
    return [(len(W) + 1) * terms + 4 * (activation == "tanh")]


def dense_squares(out: Any, *args: Any) -> list[Any]:
    h, squares = out
    (moved,) = dense(h, *args)
    return [moved, sum_squares(squares, h)[0] + 2 * (np.abs(h) * moved).sum(axis=1)]


def sum_squares(out: Any, h: Any) -> list[Any]:
    return [h.shape[1] * out]


def activate(out: Any, z: Any, factor: Any, rows: Any, labels: Any, b: Any, activation: str) -> list[Any]:
    h, squares = out
    terms = np.abs(z) + (0 if rows is None else np.abs(rows[labels]))
    terms = terms if factor is None else np.abs(factor)[:, None] * terms
    moved = 4 * (terms + (0 if b is None else np.abs(b))) + 4 * (activation == "tanh")
    return [moved, (z.shape[1] + 2) * squares + 2 * (np.abs(h) * moved).sum(axis=1)]


def softmax_error(out: Any, z: Any, y: Any) -> list[Any]:
    (B, C), loss = z.shape, out[1]
    return [(C + 6) * reference.softmax(z) + 1, (B + C + 6) * (1 + loss)]


def goodness_signal(
    out: Any, h: Any, squares: Any, positive: Any, theta: Any, share: float, least: float
) -> list[Any]:
    """The slope of sigmoid is at most 1 / 4, that of softplus at most 1. A row whose |p - t| comes as near to `least` may be
    sent zeros, or not."""
    margin = (1 - 2 * positive) * (share * squares.astype(np.float64) - theta)
    rounded = 2 * (share * squares + np.abs(theta)) / 4 + 6
    near = np.abs(reference.sigmoid(margin) - least) <= rounded * np.finfo(h.dtype).eps
    moved = rounded + near * least / np.finfo(h.dtype).eps
    return [share * moved[:, None] * np.abs(h), 4 * rounded.max(initial=0) + (len(h) + 6) * (1 + out[1])]


def peer_signal(out: Any, mean: Any, h: Any, keep: float, strength: float) -> list[Any]:
    m = (len(h) + 4) * (keep * np.abs(mean) + (1 - keep) * np.abs(h).mean(axis=0))
    return [m, strength * (1 + len(mean)) * (m + m.mean())]


def additions(pairs: Any) -> int:
    return sum(len(pre) + 3 for pre, _ in pairs)


def gradient(out: Any, layer: Any, pairs: Any, rows: int) -> list[Any]:
    return [additions(pairs) * terms for terms in leaves(reference.gradient(layer, mapped(np.abs, pairs), rows))]


def draw_wrong(out: Any, z: Any, y: Any, u: Any) -> list[Any]:
    """Where u lies within rounding of the border between two classes, any label may be drawn; elsewhere, one is right."""
    wrong = z.astype(np.float64)
    wrong[np.arange(len(y)), y] = -np.inf
    eps, so_far = np.finfo(z.dtype).eps, reference.softmax(wrong).cumsum(axis=1)
    near = np.abs(u[:, None] - so_far).min(axis=1) <= (2 * z.shape[1] + 6) * eps
    return [near * z.shape[1] / eps]


def step(roundings: int, layer: list[Any], memory: Any) -> list[Any]:
    """The bounds of what a step returns and writes, from the sizes of all terms it adds up."""
    total = sum((2 * roundings + w.size) * (w * w).sum() for w in layer)
    return [total, *(roundings * terms for terms in leaves([layer, memory]))]


def momentum_step(out: Any, layer: Any, velocity: Any, pairs: Any, rows: int, c: Momentum) -> list[Any]:
    """With every number positive and every minus a plus, the step itself adds up the sizes."""
    layer, velocity, pairs = mapped(np.abs, (layer, velocity, pairs))
    reference.momentum_step(layer, velocity, pairs, rows, c._replace(rate=-c.rate, decay=-c.decay))
    return step(additions(pairs) + 6, leaves(layer), velocity)


def adam_step(out: Any, layer: Any, first: Any, second: Any, pairs: Any, rows: int, c: Adam) -> list[Any]:
    """As above. The step m / sqrt(s) moves by 1 / sqrt(s) with m, and by at most m / s^1.5 with s."""
    old, n = second, additions(pairs) + 6
    sizes, first, second, pairs = mapped(np.abs, (layer, first, second, pairs))
    reference.adam_step(mapped(np.copy, sizes), first, second, pairs, rows, c)
    moved = []
    for w, m, s, before, after in zip(*map(leaves, (sizes, first, second, old, out[3])), strict=True):
        least = np.maximum(c.beta2 * before, after - n * np.finfo(s.dtype).eps * s)
        moved.append((1 + c.decay) * w + c.rate * m / c.correct1 * np.sqrt(c.correct2 / least) * (1 + s / least))
    return step(n, moved, [first, second])


BOUNDS: dict[str, Callable[..., list[Any]]] = {
    "add": lambda out, a, b, factor: [np.abs(out) + np.abs(factor * b)],
    "scale": lambda out, a, factor: [np.abs(out)],
    "rescale": rescale,
    "dense": dense,
    "dense_squares": dense_squares,
    "gate": lambda out, delta, h, f: [3 * np.abs(delta) * (1 + h * h) * (f == "tanh")],
    "project": lambda out, delta, M: [M.shape[1] * np.abs(delta) @ np.abs(M).T],
    "patch": lambda out, z, x, to, W, S: [
        (len(S) + 3) * (np.abs(z) + (np.abs(to) + np.abs(x))[:, S] @ np.abs(W[S]))],
    "activate": activate,
    "dropout": lambda out, h, rate, key: [2 * np.abs(out)],
    "softmax": lambda out, z: [(z.shape[1] + 6) * out],
    "softmax_error": softmax_error,
    "draw_wrong": draw_wrong,
    "agreement": lambda out, a, b: [2 * out],
    "normalise": lambda out, h, root, tiny: [(h.shape[1] + 6) * np.abs(out)],
    "inverse_norm": lambda out, squares, more, root, tiny: [6 * np.abs(out)],
    "normalise_batch": lambda out, h: [(h.size + 6) * np.abs(out)],
    "sum_squares": sum_squares,
    "goodness_signal": goodness_signal,
    "peer_signal": peer_signal,
    "gradient": gradient,
    "momentum_step": momentum_step,
    "adam_step": adam_step,
}
