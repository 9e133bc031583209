"""The methods by name: each makes a signed map of every image for its label; a positive pixel speaks for the label."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..rules import PEPITA, ForwardForward, Rule
from .gradient import gradient, integrated_gradients, smooth_grad
from .occlusion import ads, occlusion
from .perturbation import perturbation
from .scorer import Scorer, as_maps, one_against_all

Saliency = Callable[[Scorer, np.ndarray, np.ndarray], np.ndarray]  # (scorer, x (n, I), y (n,)) -> (n, height, width)


class Method(NamedTuple):
    """`maps` of images; `lacks`: why a net of this rule, by this read-out, cannot serve it, "" if it can; `says`: what was
    done, for a caption."""

    maps: Callable[..., np.ndarray]
    lacks: Callable[[Rule, str], str]
    says: str


def any_net(rule: Rule, read_out: str) -> str:
    return ""


def has_goodness(rule: Rule, read_out: str) -> str:
    return "" if isinstance(rule, ForwardForward) else "no layer of it has a goodness for each label"


def has_no_goodness(rule: Rule, read_out: str) -> str:
    by_goodness = isinstance(rule, ForwardForward) and read_out == "goodness"
    return "of goodness, that is the method goodness" if by_goodness else ""


def has_perturbation(rule: Rule, read_out: str) -> str:
    return "" if isinstance(rule, PEPITA) else "its rule does not add the error to the image, as PEPITA does"


def in_class(score: Scorer, x: np.ndarray, y: np.ndarray, **options: Any) -> np.ndarray:
    """For each image the ADS map of its class, over these images."""
    found = ads(score, x, y, score.shape, score.net.classes, overlaid=score.overlaid, **options)
    return found.class_maps[y]


def margin_lost(score: Scorer, x: np.ndarray, y: np.ndarray, **options: Any) -> np.ndarray:
    return occlusion(score, x, y, score.shape, overlaid=score.overlaid, **options)


def plain_gradient(score: Scorer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return shown(score, gradient(score, x, against_all(score, y)))


def times_input(score: Scorer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return shown(score, x * gradient(score, x, against_all(score, y)))


def goodness(score: Scorer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return times_input(score if score.read_out == "goodness" else replace(score, read_out="goodness", layers=()), x, y)


def smooth(score: Scorer, x: np.ndarray, y: np.ndarray, **options: Any) -> np.ndarray:
    return shown(score, smooth_grad(score, x, against_all(score, y), **options))


def integrated(score: Scorer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return shown(score, integrated_gradients(score, x, against_all(score, y))[0])


def added_error(score: Scorer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return shown(score, perturbation(score, x, y).values)


def against_all(score: Scorer, y: np.ndarray) -> np.ndarray:
    """The weights (n, C) of S = s_y - mean_c s_c."""
    return one_against_all(np.empty((len(y), score.net.classes), score.run.history["dtype"]), y)


def shown(score: Scorer, values: np.ndarray) -> np.ndarray:
    return as_maps(values, score.shape, score.overlaid)


METHODS: dict[str, Method] = {
    "ads": Method(in_class, any_net, "accuracy of the class, less that with the window covered (ADS)"),
    "goodness": Method(goodness, has_goodness, "x times the gradient of the label's goodness less the mean goodness"),
    "grad": Method(plain_gradient, any_net, "gradient of the label's score less the mean score"),
    "times-input": Method(times_input, has_no_goodness, "x times the gradient of the label's score less the mean score"),
    "smooth": Method(smooth, any_net, "SmoothGrad: the gradient's mean over 25 noisy images, deviation 0.15"),
    "ig": Method(integrated, any_net, "integrated gradients from a black image, 32 points of the line"),
    "occlusion": Method(margin_lost, any_net, "what the window takes from the margin: the label's score less the best other's"),
    "pepita": Method(added_error, has_perturbation, "the error PEPITA adds to the image, sign F e"),
}
