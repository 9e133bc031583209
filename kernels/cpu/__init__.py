"""The kernels of `contract` for speed on the CPU: BLAS for the products, Numba for one pass over everything else.

1. A kernel that multiplies cuts its result into slabs, one a thread. What follows the product (bias, activation, momentum,
   decay, step) reads each number while it is still in the cache, and writes it once (products.py).
2. A row whose post is all zero changes nothing and is left out of the product. In Forward-Forward these are the examples
   a layer is already sure of, soon most of them.
3. The pairs of a layer are stacked into one longer product; BLAS is fastest when the summed dimension is long.
4. There is one pool of threads (threads.py). What is done row by row is too short to be shared out (loops.py).
5. Weights lie on large pages of memory, whose addresses the processor can keep in mind (pages.py).

What NumPy already does in one pass is taken from `reference` as it is.
"""

from ..reference import (  # noqa: F401
    agreement,
    blend,
    draw_wrong,
    get,
    hstack,
    inverse_norm,
    normalise_batch,
    one_hot,
    overlay,
    rescale,
    scale,
    shift,
    sign,
    softmax,
    take,
    vstack,
)
from .loops import activate, add, dropout, gate, goodness_signal, normalise, peer_signal, softmax_error, sum_squares  # noqa: F401
from .pages import put  # noqa: F401
from .products import adam_step, dense, dense_squares, gradient, momentum_step, patch, project  # noqa: F401
