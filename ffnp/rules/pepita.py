"""PEPITA: the error as a perturbation of the input (Dellaferrera & Kreiman 2022, arXiv:2201.11665; Srinivasan, Mignacco,
Sorbaro, Refinetti, Cooper, Kreiman & Dellaferrera 2024, arXiv:2302.05440).

    first pass    h_0 = x,  h_l = f(h_{l-1} W_l),  e = P - Y
    second pass   g_0 = x + sign F e,  g_l = f(g_{l-1} W_l), with the dropout masks of the first;  F (I, C) fixed

    modulated     pre = g_{l-1},  post = h_l - g_l;  at the output post = e
    hebbian       pre = h_{l-1},  post = h_l,  and  pre = g_{l-1},  post = -g_l;  at the output P for h_L and Y for g_L.
                  As h_{l-1}^T h_l - g_{l-1}^T g_l = g_{l-1}^T (h_l - g_l) + (h_{l-1} - g_{l-1})^T h_l, it is the modulated
                  form with pre = h_{l-1} - g_{l-1}, post = h_l (at the output P) added
    time-local    the same two, but the weights move after each pass, and the second pass meets the new ones

The two papers differ in the sign, in whose error the output is sent, in F and in the step; each choice is a field. With
sign -1 the product of the weights turns towards F, with +1 towards -F, so weight mirroring, which turns F towards that
product, needs -1. Mirroring writes F = B_1 ... B_L, a factor (I, O) for each layer, kept in `net.feedback`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from ..kernels.contract import Array, Kernels, Pair
from ..net import Dense, Net, dense
from ..optim import Signals
from .classifier import Classifier, Pass
from .mirror import mirror
from .rule import Moment, at_least, one_of


@dataclass(frozen=True)
class PEPITA(Classifier):
    """The choices. Raises UserError for one that does not exist or does not go with another.

    `update`: "modulated", "hebbian" or "time-local". `sign` of F e: -1 (2024) or 1 (2022). For the modulated update:
    `error` that the output is sent and `pre`, what layers received: of the "first" or "second" pass; `mask_difference`:
    the mask meets h_l - g_l once more (the 2022 NumPy program). `norm` of hidden activity after dropout: "none",
    "batch" (Frobenius norm of all rows, the published form; in ReLU layers without biases scores then depend on the
    batch by a factor only) or "sample" (length 1). `feedback`: F "uniform", or the "product" of normal factors; F's
    deviation is `spread` sqrt(2 / I). Mirroring (product only): alone in the first `pre_mirror` epochs, then in every
    `mirror_every`-th (0: never), by normal noise of deviation `noise`; the top layer answers through `mirror_top`:
    "softmax" (published) or "linear". It needs an optimiser for the feedback.
    """

    update: str = "modulated"
    sign: int = -1
    error: str = "first"
    pre: str = "second"
    mask_difference: bool = False
    norm: str = "none"
    feedback: str = "uniform"
    spread: float = 0.05
    pre_mirror: int = 0
    mirror_every: int = 0
    noise: float = 0.1
    mirror_top: str = "softmax"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("update", self.update, ("modulated", "hebbian", "time-local"))
        one_of("sign", self.sign, (-1, 1))
        one_of("error", self.error, ("first", "second"))
        one_of("pre", self.pre, ("first", "second"))
        one_of("norm", self.norm, ("none", "batch", "sample"))
        one_of("feedback", self.feedback, ("uniform", "product"))
        one_of("mirror_top", self.mirror_top, ("softmax", "linear"))
        at_least(0, spread=self.spread, pre_mirror=self.pre_mirror, mirror_every=self.mirror_every, noise=self.noise)
        if self.pre_mirror or self.mirror_every:
            if (self.feedback, self.sign) != ("product", -1):
                raise UserError(f"mirroring needs feedback product and sign -1, not {self.feedback} and {self.sign}")
            if not (self.spread and self.noise):
                raise UserError(f"mirroring needs spread and noise above 0, not {self.spread} and {self.noise}")

    # ----- the network -----

    def init(self, rng: np.random.Generator, sizes: Sequence[int], init: str, bias: str | None, dtype: str) -> Net:
        net = super().init(rng, sizes, init, bias, dtype)
        return net._replace(feedback=FEEDBACK[self.feedback](rng, sizes, self.spread, dtype))

    def passed_on(self, k: Kernels, h: Array, key: int | None) -> Array:
        h = self.masked(k, h, key)
        if self.norm == "none":
            return h
        return k.normalise_batch(h) if self.norm == "batch" else k.normalise(h, 1.0, 0.0)

    # ----- learning -----

    def signals(
        self, k: Kernels, net: Net, x: Array, y: Array, rng: np.random.Generator, moment: Moment = Moment()
    ) -> Iterator[Signals]:
        learning = moment.epoch > self.pre_mirror
        if not learning or (self.mirror_every and moment.epoch % self.mirror_every == 0):
            pairs = mirror(k, net.layers, self.activation, self.mirror_top, len(x), self.noise, rng)
            yield Signals(len(x), {}, feedback=pairs)
            net = net._replace(feedback=rescaled(k, net.feedback, self.spread * (2 / x.shape[1]) ** 0.5))
            yield Signals(len(x), {}, replaced={"feedback": net.feedback})
        if not learning:
            return
        net = net._replace(feedback=(Dense(projection(k, net.feedback), None),))  # F, multiplied out once
        if self.update == "time-local":
            yield from self.in_turn(k, net, x, y, self.keys(net, rng))
        else:
            yield from super().signals(k, net, x, y, rng, moment)

    def in_turn(self, k: Kernels, net: Net, x: Array, y: Array, keys: Sequence[int]) -> Iterator[Signals]:
        """Time-local: the weights move after each pass."""
        first = self.forward(k, net, x, keys)
        e, loss = k.softmax_error(first.logits, y)
        yield Signals(len(x), clean(k, first), metrics={"loss": loss})
        yield Signals(len(x), taught(k, self.second(k, net, x, e, keys), y))

    def pairs(self, k: Kernels, net: Net, up: Pass, e: Array, y: Array, keys: Sequence[int]) -> dict[int, list[Pair]]:
        second = self.second(k, net, up.received[0], e, keys, up.product)
        if self.update == "hebbian":
            minus = taught(k, second, y)
            return {l: plus + minus[l] for l, plus in clean(k, up).items()}
        return self.differences(k, up, second, e, y, keys)

    def product(self, k: Kernels, net: Net, x: Array) -> Array | None:
        """x W of the images (B, O) and, in the same product, F^T W below it (C, O): what an error of 1 in each class adds."""
        each = k.project(k.put(np.eye(net.classes, dtype=x.dtype)), projection(k, net.feedback))  # F e of such errors: F^T
        return k.dense(k.vstack(x, each), net.layers[0].W, None, "linear")

    def second(
        self, k: Kernels, net: Net, x: Array, e: Array, keys: Sequence[int], product: Array | None = None
    ) -> Pass:
        """The second pass, with the masks of the first. Where the `product` is known, (x + sign F e) W is x W + sign e (F^T W),
        as short a sum as there are classes."""
        if product is not None:
            product = k.add(product[: len(x)], k.dense(e, product[len(x) :], None, "linear"), float(self.sign))
        return self.forward(k, net, self.modulated(k, net, x, e), keys, product)

    def modulated(self, k: Kernels, net: Net, x: Array, e: Array) -> Array:
        """The input of the second pass, x + sign F e.  (B, I) (B, C) -> (B, I)."""
        return k.add(x, k.project(e, projection(k, net.feedback)), float(self.sign))

    def differences(
        self, k: Kernels, first: Pass, second: Pass, e: Array, y: Array, keys: Sequence[int]
    ) -> dict[int, list[Pair]]:
        """The pairs of the modulated update."""
        pre = (first if self.pre == "first" else second).received
        posts = [k.add(h, g, -1.0) for h, g in zip(first.received[1:], second.received[1:], strict=True)]
        if self.mask_difference:
            posts = [self.masked(k, post, key) for post, key in zip(posts, keys, strict=True)]
        top = e if self.error == "first" else k.softmax_error(second.logits, y)[0]
        return {l: [Pair(*pair)] for l, pair in enumerate(zip(pre, [*posts, top], strict=True))}


def clean(k: Kernels, first: Pass) -> dict[int, list[Pair]]:
    """The Hebbian term of the first pass: each layer's input and its own answer, at the output P."""
    answers = [*first.received[1:], k.softmax(first.logits)]
    return {l: [Pair(*pair)] for l, pair in enumerate(zip(first.received, answers, strict=True))}


def taught(k: Kernels, second: Pass, y: Array) -> dict[int, list[Pair]]:
    """The anti-Hebbian term of the second pass: its inputs and minus its answers, at the output -Y."""
    answers = [*second.received[1:], k.one_hot(y, second.logits.shape[1], 1.0, second.logits)]
    return {l: [Pair(pre, k.scale(post, -1.0))] for l, (pre, post) in enumerate(zip(second.received, answers, strict=True))}


# ----- F -----


def uniform(rng: np.random.Generator, sizes: Sequence[int], spread: float, dtype: str) -> tuple[Dense, ...]:
    """F (I, C) itself, `spread` times He-uniform."""
    W, _ = dense(rng, sizes[0], sizes[-1], "he_uniform", None, dtype)
    return (Dense((spread * W).astype(dtype), None),)


def factors(rng: np.random.Generator, sizes: Sequence[int], spread: float, dtype: str) -> tuple[Dense, ...]:
    """B_1 .. B_L, normal and of one deviation, so that their product has deviation spread sqrt(2 / I)."""
    L = len(sizes) - 1
    each = (spread * (2 / sizes[0]) ** 0.5 / float(np.prod(sizes[1:-1])) ** 0.5) ** (1 / L)
    shapes = zip(sizes, sizes[1:], strict=False)
    return tuple(Dense((each * rng.standard_normal(shape)).astype(dtype), None) for shape in shapes)


FEEDBACK = {"uniform": uniform, "product": factors}


def projection(k: Kernels, feedback: Sequence[Dense]) -> Array:
    """F = B_1 B_2 ... B_L, (I, C)."""
    F = feedback[-1].W
    for B in reversed(feedback[:-1]):
        F = k.dense(B.W, F, None, "linear")
    return F


def rescaled(k: Kernels, feedback: Sequence[Dense], deviation: float) -> tuple[Dense, ...]:
    """The factors times one number, so that their product has this standard deviation."""
    F = projection(k, feedback)
    return tuple(Dense(k.rescale(B.W, F, deviation, 1 / len(feedback)), None) for B in feedback)
