"""PEPITA's own map: F e, the perturbation of the input that the rule itself learns from, and what it changes above.

    first pass    h_l, e = P - Y of the label that is explained;   second pass   g_l, from x + sign F e

Its sign: to first order the logits move by sign (F e)^T W, W the product of the weights, and PEPITA turns W towards -sign F
(see `rules.pepita`). Where they are aligned, W = -c sign F with c > 0, the logits move by -c F^T F e, and the loss, whose
gradient in them is e, by -c |F e|^2 < 0. So with either sign the perturbation is a step that makes the label y likelier: a
pixel with a positive value speaks for y when it gets brighter, as in a gradient of y's logit. Its size says how wrong the
net was: a sure and right answer has hardly any.
"""

from typing import NamedTuple

import numpy as np

from ..errors import UserError
from ..rules import PEPITA
from ..rules.rule import CHUNK
from .scorer import Scorer


class Perturbation(NamedTuple):
    """`values` (n, I): sign F e, in the units of the images. `differences`: of each hidden layer h_l - g_l, (n, O)."""

    values: np.ndarray
    differences: list[np.ndarray]


def perturbation(score: Scorer, x: np.ndarray, y: np.ndarray) -> Perturbation:
    """Of images x (n, I) with labels y (n,), without dropout; h_l and g_l after the rule's norm, as layers above receive them.

    Raises UserError for a net of another rule.
    """
    rule, (_, std) = score.rule, score.run.preset.standardise or (0.0, 1.0)
    if not isinstance(rule, PEPITA):
        raise UserError(f"{score.run.preset.name} does not perturb its input by its error: only PEPITA does")
    prepared = score.run.prepared(x)
    parts = [passes(score, rule, prepared[i : i + CHUNK], y[i : i + CHUNK]) for i in range(0, len(x), CHUNK)]
    alone, *hidden = map(np.concatenate, zip(*parts, strict=True))
    return Perturbation(alone.dtype.type(std) * alone, hidden)


def passes(score: Scorer, rule: PEPITA, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """sign F e of prepared images, and h_l - g_l of each hidden layer."""
    k, net, rows = score.k, score.net, score.k.put(x)
    first = rule.forward(k, net, rows)
    e, _ = k.softmax_error(first.logits, k.put(y))
    second = rule.second(k, net, rows, e, keys=[])
    alone = rule.modulated(k, net, k.scale(rows, 0.0), e)
    hidden = zip(first.received[1:], second.received[1:], strict=True)
    return [k.get(alone), *(k.get(k.add(h, g, -1.0)) for h, g in hidden)]
