"""The CUDA backend: each kernel of the contract checks what it is given, makes room for the answer and launches what fills it.

It computes in float32 only. No number comes back on the way: nothing but `get` asks for one.
"""

from collections.abc import Sequence
from itertools import accumulate
from math import ceil, inf, prod
from typing import Any

import numpy as np

from ..checks import check_shape, check_step
from ..contract import Adam, Array, Layer, Momentum, Number, Pair
from .launch import Launcher, flat, shares
from .pointwise import ACTIVATIONS

FLOORS = {"linear": -inf, "relu": 0.0, "tanh": -inf}  # where a layer's product ends below


class Cuda(Launcher):
    """The kernels of the contract on a device."""

    # ----- moving data -----

    def put(self, a: Array) -> Array:
        return self.device.put(a)

    def get(self, a: Array | Number) -> Array:
        return self.device.get(a)

    def take(self, a: Array, rows: Array) -> Array:
        labels = a.dtype == np.int64
        if not labels:
            check(a)
        width = prod(a.shape[1:])
        out = self.device.empty((len(rows), *a.shape[1:]), a.dtype)
        self.each("take_labels" if labels else "take", out.size, a.reshape(len(a), width), self.indices(rows, len(a)),
                  out.reshape(len(rows), width))
        return out

    def vstack(self, *parts: Array) -> Array:
        check(*parts)
        for part in parts:
            check_shape((len(part), parts[0].shape[1]), part)
        out = self.device.empty((sum(map(len, parts)), parts[0].shape[1]))
        for part, end in zip(parts, accumulate(map(len, parts)), strict=True):
            if len(part):
                self.copy(part, 0, out[end - len(part) : end])
        return out

    def hstack(self, *parts: Array) -> Array:
        check(*parts)
        for part in parts:
            check_shape((len(parts[0]), part.shape[1]), part)
        widths = [part.shape[1] for part in parts]
        out = self.device.empty((len(parts[0]), sum(widths)))
        for part, end in zip(parts, accumulate(widths), strict=True):
            self.copy(part, end - part.shape[1], out)
        return out

    # ----- number by number -----

    def add(self, a: Array, b: Array, factor: float) -> Array:
        check(a, b)
        check_shape(a.shape, b)
        return self.alike("add", a, b, factor)

    def scale(self, a: Array, factor: float) -> Array:
        check(a)
        return self.alike("scale", a, factor)

    def rescale(self, a: Array, like: Array, deviation: float, power: float) -> Array:
        check(a, like)
        mean = self.total(like, 1 / like.size)
        variance = self.total(self.alike("deviations", like, mean), 1 / like.size)
        return self.alike("rescale", a, variance, deviation, power)

    def sign(self, a: Array) -> Array:
        check(a)
        return self.alike("sign", a)

    def blend(self, mask: Array, a: Array, b: Array) -> Array:
        check(mask, a, b)
        check_shape(mask.shape, a, b)
        return self.alike("blend", mask, a, b)

    def shift(self, x: Array, moves: Array, shape: tuple[int, ...]) -> Array:
        check(x)
        check_shape((len(x), prod(shape)), x)
        check_shape((len(x), 2), moves)
        height, width, *channels = shape
        out = self.device.empty(x.shape)
        self.each("shift", x.size, x, self.put(moves.astype(np.int64)), height, width, prod(channels), out)
        return out

    # ----- dense layers -----

    def dense(self, x: Array, W: Array, b: Array | None, activation: str) -> Array:
        z, _ = self.layer(x, W, b, FLOORS[activation], squares=False)
        return self.alike("activate", z, ACTIVATIONS[activation]) if activation == "tanh" else z

    def dense_squares(self, x: Array, W: Array, b: Array | None, activation: str) -> tuple[Array, Array]:
        if activation == "tanh":  # it is not part of the product
            h = self.dense(x, W, b, activation)
            return h, self.sum_squares(h)
        return self.layer(x, W, b, FLOORS[activation], squares=True)

    def layer(self, x: Array, W: Array, b: Array | None, floor: float, squares: bool) -> tuple[Array, Any]:
        """max(x W + b, floor), and of each row its sum of squares, if wanted."""
        check(x, W, b)
        check_shape((len(x), len(W)), x)
        check_shape(W.shape[1:], b)
        h = self.device.empty((len(x), W.shape[1]))
        return h, self.product("nn", x, W, h, bias=b, floor=floor, squares=squares)

    def gate(self, delta: Array, h: Array, activation: str) -> Array:
        check(delta, h)
        check_shape(delta.shape, h)
        return self.alike("gate", delta, h, ACTIVATIONS[activation])

    def project(self, delta: Array, M: Array) -> Array:
        check(delta, M)
        check_shape((len(delta), M.shape[1]), delta)
        out = self.device.empty((len(delta), len(M)))
        self.product("nt", delta, M, out)
        return out

    def patch(self, z: Array, x: Array, to: Array, W: Array, columns: Array) -> Array:
        check(z, x, to, W)
        check_shape((len(x), len(W)), x, to)
        check_shape((len(x), W.shape[1]), z)
        out = self.device.empty(z.shape)
        self.each("patch", out.size, z, x, to, W, self.indices(columns, len(W)), out)
        return out

    def activate(
        self, z: Array, factor: Array | None, rows: Array | None, labels: Array | None, b: Array | None, activation: str
    ) -> tuple[Array, Array]:
        check(z, factor, rows, b)
        check_shape(z.shape[:1], factor, labels)
        check_shape(z.shape[1:], b)
        if (rows is None) != (labels is None):
            raise ValueError("rows and labels come together or not at all")
        if rows is None:
            rows, labels = self.device.empty((0, z.shape[1])), self.device.empty((0,), np.int64)
        check_labels(labels)
        check_shape((len(rows), z.shape[1]), rows)
        factor, b = (self.nothing if a is None else a for a in (factor, b))
        h, squares = self.device.empty(z.shape), self.device.empty(z.shape[:1])
        self.launch("activate_rows", z.shape[:1], z, factor, rows, labels, b, ACTIVATIONS[activation], h, squares)
        return h, squares

    def dropout(self, h: Array, rate: float, key: int) -> Array:
        check(h)
        return self.alike("dropout", h, ceil(rate * 2**32), key, 1 - rate)

    # ----- classes -----

    def one_hot(self, y: Array, classes: int, value: float, like: Array) -> Array:
        check(like)
        check_labels(y)
        out = self.device.empty((len(y), classes))
        self.each("one_hot", len(y), y, value, out)
        return out

    def softmax(self, z: Array) -> Array:
        check(z)
        out = self.device.empty(z.shape)
        self.each("softmax", len(z), z, out)
        return out

    def softmax_error(self, z: Array, y: Array) -> tuple[Array, Number]:
        check(z)
        check_labels(y)
        check_shape(z.shape[:1], y)
        e, loss = self.device.empty(z.shape), self.device.empty(y.shape)
        self.each("softmax_error", len(z), z, y, e, loss)
        return e, self.mean(loss)

    def draw_wrong(self, z: Array, y: Array, u: Array) -> Array:
        check(z)
        check_labels(y)
        check_shape(z.shape[:1], y, u)
        drawn = self.device.empty(y.shape, np.int64)
        self.each("draw_wrong", len(z), z, y, self.put(rounded_down(u)), drawn)
        return drawn

    def agreement(self, a: Array, b: Array) -> Number:
        check_labels(a, b)
        check_shape(a.shape, b)
        return self.mean(self.alike("agree", a, b))

    def mean(self, x: Array) -> Number:
        """Of a row of numbers; 0 if there are none."""
        return self.total(x, 1 / max(len(x), 1))

    # ----- Forward-Forward -----

    def overlay(self, x: Array, Y: Array) -> Array:
        check(x, Y)
        check_shape((len(x), min(x.shape[1], Y.shape[1])), Y)
        out = self.device.empty(x.shape)
        self.copy(x, 0, out)
        self.copy(Y, 0, out)
        return out

    def normalise(self, h: Array, root: float, tiny: float) -> Array:
        check(h)
        out = self.device.empty(h.shape)
        self.launch("normalise", h.shape[:1], h, root, tiny, out)
        return out

    def inverse_norm(self, squares: Array, more: float, root: float, tiny: float) -> Array:
        check(squares)
        return self.alike("inverse_norm", squares, more, root, tiny)

    def normalise_batch(self, h: Array) -> Array:
        return self.alike("divide", h, self.total(self.sum_squares(h), 1.0))

    def sum_squares(self, h: Array) -> Array:
        check(h)
        out = self.device.empty(h.shape[:1])
        self.launch("sum_squares", h.shape[:1], h, out)
        return out

    def goodness_signal(
        self, h: Array, squares: Array, positive: Array, theta: Array, share: float, least: float
    ) -> tuple[Array, Number]:
        check(h, squares, positive, theta)
        check_shape(h.shape[:1], squares, positive, theta)
        post, loss = self.device.empty(h.shape), self.device.empty(h.shape[:1])
        self.launch("goodness_signal", h.shape[:1], h, squares, positive, theta, share, least, post, loss)
        return post, self.mean(loss)

    def peer_signal(self, mean: Array, h: Array, keep: float, strength: float) -> tuple[Array, Array]:
        check(mean, h)
        check_shape(h.shape[1:], mean)
        m = self.column_sums(h, (1 - keep) / len(h), mean, keep, self.device.empty(mean.shape))
        post = self.device.empty((1, len(mean)))
        self.launch("centre", (1,), m, strength, flat(post))
        return m, post

    # ----- from signals to a step -----

    def gradient(self, layer: Layer, pairs: list[Pair], rows: int) -> Layer:
        check_step([layer], pairs, check)
        W, b = layer
        change = self.device.empty(W.shape), None if b is None else self.device.empty(b.shape)
        self.change(change, pairs, 1 / rows, 0.0)
        return change

    def momentum_step(self, layer: Layer, velocity: Layer, pairs: list[Pair], rows: int, c: Momentum) -> Number:
        check_step([layer, velocity], pairs, check)
        self.change(velocity, pairs, c.gain / rows, c.keep)
        return self.step("momentum", [layer, velocity], [(c.gain * l2, decay, c.rate) for l2, decay in decays(c)])

    def adam_step(self, layer: Layer, first: Layer, second: Layer, pairs: list[Pair], rows: int, c: Adam) -> Number:
        check_step([layer, first, second], pairs, check)
        betas = c.beta1, 1 - c.beta1, c.beta2, 1 - c.beta2
        scalars = *betas, c.correct1, c.correct2, c.epsilon, c.rate
        gradient = self.gradient(layer, pairs, rows)
        return self.step("adam", [layer, first, second, gradient], [(*scalars, decay, l2) for l2, decay in decays(c)])

    def change(self, layer: Layer, pairs: list[Pair], factor: float, keep: float) -> None:
        """W <- keep W + factor sum_k pre_k^T post_k, and b likewise with the sums of the posts; keep = 0 reads no W."""
        W, b = layer
        for pre, post in pairs:
            if b is not None:
                self.column_sums(post, factor * len(pre) / max(len(post), 1), b, keep, b)
            if len(post) != len(pre):  # a post of one row meets the sum of `pre`
                pre = self.column_sums(pre, 1.0, self.nothing, 0.0, self.device.empty((W.shape[0],))).reshape(1, len(W))
            self.product("tn", pre, post, W, alpha=factor, beta=keep)
            keep = 1.0

    def step(self, name: str, layers: Sequence[Layer], scalars: Sequence[tuple[float, ...]]) -> Number:
        """Steps the weights and the biases with their memory, each with its scalars; the sum of squares of what they become."""
        parts = [(*map(flat, part), *numbers) for part, numbers in zip(zip(*layers, strict=True), scalars, strict=True)
                 if part[0] is not None]
        counts = [shares(w.size) for w, *_ in parts]
        squares = self.device.empty((sum(counts),))
        for part, blocks, end in zip(parts, counts, accumulate(counts), strict=True):
            self.launch(name, (blocks,), *part, squares[end - blocks : end])
        return self.total(squares, 1.0)


def check(*arrays: Array | None) -> None:
    """Raises TypeError unless all arrays are float32. A None is left out."""
    for a in arrays:
        if a is not None and a.dtype != np.float32:
            raise TypeError(f"the CUDA backend computes in float32, not {a.dtype}")


def check_labels(*arrays: Array) -> None:
    """Raises TypeError unless all arrays are int64."""
    for a in arrays:
        if a.dtype != np.int64:
            raise TypeError(f"labels are int64, not {a.dtype}")


def rounded_down(u: np.ndarray) -> np.ndarray:
    """In float32, and nowhere larger: what is below 1 stays there."""
    near = u.astype(np.float32)
    return np.where(near > u, np.nextafter(near, np.float32(-np.inf)), near)


def decays(c: Momentum | Adam) -> list[tuple[float, float]]:
    """(l2, decay) for the weights and for the biases."""
    return [(c.l2, c.decay), (c.l2, c.decay) if c.decay_biases else (0.0, 0.0)]
