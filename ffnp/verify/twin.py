"""What the torch twins share: how one answers, and what it notes about how far rounding can carry.

A twin asks what a rule is asked, (rule, net, x, y, rng, moment), with torch tensors in float64 in place of arrays, and
yields `Gradients` where the rule yields `Signals`, as often per batch; what it yields is applied, in place, before the
next is asked for. It is written from the paper's formulas: nothing it computes comes from the rule or the kernels. Only what is
*drawn* is shared: a twin draws from the same generator in the same order (its docstring says what), and dropout masks are
the contract's hash of the drawn key.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..kernels import reference
from ..net import Dense, Net
from ..rules.rule import Moment


class Gradients(NamedTuple):
    """A twin's answer, laid out as `Signals`, with the gradient of each layer in place of its pairs."""

    layers: dict[int, Dense]
    head: Dense | None = None
    feedback: dict[int, Dense] = {}
    replaced: dict[str, Any] = {}


class Watch:
    """`clearance`: the least distance of any branch from its kink, relative to the size of the terms that made it, e.g.
    |z_j| over |h| |w_j| for a ReLU. `amplification`: the most a relative error has grown where nearly equal numbers were
    subtracted, |a| / |a - b|, at least 1; infinite where rounding is all there is.
    """

    def __init__(self) -> None:
        self.clearance, self.amplification = float("inf"), 1.0

    def kinks(self, distance: Tensor, size: Tensor | float = 1.0) -> None:
        """Numbers that a branch asks the sign of, and the size of their terms. What is made of zeros stays zero."""
        relative = (distance.detach().abs() / size)[~(torch.as_tensor(size) == 0).expand_as(distance)]
        self.clearance = min(self.clearance, relative.min().item() if relative.numel() else float("inf"))

    def grows(self, factor: Tensor | float) -> None:
        self.amplification = max(self.amplification, float(factor))

    def minus(self, a: Tensor, b: Tensor) -> Tensor:
        """a - b."""
        difference = a - b
        if a.any():
            self.grows((a.norm() / difference.norm()).detach())
        return difference

    def relu(self, z: Tensor, h: Tensor, layer: Dense) -> Tensor:
        """max(z, 0) of z = h W + b.  (B, O) (B, I) -> (B, O)."""
        size = h.norm(dim=1, keepdim=True) * layer.W.norm(dim=0) + (0 if layer.b is None else layer.b.abs())
        self.kinks(z, size.detach())
        return z.relu()


Twin = Callable[[Any, Net, Tensor, Tensor, np.random.Generator, Moment, Watch], Iterator[Gradients]]


def affine(h: Tensor, layer: Dense) -> Tensor:
    return h @ layer.W if layer.b is None else h @ layer.W + layer.b


def leaves(layers: Sequence[Dense]) -> list[Dense]:
    """The same layers, as the leaves of a new graph."""
    return [Dense(*(None if a is None else a.detach().clone().requires_grad_() for a in layer)) for layer in layers]


def gradient(loss: Tensor, layers: Sequence[Dense]) -> list[Dense]:
    """d loss / d (W, b) of each layer, by autograd."""
    found = iter(torch.autograd.grad(loss, [a for layer in layers for a in layer if a is not None]))
    return [Dense(*(None if a is None else next(found) for a in layer)) for layer in layers]


def outer(pre: Tensor, post: Tensor, like: Dense) -> Dense:
    """The mean over rows of pre_i^T post_i, and of post_i for a layer with biases."""
    return Dense(torch.einsum("bi,bo->io", pre, post) / len(pre), None if like.b is None else post.mean(dim=0))


def dropout_mask(rate: float, shape: Sequence[int], key: int) -> Tensor:
    """What inverted dropout multiplies activity of this shape by."""
    return torch.from_numpy(reference.dropout(np.ones(shape), rate, int(key)))
