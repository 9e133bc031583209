"""The network of every rule that is told its error: hidden layers of one activation, a softmax on top, dropout between.

    forward    h_0 = x,  h_l = f(h_{l-1} W_l + b_l),  P = softmax(h_{L-1} W_L + b_L)

With dropout (Srivastava et al. 2014) each hidden h_l is masked while it learns. What the layers are sent, the `pairs`, is each
rule's own.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..kernels.contract import Array, Kernels, Pair
from ..net import Net, stack
from ..optim import Signals
from .rule import Moment, ReadOut, chunks, dead_units, error, one_of, proper_rate, scores


class Pass(NamedTuple):
    """One forward pass: what each layer `received`, h_0 .. h_{L-1}; `active`, the hidden f(z) before dropout; logits (B, C);
    the first layer's `product`, if there is one."""

    received: list[Array]
    active: list[Array]
    logits: Array
    product: Array | None = None


@dataclass(frozen=True)
class Classifier(ABC):
    """`activation` of the hidden layers: "relu" or "tanh". `dropout`: their rate. Raises UserError for other values."""

    activation: str = "relu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        one_of("activation", self.activation, ("relu", "tanh"))
        proper_rate("dropout", self.dropout)

    def init(self, rng: np.random.Generator, sizes: Sequence[int], init: str, bias: str | None, dtype: str) -> Net:
        return Net(stack(rng, sizes, init, bias, dtype), sizes[-1])

    def stages(self, net: Net) -> int:
        return 1

    # ----- learning -----

    def signals(
        self, k: Kernels, net: Net, x: Array, y: Array, rng: np.random.Generator, moment: Moment = Moment()
    ) -> Iterator[Signals]:
        keys = self.keys(net, rng)
        up = self.forward(k, net, x, keys, self.product(k, net, x))
        e, loss = k.softmax_error(up.logits, y)
        yield Signals(len(x), self.pairs(k, net, up, e, y, keys), metrics={"loss": loss})

    @abstractmethod
    def pairs(self, k: Kernels, net: Net, up: Pass, e: Array, y: Array, keys: Sequence[int]) -> dict[int, list[Pair]]:
        """Of each layer, for a pass and its dropout keys, the error e = P - Y (B, C), labels y (B,). Nothing is drawn here."""

    # ----- the pass: dropout is a key for each hidden layer -----

    def keys(self, net: Net, rng: np.random.Generator) -> list[int]:
        """The keys of one batch: the same key, the same mask."""
        return rng.integers(2**32, size=len(net.layers) - 1).tolist()

    def forward(
        self, k: Kernels, net: Net, x: Array, keys: Sequence[int | None] | None = None, product: Array | None = None
    ) -> Pass:
        """The pass of x (B, I); without keys no unit is dropped. `product`: its first B rows are the first layer's x W, where
        that is known already."""
        received, active = [x], []
        for l, (layer, key) in enumerate(zip(net.layers[:-1], keys or [None] * len(net.layers[:-1]), strict=True)):
            if l == 0 and product is not None:
                h, _ = k.activate(product[: len(x)], None, None, None, layer.b, self.activation)
            else:
                h = k.dense(received[-1], *layer, self.activation)
            active.append(h)
            received.append(self.passed_on(k, h, key))
        return Pass(received, active, k.dense(received[-1], *net.layers[-1], "linear"), product)

    def product(self, k: Kernels, net: Net, x: Array) -> Array | None:
        """x W of the first layer (B, O), for a rule that needs it once more, and below it what else that rule needs of W."""
        return None

    def passed_on(self, k: Kernels, h: Array, key: int | None) -> Array:
        """What the next layer receives of h (B, O)."""
        return self.masked(k, h, key)

    def masked(self, k: Kernels, h: Array, key: int | None) -> Array:
        """h (B, O) without the units that this key drops; without a key all of it."""
        return k.dropout(h, self.dropout, key) if self.dropout and key is not None else h

    def gated(self, k: Kernels, delta: Array, h: Array, key: int | None) -> Array:
        """An error that arrives at a hidden layer, through its dropout and its f'.  (B, O) (B, O) -> (B, O)."""
        return k.gate(self.masked(k, delta, key), h, self.activation)

    # ----- telling the class -----

    def softmax(self, k: Kernels, net: Net, x: Array) -> np.ndarray:
        """The logits (B, C), without dropout."""
        return k.get(self.forward(k, net, x).logits)

    def read_outs(self) -> dict[str, ReadOut]:
        return {"softmax": self.softmax}

    def diagnose(self, k: Kernels, net: Net, x: Array, y: Array) -> dict[str, Any]:
        return {"error": {"softmax": error(scores(self.softmax, k, net, x), k.get(y))},
                "dead_units": dead_units(k, (self.forward(k, net, rows).active for rows in chunks(x)))}
