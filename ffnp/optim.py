"""From signals to a step: SGD, momentum, Hinton's moving average and Adam, weight decay, learning-rate schedules.

A rule says *what* each layer received and was sent (`Signals`); this file says what that does to the weights. The kernels
take the two factors, not a finished gradient, so that product, momentum, decay and step can be one pass.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .errors import UserError
from .kernels.contract import Adam, Kernels, Layer, Momentum, Number, Pair
from .net import Dense, Net


class Signals(NamedTuple):
    """What a rule answers to a batch of `rows` rows: dW_l = sum_k pre_k^T post_k / rows for each layer it names.

    `layers`: layer number (from 0) -> its pairs; a layer that is not named is left alone. `head`: the pairs of the
    softmax read-out. `feedback`: as `layers`, for the feedback matrices that learn. `replaced`: parts of the network
    that take a new value instead of a step, by their name in `Net`. `metrics`: numbers of this batch.
    """

    rows: int
    layers: dict[int, list[Pair]]
    head: list[Pair] | None = None
    feedback: dict[int, list[Pair]] = {}
    replaced: dict[str, Any] = {}
    metrics: dict[str, Any] = {}


#: Velocity v <- keep v + gain g, then W <- W - rate v. Name -> (gain, rate) from (momentum, learning rate).
VELOCITIES: dict[str, Callable[[float, float], tuple[float, float]]] = {
    "sgd": lambda m, rate: (1.0, rate),
    "momentum": lambda m, rate: (1.0, rate),  # rate outside the velocity: torch, Loewe's FF, PEPITA 2024
    "momentum_inside": lambda m, rate: (rate, 1.0),  # rate inside: a later rate leaves old velocity alone; PEPITA 2022
    "ema": lambda m, rate: (1.0 - m, rate),  # moving average of the gradient: Hinton 2022
}


@dataclass(frozen=True)
class Optimiser:
    """One step rule. `kind`: a name of VELOCITIES, or "adam". `rate`: learning rate, times the schedule's factor.

    `decay` is `decoupled` (W <- (1 - rate decay) W, outside the velocity) or "l2" (g <- g + decay W, inside it);
    biases decay only with `decay_biases`. `momentum` is Adam's beta1. Raises UserError for a name or number out of range.
    """

    kind: str
    rate: float
    momentum: float = 0.9
    decay: float = 0.0
    decay_kind: str = "decoupled"
    decay_biases: bool = False
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        if self.kind not in (*VELOCITIES, "adam"):
            raise UserError(f"there is no optimiser {self.kind!r}; choose one of {', '.join(VELOCITIES)}, adam")
        if self.decay_kind not in ("decoupled", "l2"):
            raise UserError(f"decay_kind must be decoupled or l2, not {self.decay_kind!r}")
        if not (self.rate > 0 and 0 <= self.momentum < 1 and self.decay >= 0 and 0 <= self.beta2 < 1 and self.epsilon > 0):
            raise UserError(f"rate, epsilon > 0, 0 <= momentum, beta2 < 1 and decay >= 0 must hold for {self}")

    def memory(self, k: Kernels, layer: Dense) -> "Memory":
        """What this optimiser remembers of a layer, at the start: zeros."""
        second = zeros(k, layer) if self.kind == "adam" else None
        return Memory(np.zeros(1, np.int64), zeros(k, layer), second)

    def step(self, k: Kernels, layer: Layer, memory: "Memory", pairs: list[Pair], rows: int, factor: float) -> Number:
        """Moves one layer, in place, by the pairs of a batch of so many rows; `factor` is the schedule's.

        Returns the sum of squares of its new weights: finite if all of them are.
        """
        memory.steps[0] += 1
        rate = self.rate * factor
        l2, decay = (self.decay, 0.0) if self.decay_kind == "l2" else (0.0, rate * self.decay)
        if memory.second is None:
            keep = 0.0 if self.kind == "sgd" else self.momentum
            gain, rate = VELOCITIES[self.kind](keep, rate)
            return k.momentum_step(layer, memory.first, pairs, rows, Momentum(keep, gain, rate, decay, l2, self.decay_biases))
        t = int(memory.steps[0])
        correct1, correct2 = 1 - self.momentum**t, 1 - self.beta2**t
        c = Adam(self.momentum, self.beta2, correct1, correct2, self.epsilon, rate, decay, l2, self.decay_biases)
        return k.adam_step(layer, memory.first, memory.second, pairs, rows, c)


class Memory(NamedTuple):
    """An optimiser's state for one layer: `steps (1,)` taken, velocity or first moment, Adam's second moment."""

    steps: np.ndarray
    first: Dense
    second: Dense | None


class State(NamedTuple):
    """The optimiser's memory of a whole network, laid out like the network."""

    layers: tuple[Memory, ...]
    head: Memory | None
    feedback: tuple[Memory, ...] = ()


class Optimisers(NamedTuple):
    """Who moves what: `layers` the network's layers, `head` the softmax read-out, `feedback` the matrices of that name.

    Without one for `feedback` those matrices stay as they were drawn.
    """

    layers: Optimiser
    head: Optimiser | None = None
    feedback: Optimiser | None = None

    def init(self, k: Kernels, net: Net) -> State:
        """The state before the first step. Raises UserError for a head that nobody moves."""
        if net.head and not self.head:
            raise UserError("the network has a softmax head, but no optimiser is named for it")
        head = self.head.memory(k, net.head) if self.head and net.head else None
        feedback = tuple(self.feedback.memory(k, B) for B in net.feedback) if self.feedback else ()
        return State(tuple(self.layers.memory(k, layer) for layer in net.layers), head, feedback)

    def apply(
        self, k: Kernels, net: Net, signals: Signals, state: State, factor: float
    ) -> tuple[Net, dict[str, tuple[Number, float]]]:
        """One step of all that has a signal, weights and state in place; `factor` is the schedule's.

        Returns the network with its replaced parts, and of everything stepped, by name, the sum of squares of its new
        weights and the optimiser's rate. Raises UserError for a signal to feedback matrices that nobody moves.

        >>> from ffnp.kernels import reference as k
        >>> net = Net((Dense(np.ones((1, 2)), None),), classes=2)
        >>> received, sent = np.array([[1.0], [3.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
        >>> sgd = Optimisers(Optimiser("sgd", rate=0.1))
        >>> net, _ = sgd.apply(k, net, Signals(2, {0: [Pair(received, sent)]}), sgd.init(k, net), factor=1.0)
        >>> net.layers[0].W  # 1 - 0.1 (1 / 2),  1 - 0.1 (3 / 2)
        array([[0.95, 0.85]])
        """
        if signals.feedback and not self.feedback:
            raise UserError("the feedback matrices of this rule learn, but no optimiser is named for them")
        moved: dict[str, tuple[Any, Any, Any, list[Pair]]] = {
            f"layer {l + 1}": (self.layers, net.layers[l], state.layers[l], pairs) for l, pairs in signals.layers.items()}
        if signals.head:
            moved["the head"] = self.head, net.head, state.head, signals.head
        for l, pairs in signals.feedback.items():
            moved[f"feedback matrix {l + 1}"] = self.feedback, net.feedback[l], state.feedback[l], pairs
        stepped = {name: (optimiser.step(k, layer, memory, pairs, signals.rows, factor), optimiser.rate)
                   for name, (optimiser, layer, memory, pairs) in moved.items()}
        return net._replace(**signals.replaced), stepped


def zeros(k: Kernels, layer: Dense) -> Dense:
    """A layer of zeros, shaped like this one."""
    return Dense(*(None if a is None else k.put(np.zeros(a.shape, a.dtype)) for a in layer))


#: The factor on the learning rate: name -> factor from (e, E), in epoch e = 1 .. E.
SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "constant": lambda e, E: 1.0,
    "step": lambda e, E: 0.1 ** ((e > 0.6 * E) + (e > 0.9 * E)),  # PEPITA: after epochs 60 and 90 of 100
    "cosine": lambda e, E: 0.5 * (1 + math.cos(math.pi * (e - 1) / E)),  # Loshchilov & Hutter 2017
    "hinton": lambda e, E: min(1.0, (1 + 2 * (E - e)) / E),  # constant for half the epochs, then linear to 1 / E
    "loewe": lambda e, E: 1.0 if e - 1 <= E // 2 else 2 * (2 + E - e) / E,  # the same idea, ends at 4 / E
}
