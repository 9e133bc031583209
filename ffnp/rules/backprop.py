"""Back-propagation (Rumelhart, Hinton & Williams 1986): the baseline every other rule is measured against.

    backward   delta_L = P - Y,  delta_l = (delta_{l+1} W_{l+1}^T) * f'(z_l)
    signals    pre = h_{l-1},  post = delta_l

The mask of dropout that h_l met on the way forward meets delta_l on the way back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..kernels.contract import Array, Kernels, Pair
from ..net import Net
from .classifier import Classifier, Pass


@dataclass(frozen=True)
class Backprop(Classifier):
    """Softmax cross-entropy, any depth."""

    def pairs(self, k: Kernels, net: Net, up: Pass, e: Array, y: Array, keys: Sequence[int]) -> dict[int, list[Pair]]:
        pairs, delta = {}, e
        for l in reversed(range(len(net.layers))):
            pairs[l] = [Pair(up.received[l], delta)]
            if l:
                delta = self.gated(k, self.back(k, net, l, delta), up.active[l - 1], keys[l - 1])
        return pairs

    def back(self, k: Kernels, net: Net, l: int, delta: Array) -> Array:
        """The error of layer l (from 0) as it reaches the layer below.  (B, O) -> (B, I)."""
        return k.project(delta, net.layers[l].W)
