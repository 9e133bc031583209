"""A scorer of a small net that nobody had to train, with images for it, for the tests of saliency."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from networks import KERNELS, network, put
from tiny import recipe

from ffnp.run import Run
from ffnp.saliency.scorer import Scorer


class Scene(NamedTuple):
    """Images x (n, I) in [0, 1] with labels y (n,) for a scorer, weights (n, C) of its classes, a generator for the rest."""

    score: Scorer
    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    rng: np.random.Generator


def scene(
    rule: Any, shape: tuple[int, ...], hidden: tuple[int, ...], classes: int = 3, rows: int = 4, seed: int = 0,
    bias: str | None = "fan_in_uniform", dtype: str = "float64", backend: str = "numpy",
    standardise: tuple[float, float] | None = None, grey: int = 0,
) -> Scene:
    """A net with drawn weights, scored by its main read-out. `grey`: images of so many levels from 0 to 1; 0: of any in (0, 1).
    """
    rng, sizes = np.random.default_rng(seed), (math.prod(shape), *hidden, classes)
    net = put(KERNELS[backend], network(KERNELS["numpy"], rule, SimpleNamespace(rng=rng, sizes=sizes), dtype, bias))
    history = {"backend": backend, "threads": 1, "dtype": dtype, "sizes": list(sizes), "shape": list(shape)}
    x = rng.random((rows, sizes[0])) if not grey else rng.integers(grey, size=(rows, sizes[0])) / (grey - 1)
    score = Scorer(Run(net, (), replace(recipe(rule), standardise=standardise), history))
    return Scene(score, x.astype(dtype), rng.integers(classes, size=rows), rng.standard_normal((rows, classes)), rng)


def with_net(score: Scorer, net: Any) -> Scorer:
    """The same scorer of another net; from the host, where its backend computes."""
    return replace(score, run=score.run._replace(net=put(score.k, net)))


def with_inputs(score: Scorer, change: Any) -> Scorer:
    """The same scorer, its first layer's weights from the image, (I, O), changed to change(W); what a label adds stays."""
    first, *rest = score.net.layers
    W, I = score.k.get(first.W).copy(), score.run.history["sizes"][0]
    W[:I] = change(W[:I].copy())
    return with_net(score, score.net._replace(layers=(first._replace(W=W), *rest)))
