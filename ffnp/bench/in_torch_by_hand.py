"""Torch by hand: the step as one writes it who knows both the algorithm and torch well, and wants speed. No autograd.

Positive and negative rows are one pass; the peer term is added to the signal, not a product of its own; no gradient is kept:
the product adds into the velocity (`addmm_`), in place; decay and step are one call; Adam is torch's fused one. It is still
the textbook's algorithm: every pass and every update is a dense product of all rows.

`eager` takes the step as it is, `compiled` what torch.compile makes of it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax, nll_loss, softplus

from ..net import Dense, Net
from ..optim import VELOCITIES, Optimiser
from ..preset import Preset
from ..rules import PEPITA, Backprop, FeedbackAlignment, ForwardForward
from ..run import each_array
from .cases import Case
from .in_torch import draw_wrong, running

Sent = tuple[Tensor, Tensor]  # what a layer received (B, I) and was sent (B, O)


def eager(case: Case, net: Net, x: np.ndarray, y: np.ndarray, threads: int) -> Callable[[], list[float]]:
    """See `contenders`."""
    return running(case, learner(case, net), x, y, threads)


def compiled(case: Case, net: Net, x: np.ndarray, y: np.ndarray, threads: int) -> Callable[[], list[float]]:
    """See `contenders`. Compiles in the first batch."""
    made = learner(case, net)
    made.step = torch.compile(made.step)
    return running(case, made, x, y, threads)


def learner(case: Case, net: Net) -> Any:
    return LEARNERS[type(case.preset.rule)](case.preset, each_array(net, lambda name, a: torch.tensor(a)))


# ----- steps -----


class Velocity:
    """v <- keep v + gain (dw + l2 w);  w <- (1 - decay) w - rate v, for weights or biases w.

    Where weights decay outside the velocity, u = -rate / decay v is kept in its place: the second line is then one
    interpolation, w <- w + decay (u - w).
    """

    def __init__(self, o: Optimiser, w: Tensor) -> None:
        self.keep = 0.0 if o.kind == "sgd" else o.momentum
        self.gain, self.rate = VELOCITIES[o.kind](self.keep, o.rate)
        decay = o.decay if w.dim() == 2 or o.decay_biases else 0.0
        self.l2, self.decay = (decay, 0.0) if o.decay_kind == "l2" else (0.0, o.rate * decay)
        self.w, self.v, self.unit = w, torch.zeros_like(w), -self.rate / self.decay if self.decay else 1.0

    def step(self, pre: Tensor, post: Tensor, rows: int) -> None:
        add_product(self.v, pre, post, self.keep, self.gain * self.unit / rows)
        if self.decay:
            self.w.lerp_(self.v, self.decay)
            return
        if self.l2:
            self.v.add_(self.w, alpha=self.gain * self.l2)
        self.w.add_(self.v, alpha=-self.rate)


class Velocities:
    """The steps of some layers, each array with its velocity."""

    def __init__(self, o: Optimiser, layers: Sequence[Dense]) -> None:
        self.layers = [[Velocity(o, w) for w in layer if w is not None] for layer in layers]

    def step(self, sent: Sequence[Sent], rows: int) -> None:
        for layer, (pre, post) in zip(self.layers, sent, strict=True):
            for velocity in layer:
                velocity.step(pre, post, rows)


class FusedAdam:
    """The steps of some layers by torch's Adam, from gradients that have their place already."""

    def __init__(self, o: Optimiser, layers: Sequence[Dense]) -> None:
        self.layers = [[w for w in layer if w is not None] for layer in layers]
        weights = [w for layer in self.layers for w in layer]
        for w in weights:
            w.grad = torch.zeros_like(w)
        self.adam = torch.optim.Adam(weights, o.rate, (o.momentum, o.beta2), o.epsilon, fused=True)

    def step(self, sent: Sequence[Sent], rows: int) -> None:
        for layer, (pre, post) in zip(self.layers, sent, strict=True):
            for w in layer:
                add_product(w.grad, pre, post, 0.0, 1 / rows)
        self.adam.step()


def mover(o: Optimiser | None, layers: Sequence[Dense]) -> Velocities | FusedAdam:
    assert o is not None  # a preset names one for all that learns
    return FusedAdam(o, layers) if o.kind == "adam" else Velocities(o, layers)


def add_product(into: Tensor, pre: Tensor, post: Tensor, keep: float, gain: float) -> None:
    """keep times what is there, plus gain times pre^T post, or the sum of the rows of post if it is for biases."""
    if into.dim() == 2:
        into.addmm_(pre.t(), post, beta=keep, alpha=gain)
    else:
        into.mul_(keep).add_(post.sum(dim=0), alpha=gain)


# ----- passes -----


def dense(h: Tensor, layer: Dense) -> Tensor:
    return torch.mm(h, layer.W) if layer.b is None else torch.addmm(layer.b, h, layer.W)


def softmax_error(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """e = P - Y (B, C), and the mean cross-entropy."""
    log_p = log_softmax(logits, dim=1)
    loss = nll_loss(log_p, y)
    return log_p.exp_().scatter_add_(1, y[:, None], log_p.new_full((len(y), 1), -1.0)), loss


class ForwardForwardNet:
    """Hinton's recipe, and that of mean goodness without a head."""

    def __init__(self, preset: Preset, net: Net) -> None:
        self.rule: Any = preset.rule
        self.net, self.layers = net, mover(preset.optimisers.layers, net.layers)
        self.head = mover(preset.optimisers.head, [net.head]) if net.head else None

    @torch.no_grad()
    def step(self, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        logits, head_sent, head_losses = x.new_zeros(len(x), self.net.classes), [], []
        if self.net.head:
            features = self.features(x)
            logits = dense(features, self.net.head)
            e, loss = softmax_error(logits, y)
            head_sent, head_losses = [(features, e)], [loss]
        labels = torch.cat([y, draw_wrong(logits, y, u)])
        both = self.write(torch.cat([x, x]), 0.0).scatter_(1, labels[:, None], self.rule.strength)
        sent, losses = self.contrast(both, len(x))
        self.layers.step(sent, len(x))
        if self.head:
            self.head.step(head_sent, len(x))
        return torch.stack(losses + head_losses)

    def features(self, x: Tensor) -> Tensor:
        """What the head sees, (B, its inputs): each layer's normalised activity is what the next one receives."""
        received, active, norms = zip(*self.up(self.write(x.clone(), self.rule.neutral)), strict=True)
        normalised = [*received[1:], self.normalise(active[-1], norms[-1])]
        return torch.cat(normalised[self.rule.softmax_from - 1 :], dim=1)

    def contrast(self, both: Tensor, B: int) -> tuple[list[Sent], list[Tensor]]:
        """What each layer received and is sent, and its loss; the first B rows are positive."""
        t = (torch.arange(len(both)) < B).to(both)[:, None]
        sent, losses = [], []
        for l, (received, h, norm) in enumerate(list(self.up(both))):
            theta = self.rule.theta * (h.shape[1] if self.rule.theta_per_unit else 1)
            margin = self.goodness(h, norm) - theta
            peer = self.peer(l, h[:B]) if self.rule.peer else None
            h.mul_((margin.sigmoid() - t) * self.share(h))
            if peer is not None:
                h[:B].add_(peer)
            sent.append((received, h))
            losses.append(softplus((1 - 2 * t) * margin).mean())
        return sent, losses

    def peer(self, l: int, h: Tensor) -> Tensor:
        """What all positive rows are sent beside, (O,)."""
        mean = self.net.means[l].lerp_(h.mean(dim=0), 1 - self.rule.peer_keep)
        return self.rule.peer * (mean - mean.mean())

    def up(self, h: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """What each layer receives (n, I), answers (n, O), and the length of that (n, 1)."""
        norm = torch.linalg.vector_norm(h, dim=1, keepdim=True)
        for layer in self.net.layers:
            received = self.normalise(h, norm)
            h = dense(received, layer).relu_()
            norm = torch.linalg.vector_norm(h, dim=1, keepdim=True)
            yield received, h, norm

    @torch.no_grad()
    def scores(self, x: Tensor) -> Tensor:
        x, found = x.clone(), []
        for c in range(self.net.classes):
            self.write(x, 0.0)[:, c] = self.rule.strength
            passes = list(self.up(x))[self.rule.goodness_from - 1 :]
            found.append(torch.stack([self.goodness(h, norm) for _, h, norm in passes]).sum(dim=0))
        return torch.cat(found, dim=1)

    def share(self, h: Tensor) -> float:
        return 1.0 if self.rule.goodness == "sum" else 1 / h.shape[1]

    def goodness(self, h: Tensor, norm: Tensor) -> Tensor:
        return norm.square().mul_(self.share(h))

    def normalise(self, h: Tensor, norm: Tensor) -> Tensor:
        return h / ((norm / h.shape[1] ** 0.5 if self.rule.norm == "rms" else norm) + self.rule.tiny)

    def write(self, x: Tensor, value: float) -> Tensor:
        """x itself, with this number in all label slots."""
        x[:, : self.net.classes] = value
        return x


class ClassifierNet:
    """Backprop and feedback alignment, ReLU."""

    def __init__(self, preset: Preset, net: Net) -> None:
        self.net, self.layers = net, mover(preset.optimisers.layers, net.layers)
        self.back = [B.W for B in net.feedback] or [W for W, _ in net.layers[1:]]

    @torch.no_grad()
    def step(self, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        received = hidden(self.net, x)
        delta, loss = softmax_error(dense(received[-1], self.net.layers[-1]), y)
        sent = [(received[-1], delta)]
        for pre, h, W in zip(received[-2::-1], received[:0:-1], self.back[::-1], strict=True):
            delta = torch.ops.aten.threshold_backward(torch.mm(delta, W.t()), h, 0)  # zero where h is: what autograd calls
            sent.append((pre, delta))
        self.layers.step(sent[::-1], len(x))
        return loss[None]


class PEPITANet:
    """The modulated update."""

    def __init__(self, preset: Preset, net: Net) -> None:
        self.rule: Any = preset.rule
        self.net, self.F, self.layers = net, net.feedback[0].W, mover(preset.optimisers.layers, net.layers)

    @torch.no_grad()
    def step(self, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        first = hidden(self.net, x)
        e, loss = softmax_error(dense(first[-1], self.net.layers[-1]), y)
        second = hidden(self.net, torch.addmm(x, e, self.F.t(), alpha=self.rule.sign))
        sent = [*(h.sub_(g) for h, g in zip(first[1:], second[1:], strict=True)), e]
        self.layers.step(list(zip(second, sent, strict=True)), len(x))
        return loss[None]


def hidden(net: Net, x: Tensor) -> list[Tensor]:
    """What each layer receives."""
    received = [x]
    for layer in net.layers[:-1]:
        received.append(dense(received[-1], layer).relu_())
    return received


LEARNERS: dict[type, Callable[[Preset, Net], Any]] = {
    ForwardForward: ForwardForwardNet, Backprop: ClassifierNet, FeedbackAlignment: ClassifierNet, PEPITA: PEPITANet,
}
