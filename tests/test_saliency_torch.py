"""The maps against torch: autograd, and Captum's methods, of the same scores written independently as a torch function.

Rounding: a norm r below 1 makes what comes through it larger by 1 / r, and its error too, even where the two terms of its
gradient cancel. So all bounds are multiplied by 1 / r for the least norm of each layer.
"""

import captum.attr
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from views import scenes, views

from ffnp.rules import ForwardForward, MonoForward
from ffnp.rules.classifier import Classifier
from ffnp.run import each_array
from ffnp.saliency.gradient import gradient, integrated_gradients
from ffnp.saliency.occlusion import occlusion
from ffnp.saliency.scorer import as_maps, picture

EPS32 = float(np.finfo(np.float32).eps)
many, few = settings(max_examples=150), settings(max_examples=20)


# ----- the scores in torch -----


class Twin(torch.nn.Module):
    """The scores (B, C) of images (B, I) by the papers' formulas; `least`: the smallest norm below 1 of each layer."""

    def __init__(self, score):
        super().__init__()
        self.score, self.rule, self.least = score, score.rule, {}
        self.net = each_array(score.net, lambda name, a: torch.tensor(score.k.get(a)))

    def forward(self, x):
        mean, std = self.score.run.preset.standardise or (0, 1)
        x = (x - mean) / std
        if isinstance(self.rule, Classifier):
            return self.classifier(x)
        if isinstance(self.rule, MonoForward):
            logits = [h @ M.W for h, M in zip(self.relus(x, "none", False), self.net.feedback, strict=True)]
            return sum(logits[l - 1] for l in self.score.layers)
        return self.by_goodness(x) if self.score.read_out == "goodness" else self.by_head(x)

    def classifier(self, x):
        for l, (W, b) in enumerate(self.net.layers[:-1], 1):
            z = x @ W + (0 if b is None else b)
            h = torch.relu(z) if self.rule.activation == "relu" else torch.tanh(z)
            x = h if getattr(self.rule, "norm", "none") == "none" else self.directions(h, 1.0, 0.0, l)
        W, b = self.net.layers[-1]
        return x @ W + (0 if b is None else b)

    def by_goodness(self, x):
        scores = []
        for label in self.rule.strength * torch.eye(self.net.classes, dtype=x.dtype):
            hs = list(self.relus(self.labelled(x, label), self.rule.norm, self.rule.norm_input))
            squares = [(hs[l - 1] ** 2).sum(dim=1) / (hs[l - 1].shape[1] if self.rule.goodness == "mean" else 1)
                       for l in self.score.layers]
            scores.append(sum(squares))
        return torch.stack(scores, dim=1)

    def by_head(self, x):
        if isinstance(self.rule, ForwardForward):
            x = self.labelled(x, torch.full((self.net.classes,), self.rule.neutral, dtype=x.dtype))
        hs = list(enumerate(self.relus(x, self.rule.norm, self.rule.norm_input), 1))[self.rule.softmax_from - 1 :]
        return torch.cat([self.normalised(h, self.rule.norm, l) for l, h in hs], dim=1) @ self.net.head.W

    def labelled(self, x, label):
        slots = label.expand(len(x), -1)
        return torch.cat([slots, x[:, len(label) :]] if self.rule.label == "overlay" else [x, slots], dim=1)

    def relus(self, h, norm, norm_input):
        for l, (W, b) in enumerate(self.net.layers):
            received = self.normalised(h, norm, l) if l or norm_input else h
            h = torch.relu(received @ W + (0 if b is None else b))
            yield h

    def normalised(self, h, norm, l):
        return h if norm == "none" else self.directions(h, h.shape[1] ** 0.5 if norm == "rms" else 1.0, self.rule.tiny, l)

    def directions(self, h, root, tiny, l):
        length = torch.linalg.vector_norm(h, dim=1, keepdim=True)
        r = torch.where(length > 0, length / root + tiny, 1.0)
        self.least[l] = min(self.least.get(l, 1.0), r.min().item())
        return h / r


def weighed(twin, weights):
    """S, (B,), as a function of images alone; Captum may stack all of them several times over."""
    def S(x):
        return (torch.tensor(np.tile(weights, (len(x) // len(weights), 1))) * twin(x)).sum(dim=1)
    return S


def assert_close(ours, theirs, twin, size=0.0, relative=1e-13):
    """Equal to 1e-13 and so much of the largest number expected or of `size`, magnified as norms may."""
    theirs = theirs.detach().numpy()
    bound = (1e-13 + relative * np.nanmax([size, *np.abs(theirs).ravel()])) / np.prod(list(twin.least.values()))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)


# ----- autograd -----


@many
@given(s=scenes())
def test_the_twin_has_the_scores(s):
    twin = Twin(s.score)
    theirs = twin(torch.tensor(s.x))
    assert_close(s.score(s.x), theirs, twin)


@many
@given(s=scenes())
def test_the_gradient_is_autograd(s):
    twin, x = Twin(s.score), torch.tensor(s.x, requires_grad=True)
    theirs, = torch.autograd.grad(weighed(twin, s.weights)(x).sum(), x, materialize_grads=True)
    assert_close(gradient(s.score, s.x, s.weights), theirs, twin)


# ----- Captum, which rounds to float32: the weights of its steps, and the mean over windows -----


@few
@given(s=scenes())
def test_the_gradient_is_captums_saliency(s):
    twin = Twin(s.score)
    theirs = captum.attr.Saliency(weighed(twin, s.weights)).attribute(torch.tensor(s.x, requires_grad=True), abs=False)
    assert_close(gradient(s.score, s.x, s.weights), theirs, twin)


@few
@given(s=scenes())
@pytest.mark.parametrize("steps", [1, 10])
def test_integrated_gradients_are_captums(steps, s):
    """Its gap too."""
    twin, to = Twin(s.score), s.rng.random(s.x.shape)
    theirs, gap = captum.attr.IntegratedGradients(weighed(twin, s.weights)).attribute(
        torch.tensor(s.x), torch.tensor(to), n_steps=steps, method="gausslegendre", return_convergence_delta=True)
    values, own_gap = integrated_gradients(s.score, s.x, s.weights, to, steps)
    points = (np.polynomial.legendre.leggauss(steps)[0] + 1) / 2
    steepest = max(np.abs(gradient(s.score, to + t * (s.x - to), s.weights)).max() for t in points)
    assert_close(values, theirs, twin, steepest, EPS32)
    assert_close(own_gap, gap, twin, s.x.shape[1] * steepest, EPS32)


@few
@given(view=views())
def test_occlusion_is_captums(view):
    """Windows that are cut off at the far edge, and other images in the place of the covered parts, among them; strides beyond
    the window Captum refuses."""
    s, window, stride = view
    (height, width, channels), stride = picture(s.score.shape), tuple(map(min, stride, window))
    twin, to = Twin(s.score), s.rng.integers(5, size=s.x.shape) / 4

    def margin(images):
        scores = twin(images.reshape(len(images), -1))
        own = torch.nn.functional.one_hot(torch.tensor(s.y), scores.shape[1]).bool()
        return scores[own] - scores.masked_fill(own, -torch.inf).max(dim=1).values

    images, base = (torch.tensor(a).reshape(-1, height, width, channels) for a in (s.x, to))
    theirs = captum.attr.Occlusion(margin).attribute(
        images, (*window, channels), strides=(*stride, channels), baselines=base)[..., 0]
    under = as_maps(np.zeros_like(s.x), s.score.shape, s.score.overlaid)  # NaN where a label is written
    found, size = occlusion(s.score, s.x, s.y, s.score.shape, window, stride, s.score.overlaid, to), np.abs(s.score(s.x)).max()
    assert_close(found, theirs + torch.tensor(under), twin, size, EPS32)
