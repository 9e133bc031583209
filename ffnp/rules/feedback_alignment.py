"""Feedback alignment (Lillicrap et al. 2016): backprop with other matrices on the way back.

    backward   delta_L = P - Y,  delta_l = (delta_{l+1} B_{l+1}^T) * f'(z_l)

    random         B is drawn once and stays: the weights learn to make it useful
    sign           B = scale sign(W): uniform sign-concordant feedback, uSF (Liao, Leibo & Poggio 2016)
    mirror         B learns from noise to be like W (Akrout et al. 2019; see mirror.py)
    kolen-pollack  B takes the same steps and the same decay as W, so W - B shrinks by the decay (Kolen & Pollack 1994)

B_l stands in `net.feedback[l - 1]` (l from 0) and is laid out like W_l, (I, O): with B = W all of this is backprop.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..kernels.contract import Array, Kernels
from ..net import Net, stack
from ..optim import Signals
from .backprop import Backprop
from .mirror import mirror
from .rule import Moment, at_least, one_of


@dataclass(frozen=True)
class FeedbackAlignment(Backprop):
    """`matrices`: which of the four. `scale` belongs to sign; `noise` (its deviation) and `pre_mirror` (so many first
    epochs in which only B learns) to mirror. Matrices that learn need an optimiser for the feedback.
    Raises UserError for an unknown kind of matrices, `noise` or `pre_mirror` below 0.
    """

    matrices: str = "random"
    scale: float = 1.0
    noise: float = 0.1
    pre_mirror: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("matrices", self.matrices, ("random", "sign", "mirror", "kolen-pollack"))
        at_least(0, noise=self.noise, pre_mirror=self.pre_mirror)

    def init(self, rng: np.random.Generator, sizes: Sequence[int], init: str, bias: str | None, dtype: str) -> Net:
        """The matrices are drawn like the weights above the first layer."""
        net = super().init(rng, sizes, init, bias, dtype)
        return net if self.matrices == "sign" else net._replace(feedback=stack(rng, sizes[1:], init, None, dtype))

    def signals(
        self, k: Kernels, net: Net, x: Array, y: Array, rng: np.random.Generator, moment: Moment = Moment()
    ) -> Iterator[Signals]:
        if self.matrices == "mirror":
            pairs = mirror(k, net.layers[1:], self.activation, "linear", len(x), self.noise, rng)
            yield Signals(len(x), {}, feedback=pairs)
        if self.matrices != "mirror" or moment.epoch > self.pre_mirror:
            for s in super().signals(k, net, x, y, rng, moment):
                same = {l - 1: pairs for l, pairs in s.layers.items() if l}
                yield s._replace(feedback=same) if self.matrices == "kolen-pollack" else s

    def back(self, k: Kernels, net: Net, l: int, delta: Array) -> Array:
        if self.matrices == "sign":
            return k.scale(k.project(delta, k.sign(net.layers[l].W)), self.scale)
        return k.project(delta, net.feedback[l - 1].W)
