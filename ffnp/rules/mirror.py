"""Weight mirroring (Akrout et al. 2019, arXiv:1904.05391): a matrix B learns to be like W without being told W.

    noise x with mean zero goes through the layer, y = f(x W), its bias blocked;  B <- B + rate (x^T y / rows - decay B)

As E[x^T f(x W)] is sigma^2 W for a linear layer and half of it for ReLU, B turns towards W. Each layer is mirrored alone.
The noise is normal, as in the program of Srinivasan et al. 2024, which also drops units here; that of Akrout et al. is uniform.
"""

from collections.abc import Sequence

import numpy as np

from ..kernels.contract import Kernels, Pair
from ..net import Dense


def mirror(
    k: Kernels, layers: Sequence[Dense], activation: str, top: str, rows: int, noise: float, rng: np.random.Generator
) -> dict[int, list[Pair]]:
    """For each layer the pairs that turn a matrix (I, O) towards its W: normal noise of deviation `noise`, minus its answer.

    Hidden layers answer through `activation`, the last through `top`, which may be "softmax".

    >>> from ffnp.kernels import reference as k
    >>> W = np.array([[1.0, -2.0], [4.0, 3.0]])
    >>> pairs = mirror(k, [Dense(W, None)], "relu", "linear", rows=10000, noise=1.0, rng=np.random.default_rng(0))
    >>> dB, _ = k.gradient(Dense(W, None), pairs[0], 10000)
    >>> -dB.round()  # E[x^T y] = W
    array([[ 1., -2.],
           [ 4.,  3.]])
    """
    pairs = {}
    for l, (W, _) in enumerate(layers):
        x = noise * rng.standard_normal((rows, W.shape[0]))
        x = k.put((x - x.mean()).astype(W.dtype))  # (rows, I)
        f = top if l == len(layers) - 1 else activation
        y = k.softmax(k.dense(x, W, None, "linear")) if f == "softmax" else k.dense(x, W, None, f)
        pairs[l] = [Pair(x, k.scale(y, -1.0))]
    return pairs
