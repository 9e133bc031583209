"""Forward-Forward (Hinton 2022, arXiv:2212.13345), supervised: each layer learns from two forward passes, none backward.

    label      the class is written into the input: the right one makes a positive, a wrong one a negative example
    forward    h_l = relu(xhat_{l-1} W_l + b_l),  xhat = h / rms(h): only the direction of h goes up
    goodness   G_l = sum_j h_j^2,  p = sigmoid(G_l - theta): the layer's belief that the example is positive
    loss       -log p for a positive, -log(1 - p) for a negative example, in each layer on its own
    signals    pre = xhat_{l-1},  post = (p - 1) h_l for positive and p h_l for negative rows
    peer       post = strength (m - mean_j m) to all positive rows, m the running mean activity: revives silent units
    read-outs  goodness: the label whose goodness, summed over layers, is highest.  softmax: one pass with a neutral
               label, a linear softmax (the head) on the normalised activities

Published codes differ in every one of these; each choice is a field of `ForwardForward`, and presets name them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UserError
from ..kernels.contract import Array, Kernels, Pair
from ..net import Net, dense, stack
from ..optim import Signals
from .rule import ReadOut, chunks, error, one_of, scores

# Whose labels make the negatives: name -> labels from (k, y, the head's logits, rng). The permuted ones are sometimes right.
NEGATIVES: dict[str, Callable[[Kernels, Array, Array, np.random.Generator], Array]] = {
    "hard": lambda k, y, z, rng: k.draw_wrong(z, y, k.put(rng.random(len(y)))),
    "uniform": lambda k, y, z, rng: k.draw_wrong(k.put(np.zeros(z.shape, z.dtype)), y, k.put(rng.random(len(y)))),
    "permuted": lambda k, y, z, rng: k.take(y, rng.permutation(len(y))),
    "permuted once": lambda k, y, z, rng: k.take(y, np.random.default_rng(0).permutation(len(y))),
}


@dataclass(frozen=True)
class ForwardForward:
    """The choices. Raises UserError for one that does not exist or does not go with another.

    `goodness`: "sum" or "mean" of squares. `theta`: threshold, times the number of units if `theta_per_unit`.
    `norm`: rows get root mean square 1 ("rms") or length 1 ("l2"); `tiny` is added to that norm; `norm_input`: the input too.
    `label`: "overlay" on the first C inputs, or "append"; `strength` of the one-hot label, `neutral` in all C for none.
    `negatives`: a name of NEGATIVES. `schedule`: all layers in every batch ("joint"), or each to its end ("layerwise").
    `peer`: strength of peer normalisation, `peer_keep` of its running mean. `read_out`: the main one.
    `goodness_from`, `softmax_from`: the first layer (from 1) counted in each read-out; no `softmax_from`, no head.
    """

    goodness: str = "sum"
    theta: float = 1.0
    theta_per_unit: bool = True
    norm: str = "rms"
    norm_input: bool = True
    tiny: float = 1e-8
    label: str = "overlay"
    strength: float = 1.0
    neutral: float = 0.1
    negatives: str = "hard"
    schedule: str = "joint"
    peer: float = 0.0
    peer_keep: float = 0.9
    read_out: str = "goodness"
    goodness_from: int = 2
    softmax_from: int | None = 2

    def __post_init__(self) -> None:
        one_of("goodness", self.goodness, ("sum", "mean"))
        one_of("norm", self.norm, ("rms", "l2"))
        one_of("label", self.label, ("overlay", "append"))
        one_of("negatives", self.negatives, tuple(NEGATIVES))
        one_of("schedule", self.schedule, ("joint", "layerwise"))
        one_of("read_out", self.read_out, ("goodness", "softmax") if self.softmax_from else ("goodness",))
        if self.negatives == "hard" and (self.schedule == "layerwise" or not self.softmax_from):
            raise UserError("hard negatives are drawn from a head trained jointly: they need softmax_from and schedule joint")
        if not (self.tiny >= 0 and self.peer >= 0 and 0 <= self.peer_keep <= 1):
            raise UserError("tiny >= 0, peer >= 0 and 0 <= peer_keep <= 1 must hold, "
                            f"not {self.tiny}, {self.peer}, {self.peer_keep}")

    # ----- the network -----

    def init(self, rng: np.random.Generator, sizes: Sequence[int], init: str, bias: str | None, dtype: str) -> Net:
        inputs, *hidden, classes = sizes
        if self.label == "overlay" and classes > inputs:
            raise UserError(f"a label of {classes} classes does not fit over {inputs} inputs: use label append")
        for name in ("goodness_from", "softmax_from"):
            first = getattr(self, name)
            if first is not None and not 1 <= first <= len(hidden):
                raise UserError(f"{name} is layer {first}, but the network has {len(hidden)} hidden layers")
        layers = stack(rng, [inputs + classes * (self.label == "append"), *hidden], init, bias, dtype)
        features = sum(hidden[self.softmax_from - 1 :]) if self.softmax_from else 0
        head = dense(rng, features, classes, "zeros", None, dtype) if features else None
        means = tuple(np.full(units, 0.5, dtype) for units in hidden) if self.peer else ()
        return Net(layers, classes, head, means)

    def stages(self, net: Net) -> int:
        return 1 if self.schedule == "joint" else len(net.layers) + (net.head is not None)

    # ----- learning -----

    def signals(
        self, k: Kernels, net: Net, x: Array, y: Array, rng: np.random.Generator, stage: int = 0
    ) -> Iterator[Signals]:
        logits, head, metrics = np.zeros((len(x), net.classes), x.dtype), None, {}
        if net.head and (self.schedule == "joint" or stage == len(net.layers)):
            features = self.features(k, net, x)
            logits = k.dense(features, *net.head, "linear")
            delta, metrics["head_loss"] = k.softmax_error(logits, y)
            head = [Pair(features, delta)]
        wrong = NEGATIVES[self.negatives](k, y, logits, rng)
        if self.negatives.startswith("permuted"):
            metrics["false_negatives"] = float(np.mean(k.get(wrong) == k.get(y)))
        trained = range(len(net.layers)) if self.schedule == "joint" else range(stage, min(stage + 1, len(net.layers)))
        layers = self.contrast(k, net, x, y, wrong, trained)
        yield layers._replace(head=head, metrics=layers.metrics | metrics)

    def contrast(self, k: Kernels, net: Net, x: Array, y: Array, wrong: Array, trained: Sequence[int]) -> Signals:
        """The rule itself: the signals to the `trained` layers for given right and wrong labels. Nothing is drawn here.

        Both passes run as one of 2 B rows, the positive ones first.
        """
        B = len(x)
        Y = k.vstack(self.one_hot(k, y, net, x), self.one_hot(k, wrong, net, x))
        positive = k.put(np.repeat([1, 0], B).astype(x.dtype))  # (2 B,)
        pairs, means, losses = {}, list(net.means), []
        for l, (received, h) in enumerate(self.forward(k, net, k.vstack(x, x), Y, upto=max(trained, default=-1) + 1)):
            if l in trained:
                post, loss = k.goodness_signal(h, k.sum_squares(h), positive, self.threshold(h), self.share(h))
                pairs[l] = [Pair(received, post)]
                losses.append(loss)
                if self.peer:
                    means[l], peer = k.peer_signal(means[l], h[:B], self.peer_keep, self.peer)
                    pairs[l].append(Pair(received[:B], peer))
        return Signals(B, pairs, means=tuple(means), metrics={"loss": losses})

    def forward(self, k: Kernels, net: Net, x: Array, Y: Array, upto: int | None = None) -> Iterator[tuple[Array, Array]]:
        """What each layer receives (B, I) and answers (B, O), bottom up, for images x with label slots Y (B, C)."""
        h = k.overlay(x, Y) if self.label == "overlay" else k.hstack(x, Y)
        for l, layer in enumerate(net.layers[:upto]):
            received = self.normalise(k, h) if l or self.norm_input else h
            h = k.dense(received, *layer, "relu")
            yield received, h

    def one_hot(self, k: Kernels, y: Array, net: Net, like: Array) -> Array:
        return k.one_hot(y, net.classes, self.strength, like)

    def normalise(self, k: Kernels, h: Array) -> Array:
        return k.normalise(h, h.shape[1] ** 0.5 if self.norm == "rms" else 1.0, self.tiny)

    def threshold(self, h: Array) -> float:
        return self.theta * h.shape[1] if self.theta_per_unit else self.theta

    def share(self, h: Array) -> float:
        """d goodness / d(sum of squares)."""
        return 1.0 if self.goodness == "sum" else 1.0 / h.shape[1]

    # ----- telling the class -----

    def features(self, k: Kernels, net: Net, x: Array) -> Array:
        """What the head sees: the normalised activities under the neutral label, (B, units of the counted layers)."""
        neutral = k.put(np.full((len(x), net.classes), self.neutral, x.dtype))
        hs = [h for _, h in self.forward(k, net, x, neutral)]
        return k.hstack(*(self.normalise(k, h) for h in hs[(self.softmax_from or 1) - 1 :]))

    def goodness_table(self, k: Kernels, net: Net, x: Array) -> np.ndarray:
        """The goodness of every label in every layer, (B, C, L)."""
        table = np.empty((len(x), net.classes, len(net.layers)), x.dtype)
        for c in range(net.classes):
            Y = self.one_hot(k, k.put(np.full(len(x), c)), net, x)
            for l, (_, h) in enumerate(self.forward(k, net, x, Y)):
                table[:, c, l] = self.share(h) * k.get(k.sum_squares(h))
        return table

    def by_goodness(self, k: Kernels, net: Net, x: Array) -> np.ndarray:
        """Goodness of each label, summed over the counted layers, (B, C)."""
        return self.goodness_table(k, net, x)[:, :, self.goodness_from - 1 :].sum(axis=2)

    def by_softmax(self, k: Kernels, net: Net, x: Array) -> np.ndarray:
        """The head's logits in one pass, (B, C)."""
        assert net.head is not None  # softmax_from makes one
        return k.get(k.dense(self.features(k, net, x), *net.head, "linear"))

    def read_outs(self) -> dict[str, ReadOut]:
        both = {"goodness": self.by_goodness} | ({"softmax": self.by_softmax} if self.softmax_from else {})
        return dict(sorted(both.items(), key=lambda item: item[0] != self.read_out))

    # ----- what happens inside -----

    def diagnose(self, k: Kernels, net: Net, x: Array, y: Array) -> dict[str, Any]:
        """Also per layer: error by its goodness alone, mean goodness of the right label and of the wrong ones."""
        table = np.concatenate([self.goodness_table(k, net, rows) for rows in chunks(x)])  # (n, C, L)
        labels = k.get(y)
        right = table[np.arange(len(labels)), labels]
        errors = {"goodness": error(table[:, :, self.goodness_from - 1 :].sum(axis=2), labels)}
        if self.softmax_from:
            errors["softmax"] = error(scores(self.by_softmax, k, net, x), labels)
        return {
            "error": errors,
            "layer_error": [error(table[:, :, l], labels) for l in range(len(net.layers))],
            "goodness_right": right.mean(axis=0).tolist(),
            "goodness_wrong": ((table.sum(axis=1) - right).mean(axis=0) / (net.classes - 1)).tolist(),
            "dead_units": self.dead_units(k, net, x, y),
        }

    def dead_units(self, k: Kernels, net: Net, x: Array, y: Array) -> list[int]:
        """Per layer, the units silent on every row of x with its right label y."""
        alive = [np.zeros(layer.W.shape[1], bool) for layer in net.layers]
        for rows, labels in zip(chunks(x), chunks(y), strict=True):
            for a, (_, h) in zip(alive, self.forward(k, net, rows, self.one_hot(k, labels, net, rows)), strict=True):
                a |= (k.get(h) > 0).any(axis=0)
        return [int(np.sum(~a)) for a in alive]
