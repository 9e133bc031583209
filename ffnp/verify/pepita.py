"""The twin of PEPITA: two passes written out (Dellaferrera & Kreiman 2022; Srinivasan et al. 2024), for there is no objective.

Drawn: a mirror's noise first (see mirrors.py), then one key for the dropout of each hidden layer, as for a classifier.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from ..net import Dense, Net
from ..rules import PEPITA
from ..rules.rule import Moment
from .classifiers import masks, output_error
from .mirrors import mirrored
from .twin import Gradients, Watch, affine, outer


def pepita(
    rule: PEPITA, net: Net, x: Tensor, y: Tensor, rng: np.random.Generator, moment: Moment, watch: Watch
) -> Iterator[Gradients]:
    """The mirror where it is due, its matrices then made to multiply to the deviation spread sqrt(2 / I); then the rule."""
    mirrors = rule.mirror_every and moment.epoch % rule.mirror_every == 0
    if mirrors or moment.epoch <= rule.pre_mirror:
        yield Gradients({}, feedback=mirrored(rule, net.layers, rule.mirror_top, len(x), rng, watch))
        wanted = rule.spread * (2 / x.shape[1]) ** 0.5
        factor = (wanted / projection(net).std(correction=0)) ** (1 / len(net.feedback))
        yield Gradients({}, replaced={"feedback": tuple(Dense(B * factor, None) for B, _ in net.feedback)})
    if moment.epoch > rule.pre_mirror:
        yield from two_passes(rule, net, x, y, masks(rule, net, len(x), rng), watch)


def projection(net: Net) -> Tensor:
    """F, (I, C)."""
    return torch.linalg.multi_dot([B.W for B in net.feedback]) if len(net.feedback) > 1 else net.feedback[0].W


def two_passes(rule: PEPITA, net: Net, x: Tensor, y: Tensor, drop: Sequence[Tensor], watch: Watch) -> Iterator[Gradients]:
    target = one_hot(y, net.classes).to(x)
    h, logits = up(rule, net, x, drop, watch)
    e = output_error(logits, y, watch)
    hebb = products(net, h, [*h[1:], logits.softmax(dim=1)])
    if rule.update == "time-local":
        yield Gradients(hebb)  # and the second pass meets the weights as they are then
    g, logits = up(rule, net, x + rule.sign * (projection(net) @ e.T).T, drop, watch)
    anti = products(net, g, [*g[1:], target])
    if rule.update == "time-local":
        yield Gradients({l: Dense(*(None if a is None else -a for a in layer)) for l, layer in anti.items()})
    elif rule.update == "hebbian":
        yield Gradients({l: Dense(*(None if a is None else watch.minus(a, b) for a, b in zip(hebb[l], anti[l], strict=True)))
                         for l in hebb})
    else:
        factors = [mask if rule.mask_difference else torch.ones_like(mask) for mask in drop]
        sent = [mask * watch.minus(a, b) for mask, a, b in zip(factors, h[1:], g[1:], strict=True)]
        top = e if rule.error == "first" else output_error(logits, y, watch)
        yield Gradients(products(net, h if rule.pre == "first" else g, [*sent, top]))


def up(rule: PEPITA, net: Net, x: Tensor, drop: Sequence[Tensor], watch: Watch) -> tuple[list[Tensor], Tensor]:
    """One pass: h_0 .. h_{L-1} after dropout and norm, and the logits."""
    h = [x]
    for layer, mask in zip(net.layers, drop, strict=False):
        z = affine(h[-1], layer)
        active = mask * (watch.relu(z, h[-1], layer) if rule.activation == "relu" else z.tanh())
        if rule.norm != "none":  # zeros stay
            active = normalize(active, dim=1, eps=1e-300) if rule.norm == "sample" else active / active.norm().clamp(1e-300)
        h.append(active)
    return h, affine(h[-1], net.layers[-1])


def products(net: Net, pre: Sequence[Tensor], post: Sequence[Tensor]) -> dict[int, Dense]:
    """Of every layer, what it received times what it is sent."""
    return {l: outer(*sides) for l, sides in enumerate(zip(pre, post, net.layers, strict=True))}
