"""The twin of every rule, and the torch optimisers that move its network."""

import torch
from torch import Tensor

from ..errors import UserError
from ..net import Dense, Net
from ..optim import Optimiser, Optimisers
from ..rules import (
    PEPITA,
    AdaptiveFeedback,
    Backprop,
    DirectFeedback,
    FeedbackAlignment,
    ForwardForward,
    MonoForward,
    UnsupervisedForwardForward,
)
from ..run import each_array
from .classifiers import adaptive_feedback, backprop, direct_feedback, feedback_alignment
from .forward_forward import forward_forward, mono_forward, unsupervised
from .pepita import pepita
from .twin import Gradients, Twin

TWINS: dict[type, Twin] = {
    Backprop: backprop,
    FeedbackAlignment: feedback_alignment,
    DirectFeedback: direct_feedback,
    PEPITA: pepita,
    AdaptiveFeedback: adaptive_feedback,
    ForwardForward: forward_forward,
    UnsupervisedForwardForward: unsupervised,
    MonoForward: mono_forward,
}


def twin_of(rule: object) -> Twin:
    """The twin of a rule, or of the nearest class it is made from. Raises UserError where there is none."""
    for kind in type(rule).__mro__:
        if kind in TWINS:
            return TWINS[kind]
    raise UserError(f"the rule {type(rule).__name__} has no torch twin yet: add it to ffnp.verify.twins.TWINS")


class Mover:
    """torch's optimiser for some layers, at a constant rate; what has no gradient is left alone.

    At a constant rate a velocity with the rate inside is torch's, and so is a moving average of gradients,
    v <- m v + (1 - m) g, with 1 - m times the rate. Decoupled decay is AdamW's: W <- (1 - rate decay) W before the step.
    """

    def __init__(self, optimiser: Optimiser, layers: list[Dense]) -> None:
        o, self.optimiser = optimiser, optimiser
        l2 = o.decay if o.decay_kind == "l2" else 0.0
        self.weights = [W for W, _ in layers]
        self.biases = [b for _, b in layers if b is not None]
        groups = [{"params": self.weights, "weight_decay": l2},
                  {"params": self.biases, "weight_decay": l2 * o.decay_biases}]
        groups = [group for group in groups if group["params"]]
        if o.kind == "adam":
            self.torch: torch.optim.Optimizer = torch.optim.Adam(groups, lr=o.rate, betas=(o.momentum, o.beta2), eps=o.epsilon)
        else:
            momentum = 0.0 if o.kind == "sgd" else o.momentum
            self.torch = torch.optim.SGD(groups, lr=o.rate * (1 - momentum if o.kind == "ema" else 1), momentum=momentum)

    def step(self) -> None:
        o = self.optimiser
        if o.decay_kind == "decoupled":
            for a in self.weights + (self.biases if o.decay_biases else []):
                if a.grad is not None:
                    a.mul_(1 - o.rate * o.decay)
        self.torch.step()
        self.torch.zero_grad()


def movers(optimisers: Optimisers, net: Net) -> list[Mover]:
    """One for each part of the network that an optimiser is named for."""
    head = [net.head] if net.head else []
    parts = [(optimisers.layers, [*net.layers]), (optimisers.head, head), (optimisers.feedback, [*net.feedback])]
    return [Mover(optimiser, layers) for optimiser, layers in parts if optimiser and layers]


@torch.no_grad()
def apply(net: Net, gradients: Gradients, movers: list[Mover]) -> None:
    """Moves the network, in place."""
    moved = [(net.layers[l], own) for l, own in gradients.layers.items()]
    moved += [(net.feedback[l], own) for l, own in gradients.feedback.items()]
    moved += [(net.head, gradients.head)] if net.head and gradients.head else []
    for layer, own in moved:
        for a, g in zip(layer, own, strict=True):
            if a is not None:
                a.grad = g
    for mover in movers:
        mover.step()
    for name, new in gradients.replaced.items():
        for a, b in zip(tensors(getattr(net, name)), tensors(new), strict=True):
            a.copy_(b)


def tensors(tree: object) -> list[Tensor]:
    """The tensors of a nesting of tuples."""
    found: list[Tensor] = []
    each_array(tree, lambda name, a: found.append(a))
    return found
