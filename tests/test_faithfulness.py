"""Measures of faithfulness, against plain loops and nets whose answer is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.integrate import trapezoid
from scipy.ndimage import gaussian_filter
from strategies import seeds, widths
from tiny import dataset, recipe
from views import mapped_images

from ffnp.errors import UserError
from ffnp.rules import ForwardForward
from ffnp.saliency.controls import CONTROLS
from ffnp.saliency.faithfulness import WAYS, area, blurred, curves, faithfulness, grounds, mu_fidelity
from ffnp.saliency.methods import METHODS
from ffnp.saliency.rows import row, table
from ffnp.saliency.scorer import Scorer, picture
from ffnp.training import train

some = settings(max_examples=20)
ROUNDING = 1e-12  # float64: a few dozen roundings of numbers of about 1, those of a batch of another size included


class Recorder:
    """A score that keeps all images it was asked for."""

    def __init__(self, score):
        self.score, self.seen = score, []

    def __call__(self, x):
        self.seen.append(x.copy())
        return self.score(x)


def reader(pixel):
    """A net of two classes that reads one input: the brighter it is, the likelier is class 0."""
    return lambda x: np.stack([6 * x[:, pixel] - 3, np.zeros(len(x))], axis=1)


def indifferent(x):
    """A net that looks at nothing."""
    return np.tile([2.0, 1.0], (len(x), 1))


def softmax_of(score, image, y):
    z = np.exp(score(image[None])[0])
    return z[y] / z.sum()


def on_the_way(p, steps):
    """By a plain loop: for each image, all images from x to `to`."""
    for x, to, values in zip(p.x, p.to, p.maps.reshape(len(p.x), -1), strict=True):
        order = sorted(np.flatnonzero(~np.isnan(values)), key=lambda pixel: -values[pixel])
        yield [moved(x, to, order[: math.ceil(t * len(order) / steps)], p.channels) for t in range(steps + 1)]


def moved(x, to, pixels, channels):
    image = x.copy()
    for pixel in pixels:
        image[pixel * channels : (pixel + 1) * channels] = to[pixel * channels : (pixel + 1) * channels]
    return image


# ----- curves -----


@given(mapped_images(), widths)
def test_a_curve_is_the_probability_of_the_label_as_pixels_move_in_the_order_of_the_map(p, steps):
    expected = [[softmax_of(p.score, image, y) for image in path] for path, y in zip(on_the_way(p, steps), p.y, strict=True)]
    np.testing.assert_allclose(curves(p.score, p.y, p.maps, p.x, p.to, steps), expected, rtol=0, atol=ROUNDING)


@given(mapped_images(), widths)
def test_nothing_but_the_order_matters(p, steps):
    moved, other = (curves(p.score, p.y, maps, p.x, p.to, steps) for maps in (p.maps, np.exp(p.maps / 5)))
    np.testing.assert_array_equal(moved, other)


@given(mapped_images(blank=False), widths)
def test_a_curve_leads_from_one_image_to_the_other(p, steps):
    found = curves(p.score, p.y, p.maps, p.x, p.to, steps)
    ends = [[softmax_of(p.score, each, y) for each in pair] for *pair, y in zip(p.x, p.to, p.y, strict=True)]
    np.testing.assert_allclose(found[:, [0, -1]], ends, rtol=0, atol=ROUNDING)


@given(mapped_images(blank=False))
def test_insertion_is_deletion_in_the_reversed_order_read_backwards(p):
    """With one pixel a step; in larger steps both would round the share of pixels up."""
    steps = p.maps[0].size
    there, back = curves(p.score, p.y, p.maps, p.x, p.to, steps), curves(p.score, p.y, -p.maps, p.to, p.x, steps)
    np.testing.assert_allclose(there, back[:, ::-1], rtol=0, atol=ROUNDING)


@given(mapped_images(pixels=2), widths)
def test_pixels_without_a_value_never_move(p, steps):
    p.maps[:, 0, 0] = np.nan
    found = curves(reader(0), np.zeros(len(p.x), int), p.maps, p.x, p.to, steps)
    np.testing.assert_array_equal(found, np.repeat(found[:, :1], steps + 1, axis=1))


@given(mapped_images(), widths)
def test_all_channels_of_a_pixel_move_together(p, steps):
    asked = Recorder(p.score)
    curves(asked, p.y[:1], p.maps[:1], p.x[:1], p.to[:1], steps)
    moved = (np.concatenate(asked.seen) == p.to[0]).reshape(-1, p.channels)
    assert (moved.all(axis=1) == moved.any(axis=1)).all()


@given(mapped_images(blank=False), widths)
def test_every_step_moves_the_same_number_of_pixels_but_for_rounding(p, steps):
    """The score of class 0 is the share of inputs that are white; p gives it away."""
    def whiteness(x):
        return np.stack([x.mean(axis=1), np.zeros(len(x))], axis=1)
    found = curves(whiteness, np.zeros(len(p.x), int), p.maps, np.zeros_like(p.x), np.ones_like(p.x), steps)
    white = np.log(found / (1 - found)) * p.maps[0].size
    np.testing.assert_allclose(white, np.round(white), rtol=0, atol=1e-9)
    np.testing.assert_allclose(white, np.linspace(0, [p.maps[0].size] * len(p.x), steps + 1, axis=1), rtol=0, atol=1)


@some
@given(mapped_images(pixels=2, blank=False), seeds)
def test_the_map_that_names_the_pixel_a_net_reads_has_the_best_curves(p, seed):
    y, steps = np.zeros(len(p.x), int), p.maps[0].size
    names = np.zeros_like(p.maps)
    names.reshape(len(p.x), -1)[:, 1] = 1
    black = np.zeros_like(p.x)
    for start, to, sign in ((p.x, black, 1), (black, p.x, -1)):
        best, other = (area(curves(reader(p.channels), y, maps, start, to, steps, seed)) for maps in (names, p.maps))
        assert (sign * best <= sign * other + ROUNDING).all()


def test_equal_pixels_move_in_random_order():
    """A net that reads one of 9 pixels, and maps that say nothing: its fall comes half-way on average, whichever the pixel is.
    The time of a single image's fall deviates by sqrt(20 / 3) / 9 = 0.287; 4 deviations of the mean of 2000 are 0.026."""
    x, y, maps = np.ones((2000, 9)), np.zeros(2000, int), np.zeros((2000, 3, 3))
    for pixel in range(9):
        found = curves(reader(pixel), y, maps, x, 0 * x, 9)
        fallen = (found[:, :1] - found) / (found[:, :1] - found[:, -1:])
        assert area(fallen).mean() == pytest.approx(0.5, abs=0.026)


@given(mapped_images(blank=False), seeds)
def test_the_same_seed_orders_equal_pixels_alike(p, seed):
    tied = np.zeros_like(p.maps)
    a, b = (curves(p.score, p.y, tied, p.x, p.to, 4, seed) for _ in range(2))
    np.testing.assert_array_equal(a, b)


@given(mapped_images(), widths)
def test_an_image_that_a_step_does_not_change_is_not_asked_again(p, steps):
    """Only the first pixel is another in `to`: each image is asked once, and once more if that pixel moves."""
    asked, to = Recorder(p.score), p.x.copy()
    to[:, : p.channels] = p.to[:, : p.channels]
    curves(asked, p.y, p.maps, p.x, to, steps)
    assert sum(map(len, asked.seen)) == len(p.x) + np.sum(~np.isnan(p.maps[:, 0, 0]))


@some
@given(mapped_images())
def test_many_images_have_the_curves_that_each_has_alone(p):
    """Enough for several rounds of questions. Ties would be drawn otherwise; there are none."""
    many = [np.concatenate([a] * 120) for a in (p.y, p.maps, p.x, p.to)]
    found, alone = curves(p.score, *many, steps=10), curves(p.score, p.y, p.maps, p.x, p.to, 10)
    np.testing.assert_allclose(found, np.concatenate([alone] * 120), rtol=0, atol=ROUNDING)


@given(mapped_images(), widths)
def test_the_area_is_the_trapezoid_of_scipy(p, steps):
    found = curves(p.score, p.y, p.maps, p.x, p.to, steps)
    np.testing.assert_allclose(area(found), trapezoid(found, dx=1 / steps, axis=1), rtol=0, atol=ROUNDING)


# ----- mu-fidelity -----


@some
@given(mapped_images(pixels=2, blank=False))
def test_the_contributions_to_a_linear_score_have_a_fidelity_of_1(p):
    """v = v_w . x, with v_w the weights of the label less the mean: each input contributes v_w (x - to). Pixels that contribute
    alike to 1e-6 of the whole are left out: their correlation is of roundings."""
    W = p.weights[0] @ p.weights[1]
    v_w = W[:, p.y].T - W.mean(axis=1)
    maps = (v_w * (p.x - p.to)).reshape(*p.maps.shape, p.channels).sum(axis=3)
    found = mu_fidelity(lambda x: x @ W, p.x, p.y, maps, p.to)
    clear = np.ptp(maps, axis=(1, 2)) > 1e-6 * np.abs(p.x @ W).max()
    np.testing.assert_allclose(found[clear], 1, rtol=0, atol=1e-6)
    opposite = mu_fidelity(lambda x: x @ W, p.x, p.y, -maps, p.to)
    np.testing.assert_allclose(opposite, -found, rtol=0, atol=ROUNDING)


@some
@given(mapped_images(pixels=2))
def test_it_is_the_correlation_over_the_sets_that_were_drawn(p):
    """By a plain loop over what the net was asked; every input of `to` is another than that of x."""
    asked = Recorder(p.score)
    found = mu_fidelity(asked, p.x, p.y, p.maps, p.to, subsets=9, share=0.5)
    before, *after = asked.seen
    np.testing.assert_array_equal(before, p.x)

    def v(image, y):
        s = p.score(image[None])[0]
        return s[y] - s.mean()
    for i, (x, each, y) in enumerate(zip(p.x, p.maps.reshape(len(p.x), -1), p.y, strict=True)):
        sums = [each[(image[i] != x).reshape(-1, p.channels).any(axis=1)].sum() for image in after]
        if len(set(sums)) > 1:
            expected = np.corrcoef(sums, [v(x, y) - v(image[i], y) for image in after])[0, 1]
            assert found[i] == pytest.approx(expected, abs=1e-9)
        else:
            assert np.isnan(found[i])


@some
@given(mapped_images(pixels=2))
def test_every_set_has_its_share_of_the_pixels_that_have_a_value(p):
    asked = Recorder(p.score)
    mu_fidelity(asked, p.x, p.y, p.maps, p.to, subsets=5, share=0.4)
    free = ~np.isnan(p.maps).reshape(len(p.x), -1)
    for images in asked.seen[1:]:
        moved = (images == p.to).reshape(*free.shape, p.channels)
        assert (moved.all(axis=2) == moved.any(axis=2)).all()
        assert not (moved.any(axis=2) & ~free).any()
        whole = [max(1, int(0.4 * n)) if n else 0 for n in free.sum(axis=1)]
        assert moved.all(axis=2).sum(axis=1).tolist() == whole


@some
@given(mapped_images(pixels=2, blank=False), seeds)
def test_methods_asked_together_have_the_fidelity_that_each_has_alone(p, seed):
    both = np.stack([p.maps, np.cos(p.maps)])
    found = mu_fidelity(p.score, p.x, p.y, both, p.to, seed=seed)
    for each, maps in zip(found, both, strict=True):
        np.testing.assert_array_equal(each, mu_fidelity(p.score, p.x, p.y, maps, p.to, seed=seed))


@some
@given(mapped_images(pixels=2), seeds)
def test_methods_asked_together_are_asked_for_pixels_where_all_have_a_value(p, seed):
    full = np.nan_to_num(p.maps)
    _, found = mu_fidelity(p.score, p.x, p.y, np.stack([p.maps, full]), p.to, seed=seed)
    np.testing.assert_array_equal(found, mu_fidelity(p.score, p.x, p.y, p.maps, p.to, seed=seed))


def rounded(n=3):
    """Images of 16x16 pixels, many enough for sums to round, and what `mu_fidelity` takes beside a map."""
    x = np.random.default_rng(0).random((n, 256))
    return x, np.zeros(n, int), np.zeros_like(x)


def test_a_constant_map_has_no_fidelity():
    x, y, black = rounded()
    assert np.isnan(mu_fidelity(reader(0), x, y, np.full((3, 16, 16), 0.1), black)).all()


@pytest.mark.parametrize("lost", [0.0, 0.1])
def test_a_net_that_every_set_takes_the_same_from_has_no_fidelity(lost):
    x, y, black = rounded()

    def fragile(images):
        return np.stack([np.where((images == x).all(axis=1), 0.3, 0.3 - lost), np.zeros(len(x))], axis=1)
    assert np.isnan(mu_fidelity(fragile, x, y, x.reshape(3, 16, 16), black)).all()


def test_a_random_map_has_a_fidelity_of_0_on_average():
    """Of 64 sets it deviates by 1 / sqrt(63); 4 deviations of the mean of 400 images are 0.025."""
    rng = np.random.default_rng(0)
    x, W = rng.random((400, 64)), rng.standard_normal((64, 3))
    found = mu_fidelity(lambda x: x @ W, x, rng.integers(3, size=400), rng.random((400, 8, 8)), 0 * x)
    assert found.mean() == pytest.approx(0, abs=0.025)


# ----- grounds -----


def test_images_go_to_black_to_their_blur_and_to_their_negative():
    x = np.random.default_rng(0).random((3, 30)).astype(np.float32)
    ground = grounds(x, (5, 6))
    assert {name: image.dtype for name, image in ground.items()} == dict.fromkeys(("image", "zero", "blur", "flipped"), x.dtype)
    np.testing.assert_array_equal(ground["image"], x)
    np.testing.assert_array_equal(ground["zero"], 0)
    np.testing.assert_array_equal(ground["flipped"], 1 - x)
    np.testing.assert_array_equal(ground["blur"], blurred(x, (5, 6)))


@pytest.mark.parametrize("shape", [(8,), (9, 7), (6, 5, 3)], ids=str)
def test_an_image_is_blurred_channel_by_channel_by_a_fifth_of_each_side(shape):
    x = np.random.default_rng(0).random((4, math.prod(shape)))
    height, width, channels = picture(shape)
    expected = [[gaussian_filter(image[:, :, c], (height / 5, width / 5)) for c in range(channels)]
                for image in x.reshape(4, height, width, channels)]
    np.testing.assert_allclose(blurred(x, shape).reshape(4, height, width, channels), np.moveaxis(expected, 1, 3), rtol=1e-13)


# ----- all of it -----


SERVED = {"bp": ("grad", "ig"), "ff": ("goodness",)}
MU = {"mu-fidelity (zero)": "zero", "mu-fidelity (blur)": "blur"}


@pytest.fixture(scope="module")
def given_nets():
    """A backprop and a Forward-Forward net, each with methods, and images."""
    data = dataset(test=60, inputs=16)._replace(shape=(4, 4))
    nets = {"bp": recipe(rate=0.3, epochs=30, batch=8), "ff": recipe(ForwardForward(negatives="uniform"), epochs=1)}
    scorers = {name: Scorer(train(preset, data, backend="numpy")) for name, preset in nets.items()}
    methods = {net: {name: METHODS[name].maps for name in names} for net, names in SERVED.items()}
    return scorers, methods, data.x_test, data.y_test


@pytest.fixture(scope="module")
def found(given_nets):
    return faithfulness(*given_nets, steps=4, subsets=8)


def test_the_table_has_every_measure_of_every_method_and_control(found):
    cells = sorted((net, method, metric) for net, names in SERVED.items() for method in [*names, *CONTROLS]
                   for metric in [*WAYS, *MU])
    assert sorted((r.net, r.method, r.metric) for r in found.rows) == cells
    assert len(table(found.rows).splitlines()) == 2 * 3 + 1 + 3 + 2 * len(CONTROLS)  # heads, a blank line, methods


def test_its_rows_are_the_areas_of_the_curves_and_the_fidelities(given_nets, found):
    """The Forward-Forward net writes a label over three pixels, whose maps are NaN."""
    scorers, methods, x, y = given_nets
    net, score, to = "ff", scorers["ff"], grounds(x, (4, 4))
    for method, maps in ((m, make(score, x, y)) for m, make in {**methods[net], **CONTROLS}.items()):
        for name, way in WAYS.items():
            values = curves(score, y, maps, to[way.start], to[way.to], 4)
            np.testing.assert_array_equal(found.curves[net][name][method], values)
            assert row(net, method, name, area(values), way.better) in found.rows
        for name, baseline in MU.items():
            assert row(net, method, name, mu_fidelity(score, x, y, maps, to[baseline], 8), "higher") in found.rows


def test_a_net_of_another_kind_is_measured_as_a_run_is(given_nets):
    """One that has scores, the shape of its images and the number of inputs under a label."""
    scorers, _, x, y = given_nets

    class Another:
        shape, overlaid = (4, 4), scorers["ff"].overlaid

        def __call__(self, x):
            return scorers["ff"](x)
    assert faithfulness({"net": Another()}, {"net": {}}, x, y, 3, 4).rows == faithfulness(
        {"net": scorers["ff"]}, {"net": {}}, x, y, 3, 4).rows


@pytest.mark.parametrize(("name", "start", "to", "better"), [
    ("deletion (zero)", "image", "zero", "lower"), ("deletion (blur)", "image", "blur", "lower"),
    ("insertion (zero)", "zero", "image", "higher"), ("insertion (blur)", "blur", "image", "higher"),
    ("pixel flipping", "image", "flipped", "lower"),
])
def test_what_each_curve_is(name, start, to, better):
    assert WAYS[name] == (start, to, better)


def test_a_second_call_finds_the_same(given_nets, found):
    again = faithfulness(*given_nets, steps=4, subsets=8, progress="again")
    assert str(again.rows) == str(found.rows)  # NaN included


def test_integrated_gradients_of_a_trained_net_are_more_faithful_than_noise(found):
    rows = {(r.method, r.metric): r for r in found.rows if r.net == "bp"}
    assert rows["ig", "deletion (zero)"].high < rows["random", "deletion (zero)"].low
    assert rows["ig", "insertion (zero)"].low > rows["random", "insertion (zero)"].high
    assert rows["ig", "mu-fidelity (zero)"].low > rows["random", "mu-fidelity (zero)"].high


# ----- errors -----


@pytest.mark.parametrize("measure", [
    lambda maps: curves(indifferent, np.zeros(2, int), maps, np.ones((2, 6)), np.zeros((2, 6))),
    lambda maps: mu_fidelity(indifferent, np.ones((2, 6)), np.zeros(2, int), maps, np.zeros((2, 6))),
], ids=["curves", "mu-fidelity"])
@pytest.mark.parametrize("shape", [(3, 2, 3), (2, 2, 2), (2, 4, 3)], ids=str)
def test_maps_of_other_images_are_refused(measure, shape):
    with pytest.raises(UserError, match=r"maps of shape \(\d, \d, \d\) are not maps of images of shape \(2, 6\)"):
        measure(np.ones(shape))


def test_a_curve_without_steps_is_refused():
    with pytest.raises(UserError, match="steps must be at least 1, not 0"):
        curves(indifferent, np.zeros(2, int), np.ones((2, 2, 3)), np.ones((2, 6)), np.zeros((2, 6)), steps=0)


@pytest.mark.parametrize(("options", "words"), [
    ({"subsets": 0}, "subsets must be at least 1, not 0"),
    ({"share": 0}, "the share of pixels in a set must be above 0 and below 1, not 0"),
    ({"share": 1.0}, "the share of pixels in a set must be above 0 and below 1, not 1.0"),
])
def test_sets_that_cannot_be_drawn_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        mu_fidelity(indifferent, np.ones((2, 6)), np.zeros(2, int), np.ones((2, 2, 3)), np.zeros((2, 6)), **options)
