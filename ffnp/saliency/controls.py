"""Maps that never look at the net: a method that is no better than these has told nothing about it.

    random          noise: what an order of pixels is worth by chance
    intensity       |x|: the image itself; strong wherever the background is black
    centre          a Gaussian around the image's centre, where most objects are
    blurred random  noise in patches: what a blurry map gains by being blurry (arXiv:2304.13836)

All are of the type `Saliency`, NaN under a label, and the same for the same images.
"""

import numpy as np

from .methods import Saliency
from .occlusion import blank_labels
from .scorer import Scorer, as_maps, picture


def random(score: Scorer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Uniform in [0, 1), for each pixel of each image."""
    height, width, _ = picture(score.shape)
    return seen(score, np.random.default_rng(0).random((len(x), height, width)))


def intensity(score: Scorer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """|x|, channels added up."""
    return as_maps(np.abs(x), score.shape, score.overlaid)


def centre(score: Scorer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """exp(-d^2 / 2) of the distance d to the centre, in units of a quarter of each side."""
    height, width, _ = picture(score.shape)
    down, right = (4 * (np.arange(side) - (side - 1) / 2) / side for side in (height, width))
    return seen(score, np.tile(np.exp(-(down[:, None] ** 2 + right**2) / 2), (len(x), 1, 1)))


def blurred_random(score: Scorer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Noise through a Gaussian, its deviation a fourteenth of each side: on 28x28 pixels as coarse as maps of 5x5 windows."""
    from scipy.ndimage import gaussian_filter

    height, width, _ = picture(score.shape)
    noise = np.random.default_rng(0).random((len(x), height, width))  # `random` may have NaN, which a filter spreads
    return seen(score, gaussian_filter(noise, (0, height / 14, width / 14)))


def seen(score: Scorer, maps: np.ndarray) -> np.ndarray:
    """The maps (n, height, width) without the pixels under a label."""
    return blank_labels(maps, score.overlaid, score.shape)


CONTROLS: dict[str, Saliency] = {
    "random": random, "intensity": intensity, "centre": centre, "blurred random": blurred_random,
}
