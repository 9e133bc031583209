"""One thread for each number of the answer: it finds out which one is its own, computes it, and is done.

The grid has whole blocks only, so the last threads may find nothing to do. An array comes as one row of numbers, and as a
matrix where the number's row or column counts.
"""

import math

from .language import cuda, float32, int64, uint32, uint64

ZERO, ONE, TWO = float32(0), float32(1), float32(2)
ACTIVATIONS = {"linear": 0, "relu": 1, "tanh": 2}
RELU, TANH = uint32(ACTIVATIONS["relu"]), uint32(ACTIVATIONS["tanh"])


@cuda.jit(device=True)
def thread():
    """The number of this thread in the whole grid."""
    return uint32(cuda.grid(1))


@cuda.jit(device=True)
def place(width):
    """The row and the column of this thread's number in a matrix of this width."""
    n = thread()
    return uint32(n // width), uint32(n % width)


# ----- number by number -----


def add(a, b, factor, out):
    """a + factor b."""
    i = thread()
    if i < uint32(out.shape[0]):
        out[i] = a[i] + factor * b[i]


def scale(a, factor, out):
    """factor a."""
    i = thread()
    if i < uint32(out.shape[0]):
        out[i] = factor * a[i]


def rescale(a, variance, deviation, power, out):
    """(deviation / sqrt(variance))^power a, the variance a number on the device."""
    i = thread()
    if i < uint32(out.shape[0]):
        out[i] = (deviation / math.sqrt(variance[0])) ** power * a[i]


def deviations(a, mean, out):
    """(a - mean)^2, the mean a number on the device."""
    i = thread()
    if i < uint32(out.shape[0]):
        deviation = a[i] - mean[0]
        out[i] = deviation * deviation


def divide(a, squares, out):
    """a / sqrt(squares), the sum of squares a number on the device; zeros stay."""
    i = thread()
    if i < uint32(out.shape[0]):
        out[i] = a[i] if squares[0] == ZERO else a[i] / math.sqrt(squares[0])


def inverse_norm(squares, more, root, tiny, out):
    """1 / (sqrt(s + more) / root + tiny), 1 where s + more is 0."""
    i = thread()
    if i < uint32(out.shape[0]):
        norm = math.sqrt(squares[i] + more)
        out[i] = ONE if norm == ZERO else ONE / (norm / root + tiny)


def sign(a, out):
    """-1, 0 or 1."""
    i = thread()
    if i < uint32(out.shape[0]):
        x = a[i]
        out[i] = ONE if x > ZERO else -ONE if x < ZERO else x  # a NaN stays


def blend(mask, a, b, out):
    """a where the mask is 1, b where it is 0."""
    i = thread()
    if i < uint32(out.shape[0]):
        out[i] = b[i] if mask[i] == ZERO else a[i]


def agree(a, b, out):
    """1 where two labels are the same, else 0."""
    i = thread()
    if i < uint32(out.shape[0]):
        out[i] = ONE if a[i] == b[i] else ZERO


# ----- numbers that move -----


def take(a, rows, out):
    """out_ij = a_rj with r = rows_i."""
    i, j = place(uint32(out.shape[1]))
    if i < uint32(out.shape[0]):
        out[i, j] = a[uint32(rows[i]), j]


def copy(a, column, out):
    """out_i,column+j = a_ij."""
    i, j = place(uint32(a.shape[1]))
    if i < uint32(a.shape[0]):
        out[i, column + j] = a[i, j]


def shift(x, moves, height, width, channels, out):
    """out_i(row, column) = x_i(row - down, column - right), and 0 where that lies outside of the image."""
    i, j = place(uint32(out.shape[1]))
    if i < uint32(out.shape[0]):
        pixel, channel = uint32(j // channels), uint32(j % channels)
        row = int64(pixel // width) - moves[i, 0]
        column = int64(pixel % width) - moves[i, 1]
        inside = int64(0) <= row < int64(height) and int64(0) <= column < int64(width)
        out[i, j] = x[i, uint32((uint32(row) * width + uint32(column)) * channels + channel)] if inside else ZERO


# ----- layers -----


@cuda.jit(device=True)
def activity(z, activation):
    """f(z)."""
    if activation == RELU:
        return ZERO if z <= ZERO else z  # a NaN stays
    return math.tanh(z) if activation == TANH else z


@cuda.jit(device=True)
def slope(h, activation):
    """f'(z), from h = f(z)."""
    if activation == RELU:
        return ONE if h > ZERO else ZERO
    return ONE - h * h if activation == TANH else ONE


def activate(z, activation, out):
    """f(z)."""
    i = thread()
    if i < uint32(out.shape[0]):
        out[i] = activity(z[i], activation)


def gate(delta, h, activation, out):
    """delta f'(z), from h = f(z)."""
    i = thread()
    if i < uint32(out.shape[0]):
        out[i] = delta[i] * slope(h[i], activation)


def patch(z, x, to, W, columns, out):
    """z_ij + sum_s (to_is - x_is) W_sj over the columns s."""
    i, j = place(uint32(out.shape[1]))
    if i < uint32(out.shape[0]):
        total, k = z[i, j], uint32(0)
        while k < uint32(columns.shape[0]):
            s = uint32(columns[k])
            total += (to[i, s] - x[i, s]) * W[s, j]
            k += uint32(1)
        out[i, j] = total


@cuda.jit(device=True)
def hash32(i, key):
    """32 well-mixed bits of (key, i), those of `reference.hash32`."""
    x = uint32(i * uint32(0x9E3779B9) + key)
    x = uint32((x ^ (x >> uint32(16))) * uint32(0x7FEB352D))
    x = uint32((x ^ (x >> uint32(15))) * uint32(0x846CA68B))
    return x ^ (x >> uint32(16))


def dropout(h, threshold, key, kept, out):
    """h / kept where the hash reaches the threshold; that is 64 bits wide since it may be 2^32."""
    i = thread()
    if i < uint32(out.shape[0]):
        out[i] = h[i] / kept if uint64(hash32(i, key)) >= threshold else ZERO
