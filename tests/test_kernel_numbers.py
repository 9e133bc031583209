"""What the kernels mean that work number by number, and those that measure lengths: on every backend."""

import math

import numpy as np
from host import every_backend
from hypothesis import given
from hypothesis import strategies as st
from strategies import arguments, factors

TINY = math.exp(-100)  # Hinton's; float32 holds it as a subnormal number

# ----- sums, signs and masks -----


@every_backend
def test_number_by_number_by_example(k):
    a, b = np.array([1.0, -2, 0]), np.array([10.0, 20, 30])
    np.testing.assert_array_equal(k.add(a, b, 0.5), [6, 8, 15])
    np.testing.assert_array_equal(k.scale(a, -3.0), [-3, 6, 0])
    np.testing.assert_array_equal(k.sign(a), [1, -1, 0])
    np.testing.assert_array_equal(k.blend(np.array([[1.0, 0, 1]]), a[None], b[None]), [[1, 20, 0]])


@every_backend
@given(arguments("add"))
def test_an_array_minus_itself_is_zero(k, args):
    np.testing.assert_array_equal(k.add(args[0], args[0], -1.0), 0)


@every_backend
@given(arguments("add"))
def test_a_sum_does_not_depend_on_the_order(k, args):
    a, b, _ = args
    np.testing.assert_array_equal(k.add(a, b, 1.0), k.add(b, a, 1.0))


@every_backend
@given(arguments("add"))
def test_added_to_nothing_an_array_is_scaled(k, args):
    a, b, factor = args
    np.testing.assert_array_equal(k.add(0 * a, b, factor), k.scale(b, factor))


@every_backend
@given(arguments("scale"))
def test_to_scale_is_to_multiply_in_the_arrays_precision(k, args):
    a, factor = args
    np.testing.assert_allclose(k.scale(a, factor), a.astype(np.float64) * factor, rtol=np.finfo(a.dtype).eps, atol=0)


@every_backend
@given(arguments("sign"))
def test_a_sign_times_a_size_is_the_number(k, args):
    (a,) = args
    assert set(k.sign(a).flat) <= {-1, 0, 1}
    np.testing.assert_array_equal(k.sign(a) * np.abs(a), a)


@every_backend
@given(arguments("sign"), factors)
def test_the_sign_of_a_scaled_number_is_the_product_of_signs(k, args, factor):
    (a,) = args
    np.testing.assert_array_equal(k.sign(k.scale(a, factor)), math.copysign(factor != 0, factor) * k.sign(a))


@every_backend
@given(arguments("blend"))
def test_a_mask_and_its_complement_share_out_both_images(k, args):
    mask, a, b = args
    one, other = k.blend(mask, a, b), k.blend(1 - mask, a, b)
    np.testing.assert_array_equal(np.stack([one, other]).max(axis=0), np.maximum(a, b))
    np.testing.assert_array_equal(np.stack([one, other]).min(axis=0), np.minimum(a, b))
    np.testing.assert_array_equal(one[mask == 1], a[mask == 1])


@every_backend
@given(arguments("blend"))
def test_an_image_blended_with_itself_stays(k, args):
    mask, a, _ = args
    np.testing.assert_array_equal(k.blend(mask, a, a), a)


# ----- shifted images -----


def pixel(image: np.ndarray, row: int, column: int) -> np.ndarray:
    """Of an image that is zero all around."""
    height, width = image.shape[:2]
    inside = 0 <= row < height and 0 <= column < width
    return image[row, column] if inside else np.zeros(image.shape[2:])


@every_backend
def test_an_image_moves_down_and_right(k):
    image, moves = np.arange(1.0, 7)[None], np.array([[1, 2]], np.uint8)
    np.testing.assert_array_equal(k.shift(image, moves, (2, 3)), [[0, 0, 0, 0, 0, 1]])
    np.testing.assert_array_equal(k.shift(image, -moves.astype(np.int64), (2, 3)), [[6, 0, 0, 0, 0, 0]])


@every_backend
@given(arguments("shift"))
def test_every_pixel_comes_from_where_the_move_says(k, args):
    x, moves, shape = args
    moved = k.shift(*args).reshape(-1, *shape)
    for before, after, (down, right) in zip(x.reshape(-1, *shape), moved, moves, strict=True):
        for row, column in np.ndindex(shape[:2]):
            np.testing.assert_array_equal(after[row, column], pixel(before, row - down, column - right))


@every_backend
@given(arguments("shift"))
def test_an_image_that_does_not_move_stays(k, args):
    x, moves, shape = args
    np.testing.assert_array_equal(k.shift(x, 0 * moves, shape), x)


@every_backend
@given(arguments("shift"))
def test_there_and_back_brings_home_what_stayed_in_sight(k, args):
    x, moves, shape = args
    home = k.shift(k.shift(x, moves, shape), -moves, shape)
    in_sight = k.shift(k.shift(np.ones_like(x), moves, shape), -moves, shape)
    np.testing.assert_array_equal(home, in_sight * x)


@every_backend
@given(arguments("shift"))
def test_a_move_as_large_as_the_image_leaves_nothing(k, args):
    x, moves, shape = args
    for axis in (0, 1):
        far = moves.copy()
        far[:, axis] = np.where(far[:, axis] < 0, -1, 1) * (shape[axis] + abs(far[:, axis]))
        np.testing.assert_array_equal(k.shift(x, far, shape), 0)


# ----- lengths -----


def loudness(h: np.ndarray) -> np.ndarray:
    """Length of each row, in float64."""
    return np.linalg.norm(h.astype(np.float64), axis=1)


@every_backend
@given(arguments("normalise"))
def test_a_normalised_row_has_the_root_as_length(k, args):
    h, root, _ = args
    expected = np.where(loudness(h) > 0, root, 0)
    tolerance = (h.shape[1] + 6) * np.finfo(h.dtype).eps
    np.testing.assert_allclose(loudness(k.normalise(h, root, TINY)), expected, rtol=tolerance)


@every_backend
@given(arguments("normalise"), st.sampled_from([1e-6, 0.3, 7.0, 1e6]))
def test_only_the_direction_of_a_row_passes(k, args, scale):
    h, root, _ = args
    tolerance = (h.shape[1] + 8) * np.finfo(h.dtype).eps
    scaled = k.normalise((scale * h).astype(h.dtype), root, TINY)
    np.testing.assert_allclose(scaled, k.normalise(h, root, TINY), rtol=tolerance, atol=0)


@every_backend
@given(arguments("normalise"))
def test_tiny_adds_to_the_norm(k, args):
    h, root, tiny = args
    norm = loudness(h)[:, None] / root + tiny
    expected = h / np.where(norm > 0, norm, 1)
    np.testing.assert_allclose(k.normalise(h, root, tiny), expected, rtol=(h.shape[1] + 6) * np.finfo(h.dtype).eps, atol=0)


@every_backend
@given(arguments("sum_squares"))
def test_sum_squares_is_the_squared_length(k, args):
    (h,) = args
    np.testing.assert_allclose(k.sum_squares(h), loudness(h) ** 2, rtol=(h.shape[1] + 4) * np.finfo(h.dtype).eps)


@every_backend
@given(arguments("normalise_batch"))
def test_a_normalised_batch_has_length_one(k, args):
    (h,) = args
    length = np.linalg.norm(k.normalise_batch(h).astype(np.float64))
    np.testing.assert_allclose(length, float(h.any()), rtol=(h.size + 6) * np.finfo(h.dtype).eps)


@every_backend
@given(arguments("normalise_batch"))
def test_a_batch_is_normalised_like_one_long_row(k, args):
    (h,) = args
    together = k.normalise(h.reshape(1, -1), 1.0, 0.0).reshape(h.shape)
    np.testing.assert_allclose(k.normalise_batch(h), together, rtol=(h.size + 6) * np.finfo(h.dtype).eps, atol=0)


@every_backend
@given(arguments("normalise"))
def test_the_inverse_norm_is_what_a_row_is_multiplied_by_to_normalise_it(k, args):
    h, root, tiny = args
    factor = k.inverse_norm(k.sum_squares(h), 0.0, root, tiny)
    np.testing.assert_allclose(factor[:, None] * h, k.normalise(h, root, tiny), rtol=(h.shape[1] + 8) * np.finfo(h.dtype).eps)


@every_backend
@given(arguments("normalise"), st.sampled_from([1.0, 2.5]))
def test_the_square_of_one_more_number_lengthens_a_row(k, args, number):
    h, root, tiny = args
    longer = np.hstack([h, np.full((len(h), 1), number, h.dtype)])
    factors = k.inverse_norm(k.sum_squares(h), number**2, root, tiny), k.inverse_norm(k.sum_squares(longer), 0.0, root, tiny)
    np.testing.assert_allclose(*factors, rtol=(h.shape[1] + 8) * np.finfo(h.dtype).eps)


@every_backend
def test_a_row_of_zeros_has_one_as_inverse_norm(k):
    np.testing.assert_array_equal(k.inverse_norm(np.array([0.0, 4]), 0.0, 1.0, 0.5), [1, 0.4])
