"""Direct feedback: every hidden layer hears from the output itself, through a fixed random matrix B_l (O, C).

    error    delta_l = (e B_l^T) * f'(z_l),  e = P - Y         direct feedback alignment, DFA (Nokland 2016)
    sign     delta_l = (sign(e) B_l^T) * f'(z_l)               sign-DFA
    target   delta_l = (Y B_l^T) * f'(z_l)                     direct random target projection, DRTP (Frenkel et al. 2021)

    signals  pre = h_{l-1},  post = delta_l;  at the output e

B_l stands in `net.feedback[l]`. DRTP needs no error in the hidden layers, so they can learn during the forward pass; the
sign of its B is arbitrary, as B is drawn symmetric about zero.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..kernels.contract import Array, Kernels, Pair
from ..net import Net, dense
from .classifier import Classifier, Pass
from .rule import one_of

# What the output sends: name -> (B, C) from (k, e, y)
SENT: dict[str, Callable[[Kernels, Array, Array], Array]] = {
    "error": lambda k, e, y: e,
    "sign": lambda k, e, y: k.sign(e),
    "target": lambda k, e, y: k.one_hot(y, e.shape[1], 1.0, e),
}


@dataclass(frozen=True)
class DirectFeedback(Classifier):
    """`sends`: "error" (DFA), "sign" (sign-DFA) or "target" (DRTP). Raises UserError for another name."""

    sends: str = "error"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("sends", self.sends, tuple(SENT))

    def init(self, rng: np.random.Generator, sizes: Sequence[int], init: str, bias: str | None, dtype: str) -> Net:
        """Each B_l is drawn as the weights of a softmax on that layer would be."""
        net = super().init(rng, sizes, init, bias, dtype)
        return net._replace(feedback=tuple(dense(rng, units, sizes[-1], init, None, dtype) for units in sizes[1:-1]))

    def pairs(self, k: Kernels, net: Net, up: Pass, e: Array, y: Array, keys: Sequence[int]) -> dict[int, list[Pair]]:
        sent = SENT[self.sends](k, e, y)
        deltas = [self.gated(k, k.project(sent, B.W), h, key) for B, h, key in zip(net.feedback, up.active, keys, strict=True)]
        return {l: [Pair(*pair)] for l, pair in enumerate(zip(up.received, [*deltas, e], strict=True))}
