"""What nets have learned shows in their maps: on the embedded digits, after a training of seconds."""

import numpy as np
import pytest

import ffnp
from ffnp.run import begin
from ffnp.saliency.methods import METHODS
from ffnp.saliency.scorer import Scorer
from ffnp.training import train

DIGITS = ffnp.load("digits")


def alike(a, b):
    """The mean correlation of the maps of each image."""
    both = ([m[~np.isnan(m)] for m in maps] for maps in (a, b))
    found = [np.corrcoef(*pair)[0, 1] for pair in zip(*both, strict=True) if all(np.ptp(m) > 0 for m in pair)]
    assert found
    return np.mean(found)


@pytest.mark.parametrize("name", ["ff-small", "bp-small", "pepita-small"])
def test_the_maps_of_a_trained_net_are_not_those_of_a_random_one(name):
    """By every method that the net serves. The random one is the same preset drawn by another seed, and never trained. A
    correlation of 1 would say that maps show the image, not the net (Adebayo et al. 2018)."""
    run = train(name, DIGITS, epochs=10, layers=(64, 50, 50), threads=1)
    trained, random = Scorer(run), Scorer(begin(run.preset, {**run.history, "seed": 1}))
    x, y = DIGITS.x_test[:60], DIGITS.y_test[:60]
    found = {title: alike(method.maps(trained, x, y), method.maps(random, x, y))
             for title, method in METHODS.items() if not method.lacks(trained.rule, trained.read_out)}
    assert {"ads", "grad", "smooth", "ig", "occlusion"} < set(found)
    assert max(found.values()) < 0.5
