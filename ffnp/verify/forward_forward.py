"""Twins of Forward-Forward, with and without labels, and of Mono-Forward: every layer has its loss, and between layers goes
only detached activity.

A loss counts half a row of each pass, so that its gradient in z is (p - t) h. Drawn, in this order: with dropout a key a layer
for the head's pass, if there is one; the negatives; with dropout a key a layer for the two passes. Without labels the head
sees the images' pass, so that the keys of both passes come first.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, conv2d, cross_entropy, logsigmoid, one_hot, pad

from ..net import Dense, Net
from ..rules import ForwardForward, MonoForward, UnsupervisedForwardForward
from ..rules.rule import Moment
from .twin import Gradients, Watch, affine, dropout_mask, gradient, leaves


def forward_forward(
    rule: ForwardForward, net: Net, x: Tensor, y: Tensor, rng: np.random.Generator, moment: Moment, watch: Watch
) -> Iterator[Gradients]:
    """Positive: the image with its label; negative: with another's. In turn, if so scheduled, each layer and then the head."""
    joint, L, logits, head = rule.schedule == "joint", len(net.layers), None, None
    if net.head and (joint or moment.stage == L):
        neutral = torch.full((len(x), net.classes), rule.neutral, dtype=x.dtype)
        head, logits = head_gradient(rule, net, labelled(rule, x, neutral), y, drop_masks(rule, net, len(x), rng), watch)
    wrong = wrong_labels(rule, y, logits, net.classes, rng, watch)
    both = [labelled(rule, x, rule.strength * one_hot(label, net.classes).to(x)) for label in (y, wrong)]
    found, means = contrasted(rule, net, torch.cat(both), drop_masks(rule, net, 2 * len(x), rng), watch)
    trained = range(L) if joint else [moment.stage] if moment.stage < L else []
    kept = tuple(new if l in trained else old for l, (old, new) in enumerate(zip(net.means, means, strict=True)))
    yield Gradients({l: found[l] for l in trained}, head, replaced={"means": kept})


def unsupervised(
    rule: UnsupervisedForwardForward, net: Net, x: Tensor, y: Tensor, rng: np.random.Generator, moment: Moment, watch: Watch
) -> Iterator[Gradients]:
    """Positive: the image; negative: a hybrid of it and another. The head alone sees labels."""
    drop = drop_masks(rule, net, 2 * len(x), rng)
    head, _ = head_gradient(rule, net, x, y, [mask[: len(x)] for mask in drop], watch)
    found, means = contrasted(rule, net, torch.cat([x, hybrids(rule, x, rng)]), drop, watch)
    yield Gradients(found, head, replaced={"means": means})


def mono_forward(
    rule: MonoForward, net: Net, x: Tensor, y: Tensor, rng: np.random.Generator, moment: Moment, watch: Watch
) -> Iterator[Gradients]:
    """Autograd of each layer's own cross-entropy, in W, b and M. Nothing is drawn."""
    layers, feedback, h = {}, {}, x
    for l, own in enumerate(zip(net.layers, net.feedback, strict=True)):
        layer, M = leaves(own)
        active = watch.relu(affine(h, layer), h, layer)
        logits = affine(active, M)
        watch.minus(logits.detach().softmax(dim=1), one_hot(y, net.classes).to(x))
        layers[l], feedback[l] = gradient(cross_entropy(logits, y), [layer, M])
        h = active.detach()
    yield Gradients(layers, feedback=feedback)


# ----- the layers -----


def drop_masks(rule: Any, net: Net, rows: int, rng: np.random.Generator) -> list[Tensor]:
    keys = rng.integers(2**32, size=len(net.layers)) if rule.dropout else [0] * len(net.layers)
    return [dropout_mask(rule.dropout, (rows, layer.W.shape[1]), key) for layer, key in zip(net.layers, keys, strict=True)]


def directions(rule: Any, h: Tensor) -> Tensor:
    """h with only its direction left; a row of zeros stays."""
    if rule.norm == "none":
        return h
    length = torch.linalg.vector_norm(h, dim=1, keepdim=True) / (h.shape[1] ** 0.5 if rule.norm == "rms" else 1)
    return torch.where(length > 0, h / (length + rule.tiny), h)


def passes(
    rule: Any, layers: Sequence[Dense], h: Tensor, drop: Sequence[Tensor], watch: Watch
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """What each layer receives, detached and without dropped units, and its z and relu(z) of every unit."""
    for l, layer in enumerate(layers):
        received = directions(rule, h.detach()) if l or rule.norm_input else h
        received = received * drop[l - 1] if l else received
        z = affine(received, layer)
        h = watch.relu(z, received, layer)
        yield received, z, h


def contrasted(
    rule: Any, net: Net, both: Tensor, drop: Sequence[Tensor], watch: Watch
) -> tuple[dict[int, Dense], tuple[Tensor, ...]]:
    """Autograd of the layers' losses for positive (first half) and negative rows; and the new running means."""
    layers, B = leaves(net.layers), len(both) // 2
    received, zs, whole = zip(*passes(rule, layers, both, drop, watch), strict=True)
    hs = [mask * h for mask, h in zip(drop, whole, strict=True)]
    goods = [(h * h).sum(dim=1) if rule.goodness == "sum" else (h * h).mean(dim=1) for h in hs]
    others = [sum(other.detach() for other in goods if other is not own) if rule.collaborate else 0 for own in goods]
    beliefs = [own + rest for own, rest in zip(goods, others, strict=True)]
    sides = zip(beliefs, received, hs, strict=True)
    loss = (1 - rule.dropout) * sum(layer_loss(rule, good, pre, h.detach(), watch) for good, pre, h in sides)
    means = tuple(rule.peer_keep * m + (1 - rule.peer_keep) * h[:B].detach().mean(dim=0)
                  for m, h in zip(net.means, hs, strict=False))
    for z, m in zip(zs, means, strict=False):  # sent past the ReLU: to silent units too
        loss = loss + (rule.peer * watch.minus(m, m.mean()) * z[:B]).sum() / B
    return dict(enumerate(gradient(loss, layers))), means


def layer_loss(rule: Any, good: Tensor, pre: Tensor, h: Tensor, watch: Watch) -> Tensor:
    """-log p of the right kind of row, p = sigmoid(alpha (G - theta)); SymBa: of each pair, p = sigmoid(alpha (G+ - G-))."""
    B, units = len(good) // 2, h.shape[1]
    positive = torch.arange(2 * B).lt(B).to(good)
    if rule.loss == "symba":
        theta = good.detach().roll(B)  # the partner's
        loss = -logsigmoid(rule.alpha * (good[:B] - good[B:])).sum() / (2 * B)
    else:
        theta = torch.full_like(good, rule.theta * units if rule.theta_per_unit else rule.theta)
        loss = binary_cross_entropy_with_logits(rule.alpha * (good - theta), positive)
    watch.grows(rule.alpha * (good.detach().abs().max() + theta.abs().max()))  # the margin's error, in p of a negative
    p, size = (rule.alpha * (good.detach() - theta)).sigmoid(), h.norm(dim=1)
    for part in (size, size * pre.norm(dim=1)):  # and a positive's 1 - p cancels, in db and in dW
        watch.minus(p * part, positive * part)
    return loss


def head_gradient(
    rule: Any, net: Net, unlabelled: Tensor, y: Tensor, drop: Sequence[Tensor], watch: Watch
) -> tuple[Dense, Tensor]:
    """Softmax regression on the directions of the later layers' activity; also its logits."""
    assert net.head is not None
    active = [h for _, _, h in passes(rule, net.layers, unlabelled, drop, watch)]
    seen = [mask * directions(rule, h) for mask, h in zip(drop, active, strict=True)]
    head, = leaves([net.head])
    logits = affine(torch.cat(seen[rule.softmax_from - 1 :], dim=1), head)
    watch.minus(logits.detach().softmax(dim=1), one_hot(y, net.classes).to(logits))
    return gradient(cross_entropy(logits, y), [head])[0], logits.detach()


# ----- negatives -----


def labelled(rule: ForwardForward, x: Tensor, label: Tensor) -> Tensor:
    """The label (B, C) over the first inputs of x, or after its last."""
    return torch.cat([label, x[:, label.shape[1] :]] if rule.label == "overlay" else [x, label], dim=1)


def wrong_labels(
    rule: ForwardForward, y: Tensor, logits: Tensor | None, classes: int, rng: np.random.Generator, watch: Watch
) -> Tensor:
    """Drawn: u (B,) uniform, or a permutation. By u each row takes a wrong class: as the head thinks likely, or any alike."""
    if rule.negatives.startswith("permuted"):
        source = np.random.default_rng(0) if rule.negatives == "permuted once" else rng
        return y[torch.from_numpy(source.permutation(len(y)))]
    u = torch.from_numpy(rng.random(len(y)))
    if rule.negatives == "uniform" or logits is None:
        nth = (u * (classes - 1)).long()
        return nth + (nth >= y)
    chances = logits.softmax(dim=1) * (1 - one_hot(y, classes))
    edges = (chances / chances.sum(dim=1, keepdim=True)).cumsum(dim=1)
    watch.kinks(u[:, None] - edges)
    return torch.searchsorted(edges, u[:, None], right=True)[:, 0]


def hybrids(rule: UnsupervisedForwardForward, x: Tensor, rng: np.random.Generator) -> Tensor:
    """m x + (1 - m) x2. Drawn: the bits of m, (B, height, width), then how many rows before x its x2 stands.

    The bits are blurred by convolution with (1, 2, 1) / 4 in both directions, edges repeated; m is where that is above 1/2.
    """
    height, width, *channels = rule.shape if len(rule.shape) in (2, 3) else (1, x.shape[1])
    m = torch.from_numpy(rng.integers(2, size=(len(x), height, width))).to(x)[:, None]
    line = torch.tensor([0.25, 0.5, 0.25]).to(x)
    for _ in range(rule.blurs):
        m = conv2d(pad(m, (1, 1, 1, 1), mode="replicate"), torch.outer(line, line)[None, None])
    pixels = x.reshape(len(x), height, width, -1)
    others = pixels.roll(int(rng.integers(1, max(len(x), 2))), dims=0)
    return torch.where(m[:, 0, :, :, None] > 0.5, pixels, others).reshape(x.shape)
