"""One block of threads a row: each thread takes every 128th number, and what they found is added up in shared memory."""

import math

from .classes import NAN, exists
from .language import cuda, float32, int64, uint32
from .pointwise import ONE, TWO, ZERO, activity

THREADS = 128  # of a block: a power of two


@cuda.jit(device=True)
def block_sum(value):
    """The sum of one value a thread, for all threads: a tree, always the same one. At most once a kernel."""
    part = cuda.shared.array(THREADS, float32)
    t = uint32(cuda.threadIdx.x)
    part[t] = value
    cuda.syncthreads()
    half = uint32(THREADS // 2)
    while half > uint32(0):
        if t < half:
            part[t] += part[t + half]
        cuda.syncthreads()
        half >>= uint32(1)
    return part[0]


@cuda.jit(device=True)
def row_squares(h, i):
    """sum_j h_ij^2, for all threads."""
    total, j = ZERO, uint32(cuda.threadIdx.x)
    while j < uint32(h.shape[1]):
        total += h[i, j] * h[i, j]
        j += uint32(THREADS)
    return block_sum(total)


def sum_squares(h, out):
    """sum_j h_ij^2."""
    i = uint32(cuda.blockIdx.x)
    squares = row_squares(h, i)
    if cuda.threadIdx.x == 0:
        out[i] = squares


def normalise(h, root, tiny, out):
    """h / (|h| / root + tiny); a zero row stays."""
    i, j = uint32(cuda.blockIdx.x), uint32(cuda.threadIdx.x)
    squares = row_squares(h, i)
    norm = ONE if squares == ZERO else math.sqrt(squares) / root + tiny
    while j < uint32(h.shape[1]):
        out[i, j] = h[i, j] / norm
        j += uint32(THREADS)


def activate(z, factor, rows, labels, b, activation, h, squares):
    """h_i = f(factor_i (z_i + rows[labels_i]) + b) and its sum of squares. What is empty is left out; NaN for a label that does
    not exist."""
    i, j, total = uint32(cuda.blockIdx.x), uint32(cuda.threadIdx.x), ZERO
    told, biased = uint32(labels.shape[0]) > uint32(0), uint32(b.shape[0]) > uint32(0)
    times = factor[i] if uint32(factor.shape[0]) > uint32(0) else ONE
    label, otherwise = (labels[i], NAN) if told else (int64(-1), ZERO)
    known = exists(label, rows.shape[0])
    while j < uint32(z.shape[1]):
        added = rows[uint32(label), j] if known else otherwise
        h[i, j] = activity(times * (z[i, j] + added) + (b[j] if biased else ZERO), activation)
        total += h[i, j] * h[i, j]
        j += uint32(THREADS)
    total = block_sum(total)
    if cuda.threadIdx.x == 0:
        squares[i] = total


def goodness_signal(h, squares, positive, theta, share, least, post, loss):
    """(p - t) share h with p = sigmoid(share squares - theta), zeros where |p - t| <= least; and, per row,
    softplus((1 - 2 t) (share squares - theta))."""
    i, j = uint32(cuda.blockIdx.x), uint32(cuda.threadIdx.x)
    sign = ONE - TWO * positive[i]
    margin = sign * (share * squares[i] - theta[i])  # to the wrong side
    small = math.exp(-abs(margin))  # never overflows
    weight = (ONE if margin >= ZERO else small) / (ONE + small)  # |p - t|
    if j == uint32(0):
        loss[i] = max(margin, ZERO) + math.log1p(small)
    while j < uint32(h.shape[1]):
        post[i, j] = ZERO if weight <= least else sign * weight * share * h[i, j]
        j += uint32(THREADS)


def total(x, factor, out):
    """factor times the sum of each block's share of x; of what the blocks of one launch find, a second makes the sum of all."""
    found, i = ZERO, uint32(cuda.grid(1))
    while i < uint32(x.shape[0]):
        found += x[i]
        i += uint32(cuda.gridsize(1))
    found = block_sum(found)
    if cuda.threadIdx.x == 0:
        out[uint32(cuda.blockIdx.x)] = factor * found
