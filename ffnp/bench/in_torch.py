"""Torch as the best-known reproductions write it: modules, a loss, `loss.backward()`, an optimiser of torch.optim.

Forward-Forward is in the form of github.com/loeweX/Forward-Forward (2023): positive and negative rows in one pass, binary
cross-entropy on each layer's goodness, detached activity between layers, a pass with a neutral label for the head, one
backward pass through all losses. PEPITA, which has no loss, is in the form of its published program (Srinivasan et al. 2024):
two passes without a graph, and gradients put in place for the optimiser. The mathematics is our preset's. Of the choices that
a rule has, those of the cases are written here; `race` shows whether one is missing.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, linear, one_hot

from ..net import Dense, Net
from ..optim import Optimiser
from ..preset import Preset
from ..rules import PEPITA, Backprop, FeedbackAlignment, ForwardForward
from ..verify.twins import Mover
from .cases import COLUMNS, Case


class Learner(Protocol):
    """What a run asks of a network. Only Forward-Forward has scores."""

    def step(self, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        """Learns from x (B, I), y (B,); u (B,), uniform in [0, 1), chooses wrong labels. Returns the batch's metrics."""

    def scores(self, x: Tensor) -> Tensor:
        """The goodness of every label, (B, C)."""


def autograd(case: Case, net: Net, x: np.ndarray, y: np.ndarray, threads: int) -> Callable[[], list[float]]:
    """See `contenders`."""
    return running(case, LEARNERS[type(case.preset.rule)](case.preset, net), x, y, threads)


# ----- a run: what all who use torch share -----


def running(case: Case, learner: Any, x: np.ndarray, y: np.ndarray, threads: int) -> Callable[[], list[float]]:
    """The run of a case by this learner."""
    torch.set_num_threads(threads)
    rng, images, labels = np.random.default_rng([0, 1]), torch.from_numpy(x), torch.from_numpy(y)
    batches = list(zip(images.split(case.batch), labels.split(case.batch), strict=True))

    def run() -> list[float]:
        return torch.stack([KINDS[case.kind](learner, *batch, rng) for batch in batches]).mean(dim=0).tolist()

    return run


def training(learner: Learner, x: Tensor, y: Tensor, rng: np.random.Generator) -> Tensor:
    return learner.step(x, y, torch.from_numpy(rng.random(len(x))))


def prediction(learner: Learner, x: Tensor, y: Tensor, rng: np.random.Generator) -> Tensor:
    return learner.scores(x).mean(dim=0)


def saliency(learner: Learner, x: Tensor, y: Tensor, rng: np.random.Generator) -> Tensor:
    own = []
    for S in COLUMNS:
        covered = x.clone()
        covered[:, S] = 0
        own.append(learner.scores(covered).gather(1, y[:, None]).mean())
    return torch.stack(own)


KINDS = {"training": training, "prediction": prediction, "saliency": saliency}


def draw_wrong(logits: Tensor, y: Tensor, u: Tensor) -> Tensor:
    """A label from softmax(logits) with the true class taken out, by u.  (B, C) (B,) (B,) -> (B,)."""
    so_far = logits.double().scatter(1, y[:, None], -torch.inf).softmax(dim=1).cumsum(dim=1)
    return (u[:, None] * so_far[:, -1:] >= so_far).sum(dim=1)


# ----- modules -----


def module(layer: Dense) -> nn.Linear:
    inputs, outputs = layer.W.shape
    made = nn.Linear(inputs, outputs, bias=layer.b is not None)
    made.weight.data = torch.tensor(layer.W.T.copy())
    if layer.b is not None:
        made.bias.data = torch.tensor(layer.b)
    return made


def mover(optimiser: Optimiser | None, modules: Iterable[Any]) -> Mover:
    assert optimiser is not None  # a preset names one for all that learns
    return Mover(optimiser, [Dense(each.weight, each.bias) for each in modules])


@torch.no_grad()
def move(*movers: Mover) -> None:
    for each in movers:
        each.step()


# ----- Forward-Forward -----


class StraightThrough(torch.autograd.Function):
    """ReLU; on the way back every unit hears what it is sent, silent ones too: they are sent the peer term alone."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        return z.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *sent: Tensor) -> Tensor:
        return sent[0].clone()


class ForwardForwardNet(nn.Module):
    """Hinton's recipe, and that of mean goodness without a head."""

    def __init__(self, preset: Preset, net: Net) -> None:
        super().__init__()
        self.rule: Any = preset.rule
        self.classes, self.means = net.classes, [torch.tensor(m) for m in net.means]
        self.layers = nn.ModuleList(map(module, net.layers))
        self.movers = [mover(preset.optimisers.layers, self.layers)]
        if net.head:
            self.head = module(net.head)
            self.movers.append(mover(preset.optimisers.head, [self.head]))

    def step(self, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        logits, head_losses = self.head_loss(x, y) if self.rule.softmax_from else (x.new_zeros(len(x), self.classes), [])
        losses, peers = self.layer_losses(x, y, draw_wrong(logits.detach(), y, u))
        metrics = [*losses, *head_losses]
        torch.stack(metrics + peers).sum().backward()
        move(*self.movers)
        return torch.stack(metrics).detach()

    def head_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The head's logits, and its cross-entropy; the layers below hear nothing of it."""
        with torch.no_grad():
            active = list(self(self.overlaid(x, torch.full((len(x), self.classes), self.rule.neutral))))
            features = torch.cat([self.normalise(h) for h in active[self.rule.softmax_from - 1 :]], dim=1)
        logits = self.head(features)
        return logits, [cross_entropy(logits, y)]

    def layer_losses(self, x: Tensor, y: Tensor, wrong: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Each layer's logistic loss of being positive, and its peer term."""
        positive = (torch.arange(2 * len(x)) < len(x)).to(x)
        losses, peers = [], []
        for l, h in enumerate(self(torch.cat([self.labelled(x, y), self.labelled(x, wrong)]))):
            theta = self.rule.theta * (h.shape[1] if self.rule.theta_per_unit else 1)
            losses.append(binary_cross_entropy_with_logits(self.goodness(h) - theta, positive))
            if self.rule.peer:
                mean = h[: len(x)].mean(dim=0)
                self.means[l] = self.rule.peer_keep * self.means[l] + (1 - self.rule.peer_keep) * mean.detach()
                peers.append(self.rule.peer * ((self.means[l] - self.means[l].mean()) * mean).sum())
        return losses, peers

    def forward(self, h: Tensor) -> Iterator[Tensor]:
        """The activity of every layer; between them goes only what is detached."""
        for layer in self.layers:
            h = StraightThrough.apply(layer(self.normalise(h.detach())))
            yield h

    @torch.no_grad()
    def scores(self, x: Tensor) -> Tensor:
        found = []
        for c in range(self.classes):
            goods = [self.goodness(h) for h in self(self.labelled(x, torch.full((len(x),), c)))]
            found.append(torch.stack(goods[self.rule.goodness_from - 1 :]).sum(dim=0))
        return torch.stack(found, dim=1)

    def goodness(self, h: Tensor) -> Tensor:
        return (h**2).sum(dim=1) if self.rule.goodness == "sum" else (h**2).mean(dim=1)

    def normalise(self, h: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(h, dim=1, keepdim=True)
        return h / ((norm / h.shape[1] ** 0.5 if self.rule.norm == "rms" else norm) + self.rule.tiny)

    def labelled(self, x: Tensor, y: Tensor) -> Tensor:
        return self.overlaid(x, self.rule.strength * one_hot(y, self.classes))

    def overlaid(self, x: Tensor, label: Tensor) -> Tensor:
        x = x.clone()
        x[:, : self.classes] = label
        return x


# ----- classifiers -----


class ThroughFeedback(torch.autograd.Function):
    """h W^T + b; on the way back the error goes through B in place of W."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, W: Tensor, b: Tensor | None, B: Tensor) -> Tensor:
        ctx.save_for_backward(h, B)
        ctx.biased = b is not None
        return linear(h, W, b)

    @staticmethod
    def backward(ctx: Any, *sent: Tensor) -> tuple[Tensor | None, ...]:
        (h, B), (delta,) = ctx.saved_tensors, sent
        return delta @ B, delta.t() @ h, delta.sum(dim=0) if ctx.biased else None, None


class Feedback(nn.Module):
    """A linear layer with the matrix B (I, O) on the way back."""

    def __init__(self, layer: nn.Linear, B: Dense) -> None:
        super().__init__()
        self.layer, self.B = layer, torch.tensor(B.W.T.copy())

    def forward(self, h: Tensor) -> Tensor:
        return ThroughFeedback.apply(h, self.layer.weight, self.layer.bias, self.B)


class ClassifierNet(nn.Module):
    """Backprop and feedback alignment, ReLU."""

    def __init__(self, preset: Preset, net: Net) -> None:
        super().__init__()
        layers = [module(layer) for layer in net.layers]
        back = [Feedback(*both) for both in zip(layers[1:], net.feedback, strict=True)] if net.feedback else layers[1:]
        self.layers = nn.Sequential(layers[0], *(part for layer in back for part in (nn.ReLU(), layer)))
        self.mover = mover(preset.optimisers.layers, layers)

    def step(self, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        loss = cross_entropy(self.layers(x), y)
        loss.backward()
        move(self.mover)
        return loss.detach()[None]


class PEPITANet(nn.Module):
    """The modulated update."""

    def __init__(self, preset: Preset, net: Net) -> None:
        super().__init__()
        self.rule: Any = preset.rule
        self.layers, self.F = nn.ModuleList(map(module, net.layers)), torch.tensor(net.feedback[0].W)
        self.mover = mover(preset.optimisers.layers, self.layers)

    @torch.no_grad()
    def step(self, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        *h, logits = self(x)
        e = logits.softmax(dim=1) - one_hot(y, logits.shape[1])
        *g, _ = self(x + self.rule.sign * e @ self.F.t())
        sent = [*(a - b for a, b in zip(h[1:], g[1:], strict=True)), e]
        for layer, pre, post in zip(self.layers, g, sent, strict=True):
            layer.weight.grad = post.t() @ pre / len(x)
            if layer.bias is not None:
                layer.bias.grad = post.mean(dim=0)
        move(self.mover)
        return cross_entropy(logits, y)[None]

    def forward(self, x: Tensor) -> list[Tensor]:
        """x, the hidden activities and the logits."""
        h = [x]
        for layer in self.layers[:-1]:
            h.append(layer(h[-1]).relu())
        return [*h, self.layers[-1](h[-1])]


LEARNERS: dict[type, Callable[[Preset, Net], Any]] = {
    ForwardForward: ForwardForwardNet, Backprop: ClassifierNet, FeedbackAlignment: ClassifierNet, PEPITA: PEPITANet,
}
