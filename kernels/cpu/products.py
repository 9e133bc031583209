"""All that multiplies matrices. Each kernel cuts its result into as many slabs as there are threads; a thread takes a slab
through BLAS and on through bias, activation, momentum and step, while its numbers are still in its cache. Beside each `slab`
stands the loop that takes all of them at once; `share` chooses it where there is enough to do, and only then it is compiled.

Caches of compiled code know only the file that a function stands in, so all that compiles `gemm` in stands here.
"""

import ctypes
import importlib

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.extending import get_cython_function_address, intrinsic, overload

from ..checks import check, check_shape, check_step
from ..contract import Adam, Array, Layer, Momentum, Pair
from .compiling import exact, parallel, part
from .loops import FLOORS, scalars, speaks, sum_squares
from .threads import share, slabs

# ----- BLAS, from within compiled loops -----


def address(name: str) -> int:
    """Where a BLAS routine stands in this process: in the library that NumPy brought along, or else in SciPy's."""
    core = "numpy.core" if np.__version__.startswith("1.") else "numpy._core"
    library = ctypes.CDLL(importlib.import_module(f"{core}._multiarray_umath").__file__)
    for symbol in (f"scipy_{name}_64_", f"{name}_64_", f"{name}_"):
        if hasattr(library, symbol):
            return ctypes.cast(getattr(library, symbol), ctypes.c_void_p).value or 0
    return get_cython_function_address("scipy.linalg.cython_blas", name)


GEMM = {np.dtype(np.float32): address("sgemm"), np.dtype(np.float64): address("dgemm")}


def gemm(address, alpha, a, b, beta, out, ta, tb):
    """out <- alpha op(a) op(b) + beta out; rows may lie apart, the numbers of a row may not. `address` comes from GEMM."""
    before = beta * out if beta else 0  # what has never been written may be NaN
    out[:] = alpha * np.dot(a.T if ta else a, b.T if tb else b) + before


@overload(gemm)
def by_blas(address, alpha, a, b, beta, out, ta, tb):
    """BLAS is column-major, so it is asked for the transpose: out^T = op(b)^T op(a)^T."""
    def call(address, alpha, a, b, beta, out, ta, tb):
        k, size = a.shape[0] if ta else a.shape[1], out.itemsize
        apart = max(b.strides[0] // size, b.shape[1]), max(a.strides[0] // size, a.shape[1])  # one row may lie anywhere
        # of 8 bytes each, the lower ones first: whoever reads only 4 finds the same number
        sizes = np.array([out.shape[1], out.shape[0], k, *apart, max(out.strides[0] // size, out.shape[1])], np.int64)
        factors, ops = np.array([alpha, beta], out.dtype), np.array([84 if tb else 78, 84 if ta else 78], np.uint8)  # T, N
        n, f, op = sizes.ctypes.data, factors.ctypes.data, ops.ctypes.data
        if out.size:
            call_c(address, (op, op + 1, n, n + 8, n + 16, f, b.ctypes.data, n + 24, a.ctypes.data, n + 32,
                             f + size, out.ctypes.data, n + 40))
        sizes[0], factors[0], ops[0] = 0, 0, 0  # an array lives up to where it is last named, not as long as its address
    return call


@intrinsic
def call_c(context, address, pointers):
    """Calls the C function that stands at `address`. An address compiled in would outlive its process in the cache."""
    def generate(context, builder, signature, args):
        pointer = ir.IntType(8).as_pointer()
        function = ir.FunctionType(ir.VoidType(), [pointer] * len(pointers)).as_pointer()
        given = [builder.inttoptr(builder.extract_value(args[1], i), pointer) for i in range(len(pointers))]
        builder.call(builder.inttoptr(args[0], function), given)
        return context.get_dummy_value()
    return types.void(types.uintp, pointers), generate


@part
def plus_square(total, a):
    return total + a * a


@part
def cut(s, n, size):
    """Where slab s of n begins: at a multiple of 16, which is what the processor multiplies at once."""
    return size if s == n else s * size // n // 16 * 16


@part
def product_slab(s, n, address, alpha, a, b, beta, out, ta, tb):
    """As `gemm`, some columns."""
    lo, hi = cut(s, n, out.shape[1]), cut(s + 1, n, out.shape[1])
    if tb:
        gemm(address, alpha, a, b[lo:hi], beta, out[:, lo:hi], ta, tb)
    else:
        gemm(address, alpha, a, b[:, lo:hi], beta, out[:, lo:hi], ta, tb)


@parallel
def product(n, address, alpha, a, b, beta, out, ta, tb):
    for s in prange(n):
        product_slab(np.int64(s), n, address, alpha, a, b, beta, out, ta, tb)


def multiply(
    a: Array, b: Array, out: Array, alpha: float = 1.0, beta: float = 0.0, ta: bool = False, tb: bool = False
) -> Array:
    """out <- alpha op(a) op(b) + beta out. Raises ValueError for shapes that do not fit."""
    left, right = a.shape[::-1] if ta else a.shape, b.shape[::-1] if tb else b.shape
    if left[1] != right[0] or out.shape != (left[0], right[1]):
        raise ValueError(f"the product of {left} and {right} does not fit {out.shape}")
    work, (alpha, beta) = left[1] * out.size, scalars(out, alpha, beta)
    share(work, product_slab, product, GEMM[out.dtype], alpha, a, b, beta, out, ta, tb)
    return out


# ----- dense layers -----

def dense(x: Array, W: Array, b: Array | None, activation: str) -> Array:
    return dense_squares(x, W, b, activation)[0]


def dense_squares(x: Array, W: Array, b: Array | None, activation: str) -> tuple[Array, Array]:
    check(x, W, b)
    check_shape(W.shape[1:], b)
    check_shape((len(x), len(W)), x)
    n, h = slabs(), np.empty((len(x), W.shape[1]), x.dtype)
    parts = np.zeros((n, len(x)), x.dtype)
    b = np.zeros(W.shape[1], W.dtype) if b is None else b
    share(len(x) * W.size, answer_slab, answer, GEMM[x.dtype], x, W, b, *scalars(x, FLOORS[activation]), h, parts)
    if activation == "tanh":
        return np.tanh(h, out=h), sum_squares(h)
    return h, parts[0] if n == 1 else parts.sum(axis=0)


@part
def answer_slab(s, n, address, x, W, b, floor, h, parts):
    """h = max(x W + b, floor), some columns, and of these the sum of squares of every row: parts[s], (B,)."""
    lo, hi = cut(s, n, W.shape[1]), cut(s + 1, n, W.shape[1])
    gemm(address, x.dtype.type(1), x, W[:, lo:hi], x.dtype.type(0), h[:, lo:hi], False, False)
    for i in range(h.shape[0]):
        row, biases, total = h[i, lo:hi], b[lo:hi], h.dtype.type(0)
        for j in range(row.size):  # from 0: where an index might be negative, nothing is vectorised
            a = row[j] + biases[j]
            row[j] = floor if a <= floor else a  # a NaN stays
            total += row[j] * row[j]
        parts[s, i] = total


@parallel
def answer(n, address, x, W, b, floor, h, parts):
    for s in prange(n):
        answer_slab(np.int64(s), n, address, x, W, b, floor, h, parts)


def project(delta: Array, M: Array) -> Array:
    check(delta, M)
    return multiply(delta, M, np.empty((len(delta), len(M)), delta.dtype), tb=True)


def patch(z: Array, x: Array, to: Array, W: Array, columns: Array) -> Array:
    check(z, x, to, W)
    check_shape(x.shape, to)
    change = np.subtract(to[:, columns], x[:, columns], order="C")  # columns that are picked out come by columns
    return multiply(change, W[columns], z.copy(), beta=1.0)


# ----- from signals to a step -----

CACHED = 2**17  # numbers of a gradient at a time: 512 kB in float32
MOVE = 32  # what it takes to move a weight and its memory, in multiply-adds


def stack(pairs: list[Pair]) -> tuple[Array, Array, Array]:
    """The pairs as one, `pre (n, I)` and `post (n, O)` without silent rows, and the sum of all posts (O,)."""
    heard = [audible(*pair) for pair in pairs]
    total = sum(times * post.sum(axis=0) for _, post, times in heard)
    if len(heard) == 1:
        return *heard[0][:2], total
    return np.concatenate([pre for pre, _, _ in heard]), np.concatenate([post for _, post, _ in heard]), total


def audible(pre: Array, post: Array) -> tuple[Array, Array, int]:
    """The pair without the rows whose post is all zero, and how often each post counts: one that is sent to all rows of
    `pre` meets their sum."""
    if len(post) == 1:
        return np.ones((1, len(pre)), pre.dtype) @ pre, post, len(pre)
    rows = np.flatnonzero(speaks(post))
    return (pre, post, 1) if len(rows) == len(post) else (pre.take(rows, axis=0), post.take(rows, axis=0), 1)


def gradient(layer: Layer, pairs: list[Pair], rows: int) -> Layer:
    check_step([layer], pairs)
    W, b = layer
    pre, post, total = stack(pairs)
    dW = multiply(pre, post, np.empty_like(W), 1 / rows, ta=True)
    return dW, None if b is None else (total / rows).astype(W.dtype)


def momentum_step(layer: Layer, velocity: Layer, pairs: list[Pair], rows: int, c: Momentum) -> float:
    check_step([layer, velocity], pairs)
    (W, b), (v, u) = layer, velocity
    pre, post, total = stack(pairs)
    coefficients = scalars(W, c.gain / rows, c.keep, c.gain * c.l2, c.decay, c.rate)
    parts = np.zeros(slabs())
    share((len(pre) + MOVE) * W.size, momentum_slab, momentum, GEMM[W.dtype], W, v, pre, post, coefficients, parts)
    squares = parts.sum()
    if b is not None:
        l2, decay = (c.l2, c.decay) if c.decay_biases else (0.0, 0.0)
        g = (c.gain / rows * total).astype(b.dtype)
        squares += momentum_each(b, u, g, *scalars(b, c.keep, c.gain * l2, decay, c.rate))
    return float(squares)


@part
def momentum_slab(s, n, address, W, v, pre, post, c, parts):
    """One velocity step of some rows of W, and the sum of their squares: parts[s]. It goes through them a few at a time, so
    that their gradient stays in the cache."""
    start, stop = cut(s, n, W.shape[0]), cut(s + 1, n, W.shape[0])
    some = max(1, CACHED // W.shape[1], 2 * len(pre))  # for each of these parts BLAS packs post anew
    g = np.empty((min(some, stop - start), W.shape[1]), W.dtype)
    for lo in range(start, stop, some):
        hi = min(lo + some, stop)
        gemm(address, c[0], pre[:, lo:hi], post, W.dtype.type(0), g[: hi - lo], True, False)
        parts[s] += momentum_each(W[lo:hi].reshape(-1), v[lo:hi].reshape(-1), g.reshape(-1), *c[1:])


@parallel
def momentum(n, address, W, v, pre, post, c, parts):
    for s in prange(n):
        momentum_slab(np.int64(s), n, address, W, v, pre, post, c, parts)


@exact
def momentum_each(w, v, g, keep, l2, decay, rate):
    """v <- keep v + g + l2 w;  w <- (1 - decay) w - rate v;  returns sum w^2."""
    squares = w.dtype.type(0)
    for i in range(w.size):
        v[i] = keep * v[i] + g[i] + l2 * w[i]
        w[i] = w[i] - decay * w[i] - rate * v[i]
        squares = plus_square(squares, w[i])
    return squares


def adam_step(layer: Layer, first: Layer, second: Layer, pairs: list[Pair], rows: int, c: Adam) -> float:
    check_step([layer, first, second], pairs)
    (W, b), (m, m_b), (s, s_b) = layer, first, second
    pre, post, total = stack(pairs)
    betas = scalars(W, c.beta1, 1 - c.beta1, c.beta2, 1 - c.beta2)  # in float32, 1 - 0.999 is off by 5e-5
    step = scalars(W, 1 / c.correct1, 1 / c.correct2, c.epsilon, c.rate)
    coefficients, parts = (*scalars(W, 1 / rows), *betas, *step, *scalars(W, c.decay, c.l2)), np.zeros(slabs())
    share((len(pre) + MOVE) * W.size, adam_slab, adam, GEMM[W.dtype], W, m, s, pre, post, coefficients, parts)
    squares = parts.sum()
    if b is not None:
        decays = (c.decay, c.l2) if c.decay_biases else (0.0, 0.0)
        g = (total / rows).astype(b.dtype)
        squares += adam_each(b, m_b, s_b, g, *betas, *step, *scalars(b, *decays))
    return float(squares)


@part
def adam_slab(slab, n, address, W, m, s, pre, post, c, parts):
    """One Adam step of some rows of W, as `momentum_slab`."""
    start, stop = cut(slab, n, W.shape[0]), cut(slab + 1, n, W.shape[0])
    some = max(1, CACHED // W.shape[1], 2 * len(pre))  # for each of these parts BLAS packs post anew
    g = np.empty((min(some, stop - start), W.shape[1]), W.dtype)
    for lo in range(start, stop, some):
        hi = min(lo + some, stop)
        gemm(address, c[0], pre[:, lo:hi], post, W.dtype.type(0), g[: hi - lo], True, False)
        parts[slab] += adam_each(W[lo:hi].reshape(-1), m[lo:hi].reshape(-1), s[lo:hi].reshape(-1), g.reshape(-1), *c[1:])


@parallel
def adam(n, address, W, m, s, pre, post, c, parts):
    for slab in prange(n):
        adam_slab(np.int64(slab), n, address, W, m, s, pre, post, c, parts)


@exact
def adam_each(w, m, s, g, beta1, fresh1, beta2, fresh2, more1, more2, epsilon, rate, decay, l2):
    """m <- beta1 m + fresh1 d;  s <- beta2 s + fresh2 d^2, d = g + l2 w;  returns sum w^2."""
    squares = w.dtype.type(0)
    for i in range(w.size):
        d = g[i] + l2 * w[i]
        m[i] = beta1 * m[i] + fresh1 * d
        s[i] = beta2 * s[i] + fresh2 * d * d
        step = more1 * m[i] / (np.sqrt(more2 * s[i]) + epsilon)
        w[i] = w[i] - decay * w[i] - rate * step
        squares = plus_square(squares, w[i])
    return squares
