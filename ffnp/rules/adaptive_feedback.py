"""Adaptive feedback alignment, AFA (Srinivasan et al. 2024, arXiv:2302.05440): PEPITA to first order in F e.

    delta_0 = F e,  delta_l = (delta_{l-1} W_l) * f'(z_l)
    signals   pre = h_{l-1},  post = delta_l;  at the output e

The change that F e makes to the input is carried up instead of being found by a second pass: h_l - g_l = delta_l + O(|F e|^2),
exactly so for ReLU while no unit crosses zero. With one hidden layer the error comes through F^T W_1: feedback alignment
whose matrix adapts as W_1 does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..kernels.contract import Array, Kernels, Pair
from ..net import Net
from .classifier import Classifier, Pass
from .pepita import uniform
from .rule import at_least


@dataclass(frozen=True)
class AdaptiveFeedback(Classifier):
    """F in `net.feedback[0]`, (I, C), is drawn as PEPITA's, of deviation `spread` sqrt(2 / I).

    Raises UserError for a spread below 0.
    """

    spread: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(0, spread=self.spread)

    def init(self, rng: np.random.Generator, sizes: Sequence[int], init: str, bias: str | None, dtype: str) -> Net:
        return super().init(rng, sizes, init, bias, dtype)._replace(feedback=uniform(rng, sizes, self.spread, dtype))

    def pairs(self, k: Kernels, net: Net, up: Pass, e: Array, y: Array, keys: Sequence[int]) -> dict[int, list[Pair]]:
        pairs, delta = {len(net.layers) - 1: [Pair(up.received[-1], e)]}, k.project(e, net.feedback[0].W)
        for l, (layer, h, key) in enumerate(zip(net.layers, up.active, keys, strict=False)):
            delta = self.gated(k, k.dense(delta, layer.W, None, "linear"), h, key)
            pairs[l] = [Pair(up.received[l], delta)]
        return pairs
