"""The controls: maps that never look at the net."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ffnp.saliency.controls import CONTROLS, blurred_random, centre, intensity, random

SHAPES = {(8,): (1, 8), (8, 8): (8, 8), (6, 5, 3): (6, 5)}
each_control = pytest.mark.parametrize("control", CONTROLS.values(), ids=CONTROLS.keys())
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def images(shape, n=4):
    return np.random.default_rng(1).random((n, int(np.prod(shape)))), np.zeros(n, int)


def anything(shape, overlaid=0):
    """All that a control asks for: what has no net in it cannot be looked at."""
    return SimpleNamespace(shape=shape, overlaid=overlaid)


@each_control
@each_shape
def test_a_map_has_a_number_for_each_pixel(control, shape):
    maps = control(anything(shape), *images(shape))
    assert maps.shape == (4, *SHAPES[shape]) and np.isfinite(maps).all()


@each_control
@each_shape
@pytest.mark.parametrize("overlaid", [1, 4])
def test_pixels_under_a_label_are_nan_and_no_others_change(control, shape, overlaid):
    """A pixel of three channels is under it with the first of them."""
    free, under = (control(anything(shape, covered), *images(shape)).reshape(4, -1) for covered in (0, overlaid))
    hidden = -(-overlaid // (shape[2] if len(shape) == 3 else 1))
    assert np.isnan(under[:, :hidden]).all()
    np.testing.assert_array_equal(under[:, hidden:], free[:, hidden:])


@each_control
def test_the_same_images_have_the_same_maps_whatever_their_labels(control):
    x, y = images((8, 8))
    np.testing.assert_array_equal(control(anything((8, 8)), x, y), control(anything((8, 8)), x.copy(), y + 1))


def test_random_is_uniform_and_another_for_each_image():
    """Its mean and mean square over 64,000 pixels, 1/2 and 1/3, to 4 deviations: sqrt(1/12 / 64000), sqrt(4/45 / 64000)."""
    maps = random(anything((8, 8)), *images((8, 8), 1000))
    assert maps.min() >= 0 and maps.max() < 1
    assert maps.mean() == pytest.approx(1 / 2, abs=4 * (1 / 12 / 64000) ** 0.5)
    assert (maps**2).mean() == pytest.approx(1 / 3, abs=4 * (4 / 45 / 64000) ** 0.5)
    assert len(np.unique(maps, axis=0)) == 1000


def test_intensity_is_the_size_of_the_inputs_of_a_pixel_added_up():
    x, y = images((6, 5, 3))
    expected = [[[sum(abs(v) for v in pixel) for pixel in line] for line in image] for image in (x - 0.5).reshape(-1, 6, 5, 3)]
    np.testing.assert_allclose(intensity(anything((6, 5, 3)), x - 0.5, y), expected, rtol=1e-15)


def test_centre_is_a_gaussian_of_a_quarter_of_each_side():
    maps = centre(anything((8, 12)), *images((8, 12)))
    expected = [[np.exp(-((i - 3.5) ** 2 / 2**2 + (j - 5.5) ** 2 / 3**2) / 2) for j in range(12)] for i in range(8)]
    np.testing.assert_allclose(maps, np.tile(expected, (4, 1, 1)), rtol=1e-14)


def test_blurred_random_is_random_blurred():
    maps = random(anything((14, 28)), *images((14, 28)))
    blurred = [gaussian_filter(each, (1, 2)) for each in maps]
    np.testing.assert_allclose(blurred_random(anything((14, 28)), *images((14, 28))), blurred, rtol=1e-14)
