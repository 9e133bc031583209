"""Windows, ADS and occlusion: plain loops, nets of which the map is known, and the fast way against the plain one."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from networks import assert_close
from scenes import scene, with_inputs
from scipy.stats import binomtest
from strategies import forward_forwards, pepitas
from views import no_input_norm, scored, views

from ffnp.errors import UserError
from ffnp.rules import PEPITA, Backprop, ForwardForward
from ffnp.saliency import fast
from ffnp.saliency.occlusion import ads, drops, mcnemar, occlusion, windows
from ffnp.saliency.scorer import margin, picture, right

few = settings(max_examples=20)


def mask(shape, top, left, window):
    """1 at the inputs (I,) under a window, 0 elsewhere."""
    image = np.zeros(picture(shape))
    image[top : top + window[0], left : left + window[1]] = 1
    return image.ravel()


def largest(s):
    """The largest score of a scene, and 1: the size of the numbers that a margin is made of."""
    return np.abs(s.score(s.x)).max(initial=1)


# ----- windows -----


@given(view=views())
def test_windows_stand_at_every_stride_until_one_reaches_the_far_edge(view):
    (score, *_), window, stride = view
    height, width, channels = picture(score.shape)
    places = windows(score.shape, window, stride)
    tops, lefts = ([at for at in range(0, side, step) if at == 0 or at - step + length < side]
                   for side, step, length in ((height, stride[0], window[0]), (width, stride[1], window[1])))
    for (top, left), columns, cover in zip(itertools.product(tops, lefts), places.columns, places.cover, strict=True):
        under = mask(score.shape, top, left, window)
        assert sorted(columns) == np.flatnonzero(under).tolist()
        np.testing.assert_array_equal(cover, under.reshape(height, width, channels)[:, :, 0])


@given(view=views())
def test_a_pixel_has_the_mean_of_the_windows_on_it_and_nan_where_there_is_none(view):
    s, window, stride = view
    places = windows(s.score.shape, window, stride)
    numbers = s.rng.standard_normal((2, len(places.columns)))
    spread = places.spread(numbers)
    for i, (row, column) in itertools.product(range(2), np.ndindex(spread.shape[1:])):
        on_it = [n for n, cover in zip(numbers[i], places.cover, strict=True) if cover[row, column]]
        if on_it:
            assert spread[i, row, column] == pytest.approx(np.mean(on_it), abs=1e-12)
        else:
            assert np.isnan(spread[i, row, column])
    if stride[0] <= window[0] and stride[1] <= window[1]:
        assert not np.isnan(spread).any()


@pytest.mark.parametrize("window", [(0, 1), (1, 0), (5, 1), (1, 4)])
def test_a_window_must_fit_on_the_image(window):
    with pytest.raises(UserError, match=f"^a window of {window[0]}x{window[1]} pixels does not fit on an image of 4x3$"):
        windows((4, 3), window, (1, 1))


@pytest.mark.parametrize("stride", [(0, 1), (1, -1)])
def test_windows_must_move(stride):
    with pytest.raises(UserError, match=f"^the stride must be at least 1 pixel, not {stride[0]}x{stride[1]}$"):
        windows((4, 3), (2, 2), stride)


# ----- the fast way is the plain way -----


def plain_drops(score, x, y, places, value, to):
    """`drops` the long way: every image under every window, by a scorer as any other function of images."""
    before, after = value(score(x), y), []
    for columns in places.columns:
        masked = x.copy()
        masked[:, columns] = to[:, columns]
        after.append(value(score(masked), y))
    return before, before[:, None] - np.stack(after, axis=1)


WIDE = (30, 40)  # a layer of which no row is so small that its norm would magnify rounding much


@settings(max_examples=100)
@given(view=views(scored, hidden=WIDE))
def test_fast_accuracies_are_the_plain_ones_exactly(view):
    """In float64, whatever stands in the place of what is covered."""
    s, window, stride = view
    places = windows(s.score.shape, window, stride)
    for to in (np.zeros_like(s.x), s.rng.integers(5, size=s.x.shape) / 4):
        found = drops(s.score, s.x, s.y, places, right, to)
        for ours, expected in zip(found, plain_drops(s.score, s.x, s.y, places, right, to), strict=True):
            np.testing.assert_array_equal(ours, expected)


def assert_margins_agree(view, dtype):
    """To 100 eps of the largest score: the norms of a covered image may be a tenth of what they were, and lower."""
    s, window, stride = view
    places, size = windows(s.score.shape, window, stride), largest(s)
    for to in (np.zeros_like(s.x), (s.rng.integers(5, size=s.x.shape) / 4).astype(dtype)):
        found = drops(s.score, s.x, s.y, places, margin, to)
        for ours, expected in zip(found, plain_drops(s.score, s.x, s.y, places, margin, to), strict=True):
            np.testing.assert_allclose(ours, expected, rtol=0, atol=100 * np.finfo(dtype).eps * size)


@settings(max_examples=100)
@given(view=views(scored, hidden=WIDE))
def test_fast_margins_are_the_plain_ones_to_rounding(view):
    assert_margins_agree(view, "float64")


@settings(max_examples=100)
@given(view=views(scored, hidden=WIDE, dtype="float32"))
def test_fast_margins_are_the_plain_ones_to_rounding_in_float32(view):
    assert_margins_agree(view, "float32")


@few
@given(view=views(scored, rows=9))
def test_images_that_fast_leaves_out_are_the_same_under_the_window(view):
    """And all others differ."""
    s, window, stride = view
    to, places = s.rng.integers(5, size=s.x.shape) / 4, windows(s.score.shape, window, stride)
    looked = list(fast.covered(s.score, s.x, to, places.columns))
    assert [w for w, *_ in looked] == list(range(len(places.columns)))
    for w, n, rows, scores in looked:
        S = places.columns[w]
        changed = [i for i in range(len(s.x)) if s.x[i, S].tolist() != to[i, S].tolist()]
        assert (n, rows.tolist(), len(scores)) == (len(s.x), changed, len(changed))


@pytest.mark.parametrize("rule", [Backprop(), ForwardForward(), ForwardForward(read_out="softmax")],
                         ids=["product known", "labels too", "plain"])
def test_more_images_than_are_looked_at_at_once_keep_their_places(monkeypatch, rule):
    monkeypatch.setattr(fast, "ROWS", 7)
    s, places = scene(rule, (3, 3), (5, 4), rows=17, grey=3), windows((3, 3), (2, 2), (1, 1))
    found, plain = drops(s.score, s.x, s.y, places), plain_drops(s.score, s.x, s.y, places, margin, np.zeros_like(s.x))
    assert_close(found[0], plain[0], 1e-12 * largest(s))
    assert_close(found[1], plain[1], 1e-12 * largest(s))


@pytest.mark.parametrize("norm", ["none", "batch", "sample"])
def test_an_image_of_which_all_ink_is_covered_is_black(norm):
    """Without biases it then has no activity at all, and all classes are alike; of what rounding leaves, a norm would make
    activity of length 1. The image is so long that its product is not added up in the order of the covered part."""
    s = scene(PEPITA(norm=norm), (28, 28), (300,), rows=20, bias=None, backend="cpu")
    s.x.reshape(-1, 28, 28)[:, [*range(13), *range(16, 28)]] = 0
    everywhere = windows((28, 28), (3, 28), (13, 1))
    before, dropped = drops(s.score, s.x, s.y, everywhere)
    np.testing.assert_array_equal(before - dropped[:, 1], np.zeros(len(s.x)))


@few
@given(view=views(scored, hidden=WIDE))
def test_any_function_of_images_can_be_explained(view):
    """As the scorer that it calls."""
    s, window, stride = view
    told = (s.x, s.y, s.score.shape, window, stride, s.score.overlaid)
    np.testing.assert_allclose(occlusion(s.score.__call__, *told), occlusion(s.score, *told), rtol=0, atol=1e-12 * largest(s))
    told = (s.x, s.y, s.score.shape, s.score.net.classes, window, stride, s.score.overlaid)
    np.testing.assert_array_equal(ads(s.score.__call__, *told).map, ads(s.score, *told).map)


# ----- ADS -----


@few
@given(view=views(scored, hidden=WIDE))
def test_ads_is_the_difference_of_two_accuracies(view):
    """By a plain loop over windows and pixels: of all images, and of those of each class."""
    s, window, stride = view
    found = ads(s.score, s.x, s.y, s.score.shape, s.score.net.classes, window, stride, s.score.overlaid)
    classes = range(s.score.net.classes)
    for rows, ours in [(s.y == s.y, found.map), *((s.y == c, found.class_maps[c]) for c in classes)]:
        height, width, channels = picture(s.score.shape)
        total, visits = np.zeros((height, width)), np.zeros((height, width))
        for top, left in itertools.product(range(0, height, stride[0]), range(0, width, stride[1])):
            at_edge = (top and top - stride[0] + window[0] >= height) or (left and left - stride[1] + window[1] >= width)
            if rows.any() and not at_edge:
                kept = 1 - mask(s.score.shape, top, left, window)
                wrong = [(s.score(x[rows]).argmax(axis=1) != s.y[rows]).mean() for x in (s.x, s.x * kept)]
                under = 1 - kept.reshape(height, width, channels)[:, :, 0]
                total, visits = total + under * (wrong[1] - wrong[0]), visits + under
        hidden = np.arange(height * width * channels).reshape(height, width, channels)[:, :, 0] < s.score.overlaid
        expected = np.where((visits > 0) & ~hidden, total / np.maximum(visits, 1), np.nan)
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-14)
    assert found.accuracy == (s.score(s.x).argmax(axis=1) == s.y).mean()


def reads(score, pixel):
    """A net that sees nothing but one input, which weighs for class 1 against class 0, its bias."""
    def only(W):
        W[:] = 0
        W[pixel, 1] = 1
        return W
    return with_inputs(score, only)


@pytest.mark.parametrize("window", [(1, 1), (2, 3), (4, 5)])
@pytest.mark.parametrize("pixel", [0, 7, 19])
def test_of_a_net_that_reads_one_pixel_exactly_the_windows_on_it_matter(pixel, window):
    """Class 1 is a bright pixel: covered, all its images look like class 0, a bias of 1/2."""
    s = scene(Backprop(), (4, 5), (), classes=2, rows=30)
    layer, = s.score.net.layers
    layer.b[:] = [0.5, 0.0]
    y = (s.x[:, pixel] > 0.5).astype(int)
    found = ads(reads(s.score, pixel), s.x, y, (4, 5), 2, window, (1, 1))
    on_it = [cover.reshape(-1)[pixel] > 0 for cover in windows((4, 5), window, (1, 1)).cover]
    np.testing.assert_array_equal(found.counts, [y.sum() * np.array(on_it), np.zeros(len(on_it))])
    assert found.accuracy == 1
    if window == (1, 1):
        np.testing.assert_array_equal(found.map.ravel(), y.mean() * (np.arange(20) == pixel))
        np.testing.assert_array_equal(found.class_maps[1].ravel(), np.arange(20) == pixel)
        assert not found.class_maps[0].any()


@few
@given(view=views(scored, hidden=WIDE, shape=(3, 4)))
def test_permuting_the_pixels_permutes_the_map(view):
    """By windows of one pixel, of images and of the net's inputs alike; not those that a label is written over."""
    s, *_ = view
    order = np.concatenate([np.arange(s.score.overlaid), s.score.overlaid + s.rng.permutation(12 - s.score.overlaid)])
    other, one = with_inputs(s.score, lambda W: W[order]), {"window": (1, 1), "stride": (1, 1)}
    maps, turned = (occlusion(score, x, s.y, (3, 4), overlaid=s.score.overlaid, **one)
                    for score, x in ((s.score, s.x), (other, s.x[:, order])))
    np.testing.assert_allclose(turned.reshape(-1, 12), maps.reshape(-1, 12)[:, order], rtol=0, atol=1e-12 * largest(s))
    before, after = (ads(score, x, s.y, (3, 4), s.score.net.classes, overlaid=s.score.overlaid, **one).map.ravel()
                     for score, x in ((s.score, s.x), (other, s.x[:, order])))
    np.testing.assert_array_equal(after, before[order])


@few
@given(view=views(no_input_norm, hidden=WIDE, shape=(3, 3)))
def test_a_pixel_that_no_weight_reads_is_not_missed(view):
    s, *_ = view

    def blinded(W):
        W[4] = 0
        return W
    score, one = with_inputs(s.score, blinded), {"window": (1, 1), "stride": (1, 1)}
    missed = occlusion(score, s.x, s.y, (3, 3), **one)[:, 1, 1]
    found = ads(score, s.x, s.y, (3, 3), s.score.net.classes, **one)
    assert_close(missed, np.zeros_like(missed), 1e-12 * largest(s))
    assert found.map[1, 1] == 0 and found.p_values[1, 1] == 1


@few
@given(view=views(scored, shape=(3, 3)))
def test_a_pixel_that_is_dark_in_every_image_has_no_ads(view):
    s, *_ = view
    s.x[:, 4] = 0
    one = {"window": (1, 1), "stride": (1, 1)}
    assert ads(s.score, s.x, s.y, (3, 3), s.score.net.classes, **one).map[1, 1] == 0
    assert not occlusion(s.score, s.x, s.y, (3, 3), **one)[:, 1, 1].any()


@few
@given(view=views(forward_forwards(label="overlay"), hidden=WIDE, shape=(2, 2, 3)))
def test_what_an_image_has_under_the_label_is_never_seen(view):
    """Pixels of which the label takes any channel are NaN in every map."""
    s, window, stride = view
    other = s.x.copy()
    other[:, : s.score.overlaid] = s.rng.random((len(s.x), s.score.overlaid))
    np.testing.assert_array_equal(s.score(s.x), s.score(other))
    places = windows((2, 2, 3), (1, 1), (1, 1))
    _, dropped = drops(s.score, s.x, s.y, places)
    whole = s.score.overlaid // 3
    assert_close(dropped[:, :whole], np.zeros((len(s.x), whole)), 1e-12 * largest(s))
    under = np.arange(4).reshape(2, 2) < math.ceil(s.score.overlaid / 3)
    found = ads(s.score, s.x, s.y, (2, 2, 3), s.score.net.classes, (1, 1), (1, 1), s.score.overlaid)
    drop = occlusion(s.score, s.x, s.y, (2, 2, 3), (1, 1), (1, 1), s.score.overlaid)
    for maps in (drop, found.map, found.class_maps, found.p_values):
        assert np.isnan(maps[..., under]).all()


# ----- how sure: McNemar's test -----


def test_p_values_are_the_exact_binomial_tests():
    for b, c in itertools.product(range(12), repeat=2):
        expected = binomtest(b, b + c).pvalue if b + c else 1
        assert mcnemar(np.array([b]), np.array([c]))[0] == pytest.approx(expected, rel=1e-12)


@few
@given(view=views(scored, hidden=WIDE, rows=12))
def test_a_pixels_p_value_is_the_least_of_its_windows_times_their_number(view):
    s, window, stride = view
    found = ads(s.score, s.x, s.y, s.score.shape, s.score.net.classes, window, stride)
    places = windows(s.score.shape, window, stride)
    for row, column in np.ndindex(found.map.shape):
        on_it = [binomtest(int(b), int(b + c)).pvalue if b + c else 1
                 for b, c, cover in zip(*found.counts, places.cover, strict=True) if cover[row, column]]
        if on_it:
            assert found.p_values[row, column] == pytest.approx(min(1, len(on_it) * min(on_it)), rel=1e-12)
        else:
            assert np.isnan(found.p_values[row, column])


@few
@given(view=views(scored, hidden=WIDE))
def test_class_maps_weighted_by_their_images_make_the_map(view):
    s, window, stride = view
    found = ads(s.score, s.x, s.y, s.score.shape, s.score.net.classes, window, stride)
    images = Counter(s.y.tolist())
    together = sum(images[c] / len(s.y) * found.class_maps[c] for c in images)
    np.testing.assert_allclose(together, found.map, rtol=0, atol=1e-14)
    assert all(np.isnan(found.class_maps[c]).all() for c in range(s.score.net.classes) if c not in images)
    np.testing.assert_array_equal(found.class_counts.sum(axis=0), found.counts)


# ----- runs -----


@few
@given(view=views(pepitas(norm="batch", activation="relu"), bias=None))
def test_rows_taken_one_by_one_have_the_classes_of_rows_normalised_together(view):
    """In ReLU layers without biases."""
    s, *_ = view
    x = s.rng.random(s.x.shape)
    run = s.score.run
    np.testing.assert_array_equal(s.score(x).argmax(axis=1), run.predict(x))
