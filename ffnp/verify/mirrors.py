"""Weight mirroring, for the twins: the gradient that turns a matrix towards the weights it mirrors (Akrout et al. 2019)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..net import Dense
from .twin import Watch


def mirrored(
    rule: Any, layers: Sequence[Dense], top: str, rows: int, rng: np.random.Generator, watch: Watch
) -> dict[int, Dense]:
    """B grows by x^T f(x W): the gradient in B of - sum_i (x_i B) . f(x_i W) / rows, f(x W) held fixed.

    Drawn, layer after layer: standard normal noise (rows, I), then made to have deviation `noise` and its mean removed.
    """
    found = {}
    for l, (W, _) in enumerate(layers):
        noise = rule.noise * torch.from_numpy(rng.standard_normal((rows, len(W))))
        noise = noise - noise.mean()
        answer = respond(rule.activation if l + 1 < len(layers) else top, noise, W, watch)
        B = torch.zeros_like(W, requires_grad=True)
        dB, = torch.autograd.grad(-((noise @ B) * answer).sum() / rows, B)
        found[l] = Dense(dB, None)
    return found


def respond(f: str, x: Tensor, W: Tensor, watch: Watch) -> Tensor:
    """f(x W), without biases."""
    z = x @ W
    if f == "relu":
        return watch.relu(z, x, Dense(W, None))
    return z.tanh() if f == "tanh" else z.softmax(dim=1) if f == "softmax" else z
