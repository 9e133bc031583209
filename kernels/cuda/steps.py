"""From signals to a step: each weight and its memory are read once and written once."""

import math

from .language import cuda, float32, uint32
from .pointwise import ZERO
from .rows import THREADS, block_sum

WIDTH, HEIGHT = 32, 8  # of a block that adds up columns: powers of two


def column_sums(h, factor, old, beta, out):
    """out_j = beta old_j + factor sum_i h_ij; with beta 0, `old` is not read.

    A block has 8 threads for each of 32 columns: thread (x, y) takes every 8th row from y on of column x.
    """
    part = cuda.shared.array((HEIGHT, WIDTH), float32)
    x, y = uint32(cuda.threadIdx.x), uint32(cuda.threadIdx.y)
    j, i, total = uint32(cuda.blockIdx.x) * uint32(WIDTH) + x, y, ZERO
    if j < uint32(h.shape[1]):
        while i < uint32(h.shape[0]):
            total += h[i, j]
            i += uint32(HEIGHT)
    part[y, x] = total
    half = uint32(HEIGHT // 2)
    while half > uint32(0):
        cuda.syncthreads()
        if y < half:
            part[y, x] += part[y + half, x]
        half >>= uint32(1)
    if y == uint32(0) and j < uint32(h.shape[1]):
        before = ZERO if beta == ZERO else beta * old[j]
        out[j] = before + factor * part[uint32(0), x]


def centre(m, strength, out):
    """strength (m - its mean); one block."""
    found, j = ZERO, uint32(cuda.threadIdx.x)
    while j < uint32(m.shape[0]):
        found += m[j]
        j += uint32(THREADS)
    mean = block_sum(found) / float32(m.shape[0])
    j = uint32(cuda.threadIdx.x)
    while j < uint32(m.shape[0]):
        out[j] = strength * (m[j] - mean)
        j += uint32(THREADS)


def momentum(w, v, l2, decay, rate, squares):
    """v <- v + l2 w;  w <- (1 - decay) w - rate v;  of each block the sum of w^2."""
    total, i = ZERO, uint32(cuda.grid(1))
    while i < uint32(w.shape[0]):
        old, velocity = w[i], v[i]
        if l2 != ZERO:
            velocity += l2 * old
            v[i] = velocity
        new = old - decay * old - rate * velocity
        w[i] = new
        total += new * new
        i += uint32(cuda.gridsize(1))
    total = block_sum(total)
    if cuda.threadIdx.x == 0:
        squares[uint32(cuda.blockIdx.x)] = total


def adam(w, m, s, g, beta1, fresh1, beta2, fresh2, correct1, correct2, epsilon, rate, decay, l2, squares):
    """`contract.Adam` with fresh = 1 - beta (in float32, 1 - 0.999 is off by 5e-5); of each block the sum of w^2."""
    total, i = ZERO, uint32(cuda.grid(1))
    while i < uint32(w.shape[0]):
        old = w[i]
        d = g[i] + l2 * old
        first = beta1 * m[i] + fresh1 * d
        second = beta2 * s[i] + fresh2 * d * d
        new = old - decay * old - rate * (first / correct1 / (math.sqrt(second / correct2) + epsilon))
        m[i], s[i], w[i] = first, second, new
        total += new * new
        i += uint32(cuda.gridsize(1))
    total = block_sum(total)
    if cuda.threadIdx.x == 0:
        squares[uint32(cuda.blockIdx.x)] = total
