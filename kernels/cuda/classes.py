"""One thread a row, for there are few classes. A label that does not exist makes a row of NaN."""

import math

from .language import cuda, float32, int64, uint32
from .pointwise import ONE, ZERO, thread

NAN = float32(math.nan)


@cuda.jit(device=True)
def exists(label, classes):
    return int64(0) <= label < int64(classes)


def one_hot(y, value, out):
    """Y_ic = value [y_i = c]."""
    i, classes = thread(), uint32(out.shape[1])
    if i < uint32(out.shape[0]):
        others = ZERO if exists(y[i], classes) else NAN
        for c in range(classes):
            out[i, c] = value if int64(c) == y[i] else others


@cuda.jit(device=True)
def softmax_row(z, i, out):
    """out_ic = exp(z_ic - max_c z_ic) / their sum; returns that maximum and that sum."""
    classes = uint32(z.shape[1])
    largest, total = z[i, uint32(0)], ZERO
    for c in range(classes):
        largest = max(largest, z[i, c])
    for c in range(classes):
        out[i, c] = math.exp(z[i, c] - largest)
        total += out[i, c]
    for c in range(classes):
        out[i, c] /= total
    return largest, total


def softmax(z, out):
    """exp(z_ic) / sum_c exp(z_ic), without overflow."""
    i = thread()
    if i < uint32(out.shape[0]):
        softmax_row(z, i, out)


def softmax_error(z, y, e, loss):
    """e = P - Y and -log P[y] of each row."""
    i, classes = thread(), uint32(z.shape[1])
    if i < uint32(e.shape[0]):
        largest, total = softmax_row(z, i, e)
        label = uint32(y[i])
        if exists(y[i], classes):
            loss[i] = math.log(total) - (z[i, label] - largest)
            e[i, label] -= ONE
        else:
            loss[i] = NAN
            for c in range(classes):
                e[i, c] = NAN


def draw_wrong(z, y, u, out):
    """The first class c with u sum_k w_k < sum_{k <= c} w_k, w = exp(z) but 0 for the true class.

    That is the last one with a weight whose sum before is no larger than u times the whole: there is one however the sums
    are rounded, and never the true one.
    """
    i, classes = thread(), uint32(z.shape[1])
    if i < uint32(out.shape[0]):
        largest, total, before = float32(-math.inf), ZERO, ZERO
        for c in range(classes):
            if int64(c) != y[i]:
                largest = max(largest, z[i, c])
        for c in range(classes):
            if int64(c) != y[i]:
                total += math.exp(z[i, c] - largest)
        drawn = int64(1) if y[i] == int64(0) else int64(0)
        for c in range(classes):
            weight = math.exp(z[i, c] - largest) if int64(c) != y[i] else ZERO
            if weight > ZERO and before <= u[i] * total:
                drawn = int64(c)
            before += weight
        out[i] = drawn
