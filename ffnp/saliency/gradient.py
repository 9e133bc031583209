"""The gradient of a score in the image, in closed form, and what is made of it.

    goodness      G = sum_j h_j^2 of h = relu(xhat W + b):  dG/dxhat = 2 W h, as h is 0 wherever the slope of relu is, so that
                  the forward pass has all it takes. Through xhat = x / r, r = |x| / sqrt(I) (root mean square):
                  dG/dx = (g - xhat (xhat . g) / I) / r,  g = 2 W h;  in upper layers the same two lines, layer after layer
    any score     delta_l = (what arises in h_l + what comes from above) * f'(z_l), then through W_l and the norm below:
                  for a backprop net its own backward pass
    SmoothGrad    the mean gradient at x + noise (Smilkov et al. 2017, arXiv:1706.03825)
    IG            (x - x0) * integral of dS/dx along the line from x0 to x (Sundararajan et al. 2017, arXiv:1703.01365). All
                  inputs together have S(x) - S(x0); how far a sum of `steps` points is from that is the completeness gap.
                  Of a net that sees only the direction of an image (unsupervised Forward-Forward, PEPITA with a norm and no
                  biases) S jumps at a black x0 and is flat beyond: the gap is all of the change

S = sum_c weights_c s_c, a class against the mean of all, say (`scorer.one_against_all`). All of it is NumPy on the host.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from ..backend import load_backend
from ..diagnostics import through_norm
from ..errors import UserError
from ..net import Net
from ..rules import ForwardForward, MonoForward
from ..rules.classifier import Classifier
from ..rules.contrast import Contrast
from ..rules.rule import CHUNK
from ..run import each_array
from .scorer import Scorer

T = TypeVar("T")


class Pass(NamedTuple):
    """A forward pass: `x` that went in (n, I), the activity `h` and the name of its `f` in each layer; and `sent`, for some
    layers (from 0) the gradient of S that arises in their activity, (n, O)."""

    x: np.ndarray
    h: list[np.ndarray]
    f: list[str]
    sent: dict[int, np.ndarray]


def gradient(score: Scorer, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """dS/dx for images x (n, I) and weights (n, C).  -> (n, I); 0 where a label is written over the image.

    >>> from ffnp.data import load
    >>> from ffnp.saliency.scorer import one_against_all
    >>> from ffnp.training import train
    >>> data = load("digits")
    >>> score = Scorer(train("ff-small", data, epochs=1, layers=[64, 30, 30], backend="numpy", dtype="float64"))
    >>> x, y = data.x_test[:5], data.y_test[:5]
    >>> gradient(score, x, one_against_all(score(x), y)).shape
    (5, 64)
    """
    net, x = each_array(score.net, lambda name, a: score.k.get(a)), score.run.prepared(x)
    found = np.zeros_like(x)
    for i in range(0, len(x), CHUNK):
        rows = slice(i, i + CHUNK)
        for done in passes(score, net, x[rows], weights[rows].astype(x.dtype)):
            found[rows] += down(score, net, done)[:, : x.shape[1]]
    found[:, : score.overlaid] = 0
    _, std = score.run.preset.standardise or (0.0, 1.0)
    return found / x.dtype.type(std)


def passes(score: Scorer, net: Net, x: np.ndarray, weights: np.ndarray) -> Iterator[Pass]:
    """The forward passes that S takes, with what it sends to their layers."""
    k, rule, relu = load_backend("numpy"), score.rule, ["relu"] * len(net.layers)
    counted = [l - 1 for l in score.layers]
    if isinstance(rule, Classifier):
        up = rule.forward(k, net, x)
        yield Pass(x, [*up.active, up.logits], [rule.activation] * len(up.active) + ["linear"], {len(up.active): weights})
    elif isinstance(rule, MonoForward):
        h = [h for _, h, _ in rule.forward(k, net, x)]
        yield Pass(x, h, relu, {l: weights @ net.feedback[l].W.T for l in counted})
    elif isinstance(rule, ForwardForward) and counted:
        for c in np.flatnonzero(weights.any(axis=0)):
            labelled = rule.labelled(k, x, np.full(len(x), c), net)
            h = [h for _, h, _ in rule.forward(k, net, labelled)]
            yield Pass(labelled, h, relu, {l: 2 * rule.share(h[l]) * weights[:, c, None] * h[l] for l in counted})
    else:
        assert isinstance(rule, Contrast)  # by its head
        unlabelled = rule.unlabelled(k, net, x)
        h = [h for _, h, _ in rule.forward(k, net, unlabelled)]
        yield Pass(unlabelled, h, relu, from_head(rule, net, h, weights))


def from_head(rule: Contrast, net: Net, h: list[np.ndarray], weights: np.ndarray) -> dict[int, np.ndarray]:
    """What the softmax head of Forward-Forward sends: it sees the normalised activity of its layers side by side."""
    assert net.head is not None and rule.softmax_from is not None  # else it has no such read-out
    seen = range(rule.softmax_from - 1, len(h))
    ends = np.cumsum([h[l].shape[1] for l in seen])
    parts = np.split(weights @ net.head.W.T, ends[:-1], axis=1)
    return {l: through_norm(rule, part, h[l]) for l, part in zip(seen, parts, strict=True)}


def down(score: Scorer, net: Net, done: Pass) -> np.ndarray:
    """The walk from the top layer to the input of the first, (n, I)."""
    k, rule, above = load_backend("numpy"), score.rule, np.zeros_like(done.h[-1])
    for l in reversed(range(len(net.layers))):
        delta = k.gate(above + done.sent.get(l, 0), done.h[l], done.f[l])
        above = k.project(delta, net.layers[l].W)
        if l or getattr(rule, "norm_input", False):
            above = through_norm(rule, above, done.h[l - 1] if l else done.x)
    return above


def goodness_gradients(score: Scorer, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The gradient of each layer's own goodness, S = sum_c weights_c G_cl, bottom up.  -> (L, n, I).

    Raises UserError unless the score is Forward-Forward's goodness.
    """
    if not (isinstance(score.rule, ForwardForward) and score.read_out == "goodness"):
        raise UserError(f"{score.run.preset.name} by {score.read_out} has no goodness of labels")
    layers = range(1, len(score.net.layers) + 1)
    return np.stack([gradient(replace(score, layers=(l,)), x, weights) for l in layers])


def smooth_grad(
    score: Scorer, x: np.ndarray, weights: np.ndarray, samples: int = 25, sigma: float = 0.15, seed: int = 0,
    progress: str | None = None,
) -> np.ndarray:
    """The mean gradient at `samples` images x + normal noise of deviation sigma, in units of x.  -> (n, I).

    `progress`: the words before a bar on stderr.
    """
    rng = np.random.default_rng(seed)
    noisy = (x + (sigma * rng.standard_normal(x.shape)).astype(x.dtype) for _ in range(samples))
    return np.asarray(sum(gradient(score, each, weights) for each in bar(noisy, samples, progress))) / samples


def integrated_gradients(
    score: Scorer, x: np.ndarray, weights: np.ndarray, to: np.ndarray | None = None, steps: int = 32,
    progress: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """IG from the baseline `to` (zeros) to x, by Gauss and Legendre's points; and the completeness gap.  -> (n, I), (n,).

    `progress`: the words before a bar on stderr.
    """
    to = np.zeros_like(x) if to is None else to
    points, shares = np.polynomial.legendre.leggauss(steps)  # on (-1, 1)
    along = zip(((points + 1) / 2).tolist(), (shares / 2).tolist(), strict=True)
    values = (x - to) * sum(share * gradient(score, to + t * (x - to), weights) for t, share in bar(along, steps, progress))
    change = (weights * (score(x) - score(to))).sum(axis=1)
    return values, values.sum(axis=1) - change


def bar(points: Iterable[T], total: int, words: str | None) -> Iterable[T]:
    """The points, with a bar of how many of them are done."""
    return tqdm(points, desc=words, total=total, unit="gradient", leave=False, disable=True if words is None else None)
