"""What the tests of saliency draw with Hypothesis: scorers of any net with images for them, windows, maps."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from host import HOST
from hypothesis import strategies as st
from scenes import Scene, scene
from strategies import Strategy, forward_forwards, mono_forwards, rates, seeds, told_their_error, unsupervised, widths

from ffnp.saliency.scorer import picture

# ----- saliency: scorers and images for them -----

shapes_of_images = (st.tuples(st.integers(1, 5), st.integers(2, 5)) | st.tuples(st.integers(2, 9))  # one line of inputs
                    | st.tuples(st.integers(1, 3), st.integers(2, 3), st.integers(1, 3)))
FAMILIES = [told_their_error, forward_forwards(), unsupervised, mono_forwards]
scored = st.sampled_from(FAMILIES).flatmap(lambda rules: rules)
no_input_norm = told_their_error | mono_forwards | forward_forwards(norm_input=False)


@st.composite
def scenes(draw: st.DrawFn, rules: Strategy = scored, **fixed: Any) -> Scene:
    """A net of one of the rules by any read-out and any layers of it, and images; what `scene` takes may be fixed."""
    shape = fixed.pop("shape", None) or draw(shapes_of_images)
    drawn = {
        "hidden": tuple(draw(st.lists(widths, min_size=2, max_size=3))),
        "classes": draw(st.integers(2, min(4, math.prod(shape)))), "rows": draw(widths), "seed": draw(seeds),
        "bias": draw(st.sampled_from(["fan_in_uniform", None])), "standardise": draw(st.sampled_from([None, (0.13, 0.31)])),
        "backend": draw(st.sampled_from(HOST)),
    }
    made = scene(draw(rules), shape, **drawn | fixed)
    score = replace(made.score, read_out=draw(st.sampled_from(list(made.score.rule.read_outs()))), layers=())
    some = draw(st.lists(st.integers(1, max(1, len(score.net.layers))), unique=True))
    return made._replace(score=replace(score, layers=tuple(some) if score.layers else ()))


@st.composite
def views(draw: st.DrawFn, rules: Strategy = scored, **fixed: Any) -> tuple[Any, ...]:
    """A scene of images in five greys, so that windows often change nothing, with a window that fits and a stride."""
    s = draw(scenes(rules, **{"grey": 5} | fixed))
    height, width, _ = picture(s.score.shape)
    window = draw(st.integers(1, height)), draw(st.integers(1, width))
    return s, window, (draw(st.integers(1, 4)), draw(st.integers(1, 4)))


# ----- faithfulness -----


class Mapped(NamedTuple):
    """Images (n, I) to start from and others to go to, float64 and different in every input; their maps (n, height, width), NaN
    at some pixels, and labels y (n,); and weights (I, 3) and (3, C) of a net."""

    x: np.ndarray
    to: np.ndarray
    maps: np.ndarray
    y: np.ndarray
    weights: tuple[np.ndarray, np.ndarray]

    def score(self, x: np.ndarray) -> np.ndarray:
        A, B = self.weights
        return np.tanh(x @ A) @ B

    @property
    def channels(self) -> int:
        return self.x.shape[1] // self.maps[0].size


@st.composite
def mapped_images(draw: st.DrawFn, pixels: int = 1, blank: bool = True) -> Mapped:
    """At least so many `pixels`. Maps have no ties; `blank`: whether some pixels are NaN."""
    rng = np.random.default_rng(draw(seeds))
    n, height, channels, C = draw(widths), draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(2, 4))
    width = draw(st.integers(-(-pixels // height), 5))
    maps = rng.permuted(np.tile(np.arange(height * width) - 3.0, (n, 1)), axis=1).reshape(n, height, width)
    maps[rng.random(maps.shape) < (draw(rates) if blank else 0)] = np.nan
    x, to = rng.random((2, n, height * width * channels))
    weights = rng.standard_normal((x.shape[1], 3)), rng.standard_normal((3, C))
    return Mapped(x, to, maps, rng.integers(C, size=n), weights)
