"""Back-propagation (Rumelhart, Hinton & Williams 1986): the baseline every other rule is measured against.

    forward    h_0 = x,  h_l = f(h_{l-1} W_l + b_l),  P = softmax(h_{L-1} W_L + b_L)
    backward   delta_L = P - Y,  delta_l = (delta_{l+1} W_{l+1}^T) * f'(z_l)
    signals    pre = h_{l-1},  post = delta_l

With dropout (Srivastava et al. 2014) the hidden h_l is masked on the way forward and delta_l by the same mask on the way back.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UserError
from ..kernels.contract import Array, Kernels, Pair
from ..net import Net, stack
from ..optim import Signals
from .rule import ReadOut, chunks, error, one_of, scores


@dataclass(frozen=True)
class Backprop:
    """Softmax cross-entropy, any depth. `activation` of the hidden layers: "relu" or "tanh". `dropout`: their rate."""

    activation: str = "relu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        one_of("activation", self.activation, ("relu", "tanh"))
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout must be at least 0 and below 1, not {self.dropout}")

    def init(self, rng: np.random.Generator, sizes: Sequence[int], init: str, bias: str | None, dtype: str) -> Net:
        return Net(stack(rng, sizes, init, bias, dtype), sizes[-1])

    def stages(self, net: Net) -> int:
        return 1

    def signals(
        self, k: Kernels, net: Net, x: Array, y: Array, rng: np.random.Generator, stage: int = 0
    ) -> Iterator[Signals]:
        keys = rng.integers(2**32, size=len(net.layers) - 1)
        received, active = [x], []  # what each layer receives; each hidden activity before dropout
        for layer, key in zip(net.layers, keys, strict=False):
            active.append(k.dense(received[-1], *layer, self.activation))
            received.append(self.masked(k, active[-1], key))
        delta, loss = k.softmax_error(k.dense(received[-1], *net.layers[-1], "linear"), y)
        pairs = {}
        for l in reversed(range(len(net.layers))):
            pairs[l] = [Pair(received[l], delta)]
            if l:
                delta = self.masked(k, k.project(delta, net.layers[l].W), keys[l - 1])
                delta = k.gate(delta, active[l - 1], self.activation)
        yield Signals(len(x), pairs, metrics={"loss": loss})

    def masked(self, k: Kernels, h: Array, key: int) -> Array:
        return k.dropout(h, self.dropout, int(key)) if self.dropout else h

    def activities(self, k: Kernels, net: Net, x: Array) -> list[Array]:
        """h_1 .. h_{L-1} and the logits, without dropout."""
        hs = [x]
        for layer in net.layers[:-1]:
            hs.append(k.dense(hs[-1], *layer, self.activation))
        return hs[1:] + [k.dense(hs[-1], *net.layers[-1], "linear")]

    def softmax(self, k: Kernels, net: Net, x: Array) -> np.ndarray:
        """The logits (B, C)."""
        return k.get(self.activities(k, net, x)[-1])

    def read_outs(self) -> dict[str, ReadOut]:
        return {"softmax": self.softmax}

    def diagnose(self, k: Kernels, net: Net, x: Array, y: Array) -> dict[str, Any]:
        alive = [np.any([(k.get(h) != 0).any(axis=0) for h in hs], axis=0)
                 for hs in zip(*(self.activities(k, net, rows)[:-1] for rows in chunks(x)), strict=True)]
        return {"error": {"softmax": error(scores(self.softmax, k, net, x), k.get(y))},
                "dead_units": [int(np.sum(~a)) for a in alive]}
