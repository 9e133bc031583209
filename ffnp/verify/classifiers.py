"""Twins of the rules that send a softmax's error down: backprop, feedback alignment, direct feedback, and AFA.

Drawn: one key for the dropout of each hidden layer, `rng.integers(2**32, size=L - 1)`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.functional import jvp
from torch.nn.functional import cross_entropy, one_hot

from ..net import Dense, Net
from ..rules import AdaptiveFeedback, Backprop, DirectFeedback, FeedbackAlignment
from ..rules.rule import Moment
from .mirrors import mirrored
from .twin import Gradients, Watch, affine, dropout_mask, gradient, leaves, outer


def masks(rule: Any, net: Net, rows: int, rng: np.random.Generator) -> list[Tensor]:
    """The dropout masks (B, O) of the hidden layers."""
    keys = rng.integers(2**32, size=len(net.layers) - 1)
    return [dropout_mask(rule.dropout, (rows, layer.W.shape[1]), key) for layer, key in zip(net.layers, keys, strict=False)]


def activities(
    rule: Any, layers: Sequence[Dense], x: Tensor, drop: Sequence[Tensor], watch: Watch,
    product: Callable[[int, Tensor, Dense], Tensor] = lambda l, h, layer: affine(h, layer),
    leaving: Callable[[int, Tensor], Tensor] = lambda l, h: h,
) -> list[Tensor]:
    """h_1 .. h_{L-1} after dropout, and the logits. A rule may put its own `product` h W + b in, and change h on `leaving`."""
    answers, h = [], x
    for l, (layer, mask) in enumerate(zip(layers, drop, strict=False)):
        z = product(l, h, layer)
        h = leaving(l, mask * (watch.relu(z, h, layer) if rule.activation == "relu" else z.tanh()))
        answers.append(h)
    return [*answers, product(len(drop), h, layers[-1])]


def output_error(logits: Tensor, y: Tensor, watch: Watch) -> Tensor:
    """e = P - Y, (B, C)."""
    return watch.minus(logits.detach().softmax(dim=1), one_hot(y, logits.shape[1]).to(logits))


def backprop(
    rule: Backprop, net: Net, x: Tensor, y: Tensor, rng: np.random.Generator, moment: Moment, watch: Watch
) -> Iterator[Gradients]:
    """Autograd of the mean cross-entropy."""
    layers = leaves(net.layers)
    logits = activities(rule, layers, x, masks(rule, net, len(x), rng), watch)[-1]
    output_error(logits, y, watch)
    yield Gradients(dict(enumerate(gradient(cross_entropy(logits, y), layers))))


class Through(torch.autograd.Function):
    """h W + b; on the way back the error reaches h through B in place of W. `below`: what the layer below received.

    Where errors cancel on their way, as for a unit whose signs are all the same (the sum of e is 0), `watch` hears of it.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, W: Tensor, b: Tensor | None, B: Tensor, below: Tensor, watch: Watch) -> Tensor:
        ctx.save_for_backward(h, B, below)
        ctx.biased, ctx.watch = b is not None, watch
        return affine(h, Dense(W, b))

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> tuple[Tensor | None, ...]:
        (h, B, below), (delta,) = ctx.saved_tensors, arriving
        error, terms = delta @ B.T, delta.abs() @ B.abs().T
        counts = (h != 0) & below.any(dim=1, keepdim=True)
        if terms[counts].any():
            ctx.watch.grows(terms[counts].norm() / error[counts].norm())
        return error, h.T @ delta, delta.sum(dim=0) if ctx.biased else None, None, None, None


def feedback_alignment(
    rule: FeedbackAlignment, net: Net, x: Tensor, y: Tensor, rng: np.random.Generator, moment: Moment, watch: Watch
) -> Iterator[Gradients]:
    """Autograd with another matrix on the way back: B_l, or scale sign(W_l). A mirror draws its noise before the keys."""
    if rule.matrices == "mirror":
        yield Gradients({}, feedback=mirrored(rule, net.layers[1:], "linear", len(x), rng, watch))
        if moment.epoch <= rule.pre_mirror:
            return
    back = [rule.scale * W.sign() for W, _ in net.layers[1:]] if rule.matrices == "sign" else [B.W for B in net.feedback]
    if rule.matrices == "sign":
        for W, _ in net.layers[1:]:
            watch.kinks(W, W.norm() / W.numel() ** 0.5)
    layers, received = leaves(net.layers), []

    def product(l: int, h: Tensor, layer: Dense) -> Tensor:
        received.append(h.detach())
        return Through.apply(h, *layer, back[l - 1], received[l - 1], watch) if l else affine(h, layer)

    logits = activities(rule, layers, x, masks(rule, net, len(x), rng), watch, product=product)[-1]
    output_error(logits, y, watch)
    found = dict(enumerate(gradient(cross_entropy(logits, y), layers)))
    same = {l - 1: Dense(dW, None) for l, (dW, _) in found.items() if l}
    yield Gradients(found, feedback=same if rule.matrices == "kolen-pollack" else {})


class Instead(torch.autograd.Function):
    """h; on the way back its layer is sent `error`, whatever arrives from above."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, error: Tensor) -> Tensor:
        ctx.save_for_backward(error)
        return h.clone()

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> tuple[Tensor, None]:
        error, = ctx.saved_tensors
        return error, None


def direct_feedback(
    rule: DirectFeedback, net: Net, x: Tensor, y: Tensor, rng: np.random.Generator, moment: Moment, watch: Watch
) -> Iterator[Gradients]:
    """Autograd in which every hidden layer's error is replaced by what the output sends, e, sign(e) or Y, through B_l."""
    drop = masks(rule, net, len(x), rng)
    e = output_error(activities(rule, net.layers, x, drop, watch)[-1], y, watch)
    if rule.sends == "sign":
        watch.kinks(e)
    sent = {"error": e, "sign": e.sign(), "target": one_hot(y, e.shape[1]).to(e)}[rule.sends] / len(x)
    layers = leaves(net.layers)
    logits = activities(rule, layers, x, drop, watch, leaving=lambda l, h: Instead.apply(h, sent @ net.feedback[l].W.T))[-1]
    yield Gradients(dict(enumerate(gradient(cross_entropy(logits, y), layers))))


def adaptive_feedback(
    rule: AdaptiveFeedback, net: Net, x: Tensor, y: Tensor, rng: np.random.Generator, moment: Moment, watch: Watch
) -> Iterator[Gradients]:
    """Each hidden layer is sent the derivative of its activity in the direction F e of the input, by autograd."""
    drop = masks(rule, net, len(x), rng)
    *hidden, logits = activities(rule, net.layers, x, drop, watch)
    e = output_error(logits, y, watch)
    _, deltas = jvp(lambda x: tuple(activities(rule, net.layers, x, drop, watch)[:-1]), x, e @ net.feedback[0].W.T)
    yield Gradients({l: outer(*sides) for l, sides in enumerate(zip([x, *hidden], [*deltas, e], net.layers, strict=True))})
