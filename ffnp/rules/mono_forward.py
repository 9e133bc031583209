"""Mono-Forward (Gong et al. 2025, arXiv:2501.09238): one forward pass, a small classifier in every layer.

    forward    h_0 = x,  h_l = relu(h_{l-1} W_l + b_l),  z_l = h_l M_l,  M_l (n_l, C)
    loss       softmax cross-entropy of z_l in each layer on its own: e_l = softmax(z_l) - Y
    signals    to W_l   pre = h_{l-1},  post = (e_l M_l^T) * relu'(h_l)
               to M_l   pre = h_l,      post = e_l
    read-outs  last: z_L.  all: the sum of all z_l

There are no negatives and no label in the input. M_l, kept in `net.feedback`, brings the error back through one layer only;
with one hidden layer that is back-propagation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UserError
from ..kernels.contract import Array, Kernels, Pair
from ..net import Net, dense, stack
from ..optim import Signals
from .rule import Moment, ReadOut, chunks, dead_units, error, one_of


@dataclass(frozen=True)
class MonoForward:
    """`read_out`: the main one, "last" or "all". The M_l learn, so they need an optimiser for the feedback.

    Raises UserError for another read-out.
    """

    read_out: str = "last"

    def __post_init__(self) -> None:
        one_of("read_out", self.read_out, ("last", "all"))

    def init(self, rng: np.random.Generator, sizes: Sequence[int], init: str, bias: str | None, dtype: str) -> Net:
        *widths, classes = sizes
        if len(widths) < 2:
            raise UserError("every hidden layer learns from a classifier of its own, so there must be one, but hidden is empty")
        layers = stack(rng, widths, init, bias, dtype)
        return Net(layers, classes, feedback=tuple(dense(rng, units, classes, init, None, dtype) for units in widths[1:]))

    def stages(self, net: Net) -> int:
        return 1

    def signals(
        self, k: Kernels, net: Net, x: Array, y: Array, rng: np.random.Generator, moment: Moment = Moment()
    ) -> Iterator[Signals]:
        layers, feedback, losses = {}, {}, []
        for l, (received, h, z) in enumerate(self.forward(k, net, x)):
            e, loss = k.softmax_error(z, y)
            layers[l] = [Pair(received, k.gate(k.project(e, net.feedback[l].W), h, "relu"))]
            feedback[l] = [Pair(h, e)]
            losses.append(loss)
        yield Signals(len(x), layers, feedback=feedback, metrics={"loss": losses})

    def forward(self, k: Kernels, net: Net, x: Array) -> Iterator[tuple[Array, Array, Array]]:
        """What each layer receives (B, I), its activity (B, O) and its logits (B, C), bottom up."""
        for layer, M in zip(net.layers, net.feedback, strict=True):
            h = k.dense(x, *layer, "relu")
            yield x, h, k.dense(h, *M, "linear")
            x = h

    # ----- telling the class -----

    def logits(self, k: Kernels, net: Net, x: Array) -> np.ndarray:
        """Of every layer, (L, B, C)."""
        return np.stack([k.get(z) for _, _, z in self.forward(k, net, x)])

    def by_last(self, k: Kernels, net: Net, x: Array) -> np.ndarray:
        """The logits of the last layer, (B, C)."""
        return self.logits(k, net, x)[-1]

    def by_all(self, k: Kernels, net: Net, x: Array) -> np.ndarray:
        """The sum of the logits of all layers, (B, C)."""
        return self.logits(k, net, x).sum(axis=0)

    def read_outs(self) -> dict[str, ReadOut]:
        both = {"last": self.by_last, "all": self.by_all}
        return dict(sorted(both.items(), key=lambda item: item[0] != self.read_out))

    # ----- what happens inside -----

    def diagnose(self, k: Kernels, net: Net, x: Array, y: Array) -> dict[str, Any]:
        """Also per layer: error by its own logits."""
        z, labels = np.concatenate([self.logits(k, net, rows) for rows in chunks(x)], axis=1), k.get(y)
        return {"error": {"last": error(z[-1], labels), "all": error(z.sum(axis=0), labels)},
                "layer_error": [error(own, labels) for own in z],
                "dead_units": dead_units(k, ([h for _, h, _ in self.forward(k, net, rows)] for rows in chunks(x)))}
