"""Diagnostics of any rule: how far its updates and its feedback turn from backprop's, what the layers of Forward-Forward
believe, how slowly a rule learns and how much it keeps in memory.

Everything is computed on the host in float64, from one fixed batch and with draws of its own, so that looking changes
nothing. Angles are in degrees; a number that does not exist, as the angle to a zero, is None.
"""

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from .backend import load_backend
from .errors import UserError
from .kernels.contract import Array, Kernels, Layer, Pair
from .net import Net
from .rules import PEPITA, AdaptiveFeedback, DirectFeedback, FeedbackAlignment, Rule
from .rules.classifier import Classifier
from .rules.contrast import Contrast
from .rules.pepita import projection
from .rules.rule import Moment
from .run import each_array

ROWS = 500  # of the validation images, the first
OCTAVES = 6 * np.linspace(0, 1, 16) ** 2
EDGES = 2 ** np.concatenate([-OCTAVES[:0:-1], OCTAVES])  # of the bins of goodness / theta, 1/64 .. 64, narrow about 1


def diagnostics(k: Kernels, rule: Rule, net: Net, x: Array, y: Array) -> dict[str, Any]:
    """What one epoch's record keeps, as plain JSON numbers, of the first ROWS rows of x (n, I) and y (n,).

    `angle` and `norm_ratio` (see `alignment`); where the rule has them `feedback_angle`, `feedback_distance`,
    `perturbation` (see `feedback`) and `goodness` (see `goodness_histograms`).
    """
    net = each_array(net, lambda name, a: k.get(a).astype(np.float64))
    x, y = k.get(x[:ROWS]).astype(np.float64), k.get(y[:ROWS])
    found = alignment(rule, net, x, y) | feedback(rule, net, x, y)
    if isinstance(rule, Contrast):
        found["goodness"] = goodness_histograms(rule, net, x, y)
    return found


def angle(a: np.ndarray, b: np.ndarray) -> float | None:
    """Between two arrays of one shape, seen as vectors: 0 to 180 degrees, exact to rounding near 0 and 180.

    >>> round(angle(np.array([1.0, 0.0]), np.array([1.0, 1.0])), 6)
    45.0
    """
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    if not all(np.isfinite(lengths)) or not all(lengths):
        return None
    u, v = a / lengths[0], b / lengths[1]
    return float(np.degrees(2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v))))


def ratio(a: np.ndarray, b: np.ndarray) -> float | None:
    """|a| / |b|."""
    above, below = np.linalg.norm(a), np.linalg.norm(b)
    return float(above / below) if np.isfinite([above, below]).all() and below else None


# ----- the update and backprop's -----


def alignment(rule: Rule, net: Net, x: np.ndarray, y: np.ndarray) -> dict[str, list[float | None]]:
    """Per layer: `angle` between the rule's update and backprop's, and `norm_ratio`, the lengths of the first by the second."""
    both = list(zip(update(rule, net, x, y), backprop(rule, net, x, y), strict=True))
    return {"angle": [angle(*pair) for pair in both], "norm_ratio": [ratio(*pair) for pair in both]}


def update(rule: Rule, net: Net, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Of each layer the sum of all dW and db (as one vector) that the rule asks for in a batch, all of them for this net.

    So a rule that moves weights within a batch is asked for all of its steps before the first is taken.
    """
    k = load_backend("numpy")
    total = [np.zeros(W.size + (0 if b is None else b.size)) for W, b in net.layers]
    for signals in undisturbed(rule).signals(k, net, x, y, np.random.default_rng(0)):
        for l, pairs in signals.layers.items():
            total[l] += flat(k.gradient(net.layers[l], pairs, signals.rows))
    return total


def backprop(rule: Rule, net: Net, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Of each layer the gradient of the sum of all losses of the rule, through all layers; laid out as `update`.

    Where a rule has one loss, at the output, this is back-propagation. Where every layer has its own, as in
    Forward-Forward, a layer also hears from the losses above it, through weights, normalisation and f'. What collaborating
    layers believe together is given here too: no loss is followed into another layer's goodness.
    """
    k, gradient, above = load_backend("numpy"), [], None
    received, sent = losses(rule, net, x, y)
    for l in reversed(range(len(net.layers))):
        delta = sent.get(l, 0.0)
        if above is not None:
            f = getattr(rule, "activation", "relu")
            h = k.dense(received[l], *net.layers[l], f)
            delta = delta + k.gate(through_norm(rule, above, h), h, f)
        gradient.append(flat(k.gradient(net.layers[l], [Pair(received[l], delta)], len(x))))
        above = k.project(delta, net.layers[l].W)
    return gradient[::-1]


def losses(rule: Rule | Contrast, net: Net, x: np.ndarray, y: np.ndarray) -> tuple[list[np.ndarray], dict[int, np.ndarray]]:
    """What each layer receives, and where losses arise: layer -> the gradient in z of that layer's own loss.

    Of a rule with local losses this is what it sends, but for peer normalisation, which is no gradient of a loss.
    """
    k = load_backend("numpy")
    if isinstance(rule, Classifier):
        up = rule.forward(k, net, x)
        return up.received, {len(net.layers) - 1: k.softmax_error(up.logits, y)[0]}
    signals, = undisturbed(rule, peer=0.0).signals(k, net, x, y, np.random.default_rng(0))
    own = {l: pair for l, (pair,) in sorted(signals.layers.items())}
    return [pair.pre for pair in own.values()], {l: pair.post for l, pair in own.items()}


def undisturbed(rule: Any, **more: Any) -> Any:
    """The rule with all its layers learning in every batch, and without dropout."""
    off = {"dropout": 0.0, "pre_mirror": 0, "mirror_every": 0, "schedule": "joint", **more}
    return replace(rule, **{name: value for name, value in off.items() if hasattr(rule, name)})


def through_norm(rule: Any, delta: np.ndarray, h: np.ndarray) -> np.ndarray:
    """A gradient in n(h) brought back to h, for the rule's n = h / s, s = |h| / root + tiny.  (B, O) (B, O) -> (B, O).

    delta / s - h (h . delta) / (s^2 |h| root), the dot product and |h| over a row, or over all rows for "batch".
    """
    norm = getattr(rule, "norm", "none")
    if norm == "none":
        return delta
    axis = None if norm == "batch" else 1
    root = h.shape[1] ** 0.5 if norm == "rms" else 1.0
    length = np.linalg.norm(h, axis=axis, keepdims=True)
    length = np.where(length > 0, length, 1.0)  # a silent row is gated anyway
    s = length / root + getattr(rule, "tiny", 0.0)
    return delta / s - h * (h * delta).sum(axis=axis, keepdims=True) / (s**2 * length * root)


def flat(layer: Layer) -> np.ndarray:
    """All numbers of a layer as one vector."""
    return np.concatenate([a.ravel() for a in layer if a is not None])


# ----- feedback -----


def feedback(rule: Rule, net: Net, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """`feedback_angle` between each feedback matrix and the weights it stands for (see `paths`); with feedback alignment
    also `feedback_distance` |B - W| / |W|; with PEPITA and AFA the `perturbation` |F e| / |x|. Nothing for other rules.
    """
    pairs = paths(rule, net)
    found: dict[str, Any] = {"feedback_angle": [angle(B, W) for B, W in pairs]} if pairs else {}
    if isinstance(rule, FeedbackAlignment):
        found["feedback_distance"] = [ratio(B - W, W) for B, W in pairs]
    if isinstance(rule, (PEPITA, AdaptiveFeedback)):
        k = load_backend("numpy")
        e, _ = k.softmax_error(rule.forward(k, net, x).logits, y)
        found["perturbation"] = ratio(e @ pairs[0][0].T, x)
    return found


def paths(rule: Rule, net: Net) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each feedback matrix and, laid out alike, the weights whose place it takes: W_l in feedback alignment, the product
    W_{l+1} .. W_L in direct feedback, W_1 .. W_L for F. PEPITA with sign +1 drives that product to -F, so -F stands here.
    """
    Ws = [W for W, _ in net.layers]
    if isinstance(rule, FeedbackAlignment):
        Bs = [rule.scale * np.sign(W) for W in Ws[1:]] if rule.matrices == "sign" else [B.W for B in net.feedback]
        return list(zip(Bs, Ws[1:], strict=True))
    if isinstance(rule, DirectFeedback):
        return [(B.W, reduce(np.matmul, Ws[l:])) for l, B in enumerate(net.feedback, 1)]
    if isinstance(rule, (PEPITA, AdaptiveFeedback)):
        return [(-getattr(rule, "sign", -1) * projection(load_backend("numpy"), net.feedback), reduce(np.matmul, Ws))]
    return []


# ----- goodness -----


def goodness_histograms(rule: Contrast, net: Net, x: np.ndarray, y: np.ndarray) -> dict[str, list[Any]]:
    """`positive`, `negative`: for each layer how many examples have a goodness in each bin; `edges` of the bins in units of
    theta, what lies beyond them counts in the outermost. The negatives are those that the rule itself makes of the batch.
    """
    k, counts = load_backend("numpy"), []
    for layer, received in zip(net.layers, losses(rule, net, x, y)[0], strict=True):
        h = k.dense(received, *layer, "relu")
        G = rule.share(h) * k.sum_squares(h) / (rule.threshold(h) or 1.0)
        inside = np.clip(G, EDGES[0], EDGES[-1])
        counts.append([np.histogram(rows, EDGES)[0].tolist() for rows in (inside[: len(x)], inside[len(x) :])])
    positive, negative = zip(*counts, strict=True)
    return {"edges": EDGES.tolist(), "positive": list(positive), "negative": list(negative)}


# ----- slowness -----


def slowness(accuracies: Sequence[float]) -> tuple[float, float]:
    """s and acc_max of acc(E) = acc_max E / (s + E), for the accuracies of epochs E = 1, 2, ... at one learning rate.

    acc_max is the highest of them, s, in epochs, fits them by least squares; smaller is faster (Dellaferrera & Kreiman 2022,
    their published notebook; the chance level that it puts at E = 0 adds a constant to the squares and so does not move s).
    Raises UserError for less than two epochs.

    >>> s, highest = slowness([0.60, 0.75, 0.80, 0.82])
    >>> round(s, 2), highest
    (0.26, 0.82)
    """
    if len(accuracies) < 2:
        raise UserError(f"slowness needs the accuracies of at least 2 epochs, not {len(accuracies)}")
    return fitted(accuracies, max(accuracies)), max(accuracies)


def fitted(accuracies: Sequence[float], highest: float) -> float:
    """The s > 0 of least squares for a given acc_max."""
    from scipy.optimize import least_squares

    E, acc = np.arange(1, len(accuracies) + 1), np.asarray(accuracies)
    found = least_squares(lambda log_s: highest * E / (np.exp(log_s) + E) - acc, 0.0, xtol=1e-12, ftol=1e-15, gtol=1e-15)
    return float(np.exp(found.x[0]))


def at_first_rate(history: dict[str, Any]) -> list[float]:
    """The validation accuracies of a history's epochs before its learning rate first changes."""
    epochs = history["epochs"]
    stop = next((i for i, e in enumerate(epochs) if e["rate_factor"] != epochs[0]["rate_factor"]), len(epochs))
    return [1 - e["val_error"] for e in epochs[:stop]]


# ----- memory -----


def activation_memory(rule: Rule, sizes: Sequence[int], batch: int, dtype: str = "float32") -> dict[str, int]:
    """Bytes for the activity of one batch in a network of `sizes`: by the `published` formula, and `measured`.

    Published: with an error from the output, as in backprop and PEPITA, all layers' activity with the input; with a loss in
    each layer, as in Forward-Forward, the largest two neighbours and the input, one pass at a time. Measured: the peak of
    what `signals` allocates on the NumPy backend, the input not among it. It is more than the formula's, as errors need room
    too; and of Forward-Forward much more, since our layers step together, after both passes: until then every layer's
    input and signal are kept, of positive and negative examples alike, and memory grows with depth as backprop's does.
    """
    rng, k = np.random.default_rng(0), load_backend("numpy")
    net = rule.init(rng, sizes, "he_normal", None, dtype)
    x, y = rng.random((batch, sizes[0])).astype(dtype), rng.integers(sizes[-1], size=batch)
    widths = [net.layers[0].W.shape[0], *(W.shape[1] for W, _ in net.layers)]
    neighbours = max(a + b for a, b in zip(widths, widths[1:], strict=False))
    numbers = sum(widths) if isinstance(rule, Classifier) else neighbours + widths[0]
    learning = Moment(epoch=getattr(rule, "pre_mirror", 0) + 1)
    tracemalloc.start()
    for _ in rule.signals(k, net, x, y, rng, learning):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"published": numbers * batch * np.dtype(dtype).itemsize, "measured": peak}
