"""Training on shifted images: how far they move, how often anew, and what stays where it is."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from tiny import bits, recipe, untimed

import ffnp
from ffnp.data import from_arrays
from ffnp.errors import UserError
from ffnp.presets import PRESETS
from ffnp.rules import Backprop, ForwardForward

SHAPE, PIXEL = (5, 6), (2, 3)


def dots(n=54, shape=SHAPE):
    """Black images, each with one pixel lit in the middle, of a brightness of its own."""
    x = np.zeros((n, *shape))
    x[:, PIXEL[0], PIXEL[1]] = np.linspace(0.5, 1, n).reshape(n, *[1] * (len(shape) - 2))
    return from_arrays(x, np.arange(n) % 3, x[:9], np.arange(9) % 3, name="dots")


def images_seen(preset, data, monkeypatch):
    """The images of each step of a training, in their order."""
    seen, signals = [], Backprop.signals
    monkeypatch.setattr(Backprop, "signals", lambda self, k, net, x, *rest: seen.append(x) or signals(self, k, net, x, *rest))
    ffnp.train(preset, data)
    return seen


def moves(x, shape=SHAPE):
    """How far down and right the one lit pixel of each image is."""
    lit = (x.reshape(len(x), *shape) > 0).reshape(len(x), *shape[:2], -1).all(axis=3)
    return [tuple(np.argwhere(image)[0] - PIXEL) for image in lit]


@pytest.mark.parametrize("shape", [SHAPE, (*SHAPE, 3)])
@pytest.mark.parametrize("shift", [0, 1, 2])
def test_images_move_by_up_to_so_many_pixels_each_way_and_all_moves_occur(shape, shift, monkeypatch):
    seen = images_seen(recipe(shift=shift, epochs=20), dots(shape=shape), monkeypatch)
    reach = range(-shift, shift + 1)
    assert {move for x in seen for move in moves(x, shape)} == set(itertools.product(reach, repeat=2))


def test_an_image_moves_anew_in_every_epoch(monkeypatch):
    first, second = images_seen(recipe(shift=1, epochs=2, shuffle=False), dots(), monkeypatch)
    assert moves(first) != moves(second)


def test_shifts_leave_the_order_of_the_images(monkeypatch):
    still, moved = (images_seen(recipe(shift=shift, epochs=1), dots(), monkeypatch)[0].max(axis=1) for shift in (0, 1))
    np.testing.assert_array_equal(still, moved)


def test_only_what_is_learned_from_moves(monkeypatch):
    """The images a diagnosis sees are those of the data."""
    seen, diagnose = [], Backprop.diagnose
    monkeypatch.setattr(Backprop, "diagnose", lambda self, k, net, x, y: seen.append(x) or diagnose(self, k, net, x, y))
    ffnp.train(recipe(shift=2, epochs=2), dots())
    for x in seen:
        np.testing.assert_array_equal(x, dots().x_train[5::6])


def test_a_label_is_written_after_the_shift(monkeypatch):
    """So it stands on the first inputs of every positive example."""
    seen, contrast = [], ForwardForward.contrast

    def spied(self, k, net, positive, *rest):
        seen.append(positive)
        return contrast(self, k, net, positive, *rest)

    monkeypatch.setattr(ForwardForward, "contrast", spied)
    ffnp.train(recipe(ForwardForward(), shift=2, epochs=3), dots())
    assert all((x[:, :3].sum(axis=1) == 1).all() and (x[:, :3].max(axis=1) == 1).all() for x in seen)


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_shifted_training_goes_on_where_it_stopped(backend, monkeypatch, tmp_path):
    small = replace(PRESETS["ff-olsen"], hidden=(7, 6), epochs=3, batch=9)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("ffnp.training.tell", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        ffnp.train(small, dots(), backend=backend, out=tmp_path)
    resumed = ffnp.train(small, dots(), backend=backend, out=tmp_path, resume=True)
    whole = ffnp.train(small, dots(), backend=backend)
    assert bits(resumed) == bits(whole) and untimed(resumed.history) == untimed(whole.history)


def test_rows_that_are_no_images_cannot_be_shifted():
    rows = dots()._replace(shape=(30,))
    with pytest.raises(UserError, match=r"recipe shifts images by 1, but dots has rows of shape \(30,\)"):
        ffnp.train(recipe(shift=1), rows)


def test_a_negative_shift_is_refused():
    with pytest.raises(UserError, match="shift must be at least 0 pixels, not -1"):
        recipe(shift=-1)
