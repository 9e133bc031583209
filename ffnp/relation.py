"""How PEPITA and Forward-Forward are related: Hebbian PEPITA is Forward-Forward without its gates.

With descent, W <- W - rate dW, of hidden layer l and for B images (h the clean pass, g the modulated one)

    PEPITA, Hebbian      dW_l = sum over images of     h_{l-1}^T h_l  -           g_{l-1}^T g_l  / B
    Forward-Forward      dW_l = sum over images of p_h h_{l-1}^T h_l  -  (1 - p_g) g_{l-1}^T g_l / B

Both lower the goodness of h and raise that of g. So PEPITA's modulated inputs x + sign F e are the positives, the clean
images the negatives, and the gates p_h and 1 - p_g are 1. A gate is 1 where the threshold is infinitely far: above every
positive (p_g = 0), below every negative (p_h = 1). With these thresholds, and activities that go up as they are, the two
are one rule, layer by layer and exactly (`Ungated`). What is left between this and PEPITA proper is a remainder:

    PEPITA  g_{l-1}^T (h_l - g_l)  =  Hebbian  -  (h_{l-1} - g_{l-1})^T h_l

The output layer, where PEPITA is taught the class, has no counterpart in Forward-Forward.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .errors import UserError
from .kernels.contract import Array, Kernels
from .kernels.reference import sigmoid
from .net import Net
from .rules import PEPITA
from .rules.contrast import Contrast


class Ungated(Contrast):
    """Forward-Forward whose gates are all 1."""

    def thresholds(self, k: Kernels, hs: Sequence[Array], squares: Sequence[Array]) -> list[Array]:
        return [k.put(np.repeat([np.inf, -np.inf], len(h) // 2).astype(h.dtype)) for h in hs]


class Terms(NamedTuple):
    """The terms of one hidden layer's update for a batch, as Frobenius norms.

    `clean`, `modulated`: Hebbian PEPITA's two phases. `negative`, `positive`: the same two in Forward-Forward, gated.
    `negative_gate`: mean p of the clean images; `positive_gate`: mean 1 - p of the modulated ones. `cosine` of the angle
    between the two updates. `remainder`: PEPITA - Hebbian; `relative`: its length to that of the Hebbian update.
    """

    clean: float
    modulated: float
    negative: float
    positive: float
    negative_gate: float
    positive_gate: float
    cosine: float
    remainder: float
    relative: float


def terms(k: Kernels, net: Net, x: Array, y: Array, rule: PEPITA) -> list[Terms]:
    """The comparison for images x (B, I) with labels y (B,) on a net of the rule, one `Terms` a hidden layer.

    Forward-Forward's thresholds are the layers' numbers of units; nothing is normalised or dropped.
    Raises UserError for a rule with another activation than ReLU, or one that normalises.

    >>> from ffnp.kernels import reference as k
    >>> rng, rule = np.random.default_rng(0), PEPITA()
    >>> net = rule.init(rng, [64, 30, 10], "he_uniform", None, "float64")
    >>> first, = terms(k, net, rng.random((20, 64)), rng.integers(10, size=20), rule)
    >>> round(first.negative_gate + first.positive_gate, 1)  # F e is small beside x: both passes are believed alike
    1.0
    """
    if (rule.activation, rule.norm) != ("relu", "none"):
        raise UserError(f"the relation is that of ReLU layers without norm, not of {rule.activation} and norm {rule.norm}")
    modulated = rule.modulated(k, net, x, k.softmax_error(rule.forward(k, net, x).logits, y)[0])
    hidden = Net(net.layers[:-1], net.classes)
    ungated, gated = (choice(norm="none", norm_input=False).contrast(k, hidden, modulated, x, range(len(hidden.layers)))
                      for choice in (Ungated, Contrast))
    return [layer_terms(*(k.get(a) for a in (*ungated.layers[l][0], gated.layers[l][0].post))) for l in ungated.layers]


def layer_terms(pre: np.ndarray, post: np.ndarray, gated: np.ndarray) -> Terms:
    """Of what a layer received (2 B, I) and was sent without and with gates (2 B, O), the modulated rows first."""
    B, O = len(pre) // 2, post.shape[1]
    modulated, clean, positive, negative = (
        pre[rows].T @ sent[rows] / B for sent in (post, gated) for rows in (slice(B), slice(B, None)))
    p = sigmoid((post**2).sum(axis=1) - O)  # ungated signals are the activities themselves, but for a sign
    hebbian, remainder = modulated + clean, -(pre[B:] - pre[:B]).T @ post[B:] / B
    return Terms(
        clean=norm(clean), modulated=norm(modulated), negative=norm(negative), positive=norm(positive),
        negative_gate=float(p[B:].mean()), positive_gate=float(1 - p[:B].mean()),
        cosine=ratio(float(np.vdot(hebbian, positive + negative)), norm(hebbian) * norm(positive + negative)),
        remainder=norm(remainder), relative=ratio(norm(remainder), norm(hebbian)),
    )


def norm(a: np.ndarray) -> float:
    return float(np.linalg.norm(a))


def ratio(a: float, b: float) -> float:
    """a / b, and 0 for nothing of nothing."""
    return a / b if b else 0.0


def report(comparison: Sequence[Terms]) -> str:
    """The comparison as a table for reading, one line a layer."""
    head = "layer " + " ".join(f"{name:>13}" for name in Terms._fields)
    lines = (f"{l:5} " + " ".join(f"{value:13.4g}" for value in layer) for l, layer in enumerate(comparison, 1))
    return "\n".join([head, *lines])
