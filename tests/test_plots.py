"""The figures: curves, bars and colours are the numbers that they were given, axes say what they show and in which unit.

Of the main ones whole pictures are kept in `baseline/`; `pytest --mpl-generate-path tests/baseline tests/test_plots.py` draws
them anew, to be looked at before they are kept.
"""

import numpy as np
import pytest

from ffnp.diagnostics import EDGES
from ffnp.plots import (
    NAMED,
    alignment_curves,
    confusion_matrix,
    cost_bars,
    goodness_histograms,
    learning_curves,
    slowness_fit,
    weight_mosaic,
)
from ffnp.saliency.mistakes import mistakes_figure, surest_mistakes


def history(*diagnostics):
    """As much of a history as the figures read; None for an epoch nobody looked at."""
    return {"preset": "rule", "data": "digits", "epochs": [{} if d is None else {"diagnostics": d} for d in diagnostics]}


def looked(*angles, **more):
    return {"angle": list(angles), "norm_ratio": [1.0] * len(angles), **more}


def goodness(*bins):
    """One layer and three images a kind; the numbers of bins that the positive ones fall into, then the negative ones."""
    counts = [[np.bincount(three, minlength=len(EDGES) - 1).tolist()] for three in (bins[:3], bins[3:])]
    return {"edges": EDGES.tolist(), "positive": counts[0], "negative": counts[1]}


# ----- angles and lengths -----


def test_every_layer_has_its_curve_of_angles():
    angles = alignment_curves(history(looked(90.0, 30.0), looked(60.0, 20.0)), "Title").axes[0]
    np.testing.assert_array_equal(angles.lines[0].get_xydata(), [[1, 90], [2, 60]])
    np.testing.assert_array_equal(angles.lines[1].get_xydata(), [[1, 30], [2, 20]])
    assert [text.get_text() for text in angles.get_legend().get_texts()] == ["layer 1", "layer 2"]


def test_what_is_not_known_is_a_gap():
    angles = alignment_curves(history(None, looked(None), looked(45.0)), "Title").axes[0]
    np.testing.assert_array_equal(angles.lines[0].get_xydata(), [[1, np.nan], [2, np.nan], [3, 45]])


def test_there_is_a_panel_for_what_is_recorded_and_none_else():
    plain, fed = (alignment_curves(history(looked(10.0, **more)), "Title")
                  for more in ({}, {"feedback_angle": [70.0], "feedback_distance": [1.0], "perturbation": 0.1}))
    labels = [axes.get_ylabel() for axes in fed.axes]
    assert labels == ["angle of update to backprop's (°)", "length of update / backprop's", "angle of feedback to weights (°)",
                      "|feedback - weights| / |weights|"]
    assert [axes.get_ylabel() for axes in plain.axes] == labels[:2]
    assert {axes.get_xlabel() for axes in fed.axes} == {"epoch"} and fed.get_suptitle() == "Title"


def test_panels_can_be_chosen():
    figure = alignment_curves(history(looked(10.0, feedback_angle=[70.0])), "Title", ["feedback_angle", "feedback_distance"])
    assert [axes.get_ylabel() for axes in figure.axes] == ["angle of feedback to weights (°)"]


@pytest.mark.parametrize("ratios", [[None], [0.0], [1e-6], [1e6]])
def test_any_lengths_can_be_drawn(ratios, tmp_path):
    figure = alignment_curves(history({"angle": [None], "norm_ratio": ratios}), "Title")
    figure.savefig(tmp_path / "figure.png")  # without a warning
    low, high = figure.axes[1].get_ylim()
    assert 0 < low < 1 < high and all(not ratio or low < ratio < high for ratio in ratios)


@pytest.mark.parametrize("angles, top", [([0.0], 100), ([89.6], 100), ([120.0], 126), ([None], 100)])
def test_angles_are_drawn_on_a_scale_from_zero_beyond_ninety(angles, top):
    low, high = alignment_curves(history(looked(*angles)), "Title").axes[0].get_ylim()
    assert low < 0 and high == pytest.approx(top)


def test_layers_differ_in_more_than_colour():
    lines = alignment_curves(history(looked(*range(12))), "Twelve layers").axes[0].lines[:12]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 12


# ----- goodness -----


def test_the_darkness_is_the_share_of_examples():
    figure = goodness_histograms(history(looked(1.0, goodness=goodness(3, 3, 4, 0, 0, 0))), "Title")
    positive, negative = (axes.images[0] for axes in figure.axes[:2])
    shares = np.zeros((len(EDGES) - 1, 1))
    shares[3], shares[4] = 200 / 3, 100 / 3
    np.testing.assert_allclose(positive.get_array(), shares)
    assert negative.get_array()[0] == 100
    assert positive.get_clim() == negative.get_clim() == (0, 100)
    assert [axes.get_title() for axes in figure.axes[:2]] == ["positive", "negative"]
    assert figure.axes[-1].get_xlabel() == "examples in the bin (%)"


def test_every_layer_has_a_row_the_first_at_the_top():
    one, other = goodness(1, 1, 1, 1, 1, 1), goodness(2, 2, 2, 2, 2, 2)
    both = {"edges": one["edges"]} | {kind: one[kind] + other[kind] for kind in ("positive", "negative")}
    panels = goodness_histograms(history(looked(1.0, 1.0, goodness=both)), "Title").axes[:4]
    assert [axes.get_ylabel() for axes in panels] == ["layer 1: goodness / θ", "", "layer 2: goodness / θ", ""]
    assert [int(axes.images[0].get_array().argmax()) for axes in panels] == [1, 1, 2, 2]


def test_ticks_name_the_edges_of_the_bins():
    axes = goodness_histograms(history(looked(1.0, goodness=goodness(1, 1, 1, 1, 1, 1))), "Title").axes[0]
    for at, text in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True):
        assert float(text.get_text()) == pytest.approx(EDGES[int(at)], rel=0.05)
    assert EDGES[int(axes.lines[0].get_ydata()[0])] == 1  # theta itself
    assert axes.images[0].get_extent() == [0.5, 1.5, 0, len(EDGES) - 1]


@pytest.mark.parametrize("bins, shown", [
    ((1, 1, 1, 2, 2, 2), (1, 16)), ((15, 14, 15, 17, 17, 20), (14, 21)), ((29,) * 6, (14, 30))])
def test_only_bins_that_have_an_example_are_shown_and_theta(bins, shown):
    assert goodness_histograms(history(looked(1.0, goodness=goodness(*bins))), "Title").axes[0].get_ylim() == shown


def test_epochs_nobody_looked_at_are_left_blank():
    figure = goodness_histograms(history(None, looked(1.0, goodness=goodness(1, 1, 1, 1, 1, 1))), "Title")
    shares = figure.axes[0].images[0].get_array().filled(np.nan)
    assert np.isnan(shares[:, 0]).all() and shares[1, 1] == 100


# ----- slowness -----


def test_points_are_the_accuracies_and_the_curve_their_fit():
    E = np.arange(1, 31)
    axes = slowness_fit({"first": 0.9 * E / (0.1 + E), "second": [0.5, 0.6]}, "Title").axes[0]
    fit, points = axes.lines[:2]
    np.testing.assert_allclose(points.get_xydata(), np.column_stack([E, 90 * E / (0.1 + E)]))
    s, highest = float(fit.get_label().split()[-2]), 90 * 30 / 30.1
    np.testing.assert_allclose(fit.get_ydata(), highest * fit.get_xdata() / (s + fit.get_xdata()), rtol=1e-3)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "validation accuracy (%)")


# ----- what a rule costs -----


def test_every_cost_has_its_bar_and_its_number():
    costs = {"first": {"published": 2.0, "measured": 4.0}, "second": {"published": 1.0, "measured": 8.125}}
    figure = cost_bars(costs, "MB", "Memory")
    axes, = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [2, 1, 4, 8.125]
    assert [text.get_text() for text in axes.texts] == ["2", "1", "4", "8.12"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["first", "second"] and axes.get_xlabel() == "MB"
    middles = [bar.get_y() + bar.get_height() / 2 for bar in axes.patches]
    assert middles == pytest.approx([-0.2, 0.8, 0.2, 1.2]) and axes.yaxis_inverted()
    assert axes.get_xlim()[0] == 0
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["published", "measured"]


# ----- weights -----


@pytest.mark.parametrize("shape, across", [((1, 3, 4), 1), ((4, 3, 3), 2), ((5, 3, 3), 2), ((3, 1, 6), 1), ((64, 8, 8), 8)])
def test_every_unit_stands_in_its_place_of_the_mosaic(shape, across):
    n, height, width = shape
    maps = np.random.default_rng(0).standard_normal(shape)
    image = weight_mosaic(maps, "Title").axes[0].images[0]
    drawn = image.get_array().filled(np.nan)
    for i, one in enumerate(maps):
        top, left = i // across * (height + 1), i % across * (width + 1)
        np.testing.assert_array_equal(drawn[top : top + height, left : left + width], one)
    assert np.isfinite(drawn).sum() == maps.size  # nothing else is drawn
    assert image.get_clim() == pytest.approx((-np.abs(maps).max(), np.abs(maps).max()))


@pytest.mark.parametrize("maps", [np.full((2, 2, 2), np.nan), np.zeros((2, 2, 2))], ids=["blank", "zero"])
def test_weights_without_a_scale_can_be_drawn(maps, tmp_path):
    weight_mosaic(maps, "Title").savefig(tmp_path / "figure.png")


# ----- confusion -----


def test_the_colour_is_the_share_of_the_true_class_and_the_number_the_count():
    axes = confusion_matrix(np.array([[3, 1], [0, 0]]), ["cat", "dog"], "Title").axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), [[75, 25], [0, 0]])  # no image of a class: no share of any
    assert {text.get_position(): text.get_text() for text in axes.texts} == {(0, 0): "3", (1, 0): "1"}
    assert [text.get_text() for text in axes.get_xticklabels()] == ["cat", "dog"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("class told", "true class")


def test_many_classes_are_numbered_only():
    names = [f"class {c}" for c in range(NAMED + 1)]
    few, many = (confusion_matrix(np.eye(C, dtype=int), names[:C], "Title").axes[0] for C in (NAMED, NAMED + 1))
    assert len(few.texts) == NAMED and not many.texts
    assert many.get_xlabel() == "class told, by number" and "class 1" not in [t.get_text() for t in many.get_xticklabels()]


# ----- mistakes -----


def test_the_surest_mistakes_lead_by_most():
    scores = np.array([[9.0, 0, 0], [0, 1, 3], [5, 0, 4], [0, 0, 7], [2, 2, 0]])
    y = np.array([0, 1, 2, 0, 1])
    assert surest_mistakes(scores, y, 9).tolist() == [3, 1, 2, 4]  # by 7, 2, 1 and 0; the first is none
    assert surest_mistakes(scores, y, 2).tolist() == [3, 1]
    assert surest_mistakes(scores, scores.argmax(axis=1), 9).size == 0


@pytest.mark.parametrize("shape", [(2, 3), (6,), (2, 3, 3), (2, 3, 2)], ids=str)
def test_below_every_mistake_stands_its_map(shape):
    rng = np.random.default_rng(0)
    images, maps = rng.random((5, *shape)), rng.standard_normal((5, *(shape if len(shape) > 1 else (1, 6))[:2]))
    figure = mistakes_figure(images, maps, list("abcde"), "Title")
    drawn = [axes for axes in figure.axes if axes.images]
    above, below = drawn[:4] + drawn[8:9], drawn[4:8] + drawn[9:]
    assert [axes.get_title() for axes in above] == list("abcde")
    for axes, image, one, its in zip(above, images, maps, below, strict=True):
        pixels = image.reshape(axes.images[0].get_array().shape) if shape[2:] != (2,) else image.mean(axis=2)
        np.testing.assert_allclose(axes.images[0].get_array(), pixels)
        np.testing.assert_allclose(its.images[-1].get_array(), one / np.abs(one).max())


# ----- whole pictures -----

# Without titles and tick labels; the tolerance is the root of the mean square of what grey levels, of 255, may differ by.
whole = pytest.mark.mpl_image_compare(style="default", remove_text=True, tolerance=2, savefig_kwargs={"dpi": 60})


@whole
def test_picture_of_learning_curves():
    def seed(*errors, seconds):
        return {"epochs": [{"val_error": e, "seconds": seconds} for e in errors], "n_val": 100}

    runs = {"first": [seed(0.5, 0.2, 0.1, seconds=1), seed(0.4, 0.3, 0.05, seconds=2)],
            "second": [seed(0.6, 0.1, 0.0, seconds=3), seed(0.6, 0.12, 0.02, seconds=3)]}
    return learning_curves(runs, "Learning")


@whole
def test_picture_of_alignment():
    epochs = [looked(90 - 10 * e, 60 - 5 * e, feedback_angle=[90 - 15 * e], feedback_distance=[1 / e]) for e in range(1, 5)]
    return alignment_curves(history(*epochs, None, epochs[-1]), "Alignment")


@whole
def test_picture_of_goodness():
    def spread(middle):
        return np.bincount(np.clip(np.arange(60) // 6 + middle, 0, len(EDGES) - 2), minlength=len(EDGES) - 1).tolist()

    def record(e):
        return {"edges": EDGES.tolist(), "positive": [spread(14 + e), spread(14)], "negative": [spread(14 - e), spread(12 - e)]}
    return goodness_histograms(history(*(looked(1.0, 1.0, goodness=record(e)) for e in range(5)), None), "Goodness")


@whole
def test_picture_of_slowness():
    return slowness_fit({"quick": [0.8, 0.9, 0.92], "slow": [0.3, 0.5, 0.6, 0.65]}, "Slowness")


@whole
def test_picture_of_costs():
    costs = {"first": {"published": 2.0, "measured": 4.0}, "second": {"published": 1.0, "measured": 8.0}}
    return cost_bars(costs, "MB", "Memory")


@whole
def test_picture_of_weights():
    x, y = np.meshgrid(np.linspace(-1, 1, 6), np.linspace(-1, 1, 5))
    return weight_mosaic(np.array([np.sin(3 * (x * np.cos(a) + y * np.sin(a))) for a in range(7)]), "Weights")


@whole
def test_picture_of_confusion():
    return confusion_matrix(np.diag([30, 20, 10, 5]) + np.tri(4, k=-1, dtype=int), ["a", "b", "c", "d"], "Confusion")


@whole
def test_picture_of_mistakes():
    ramp = np.linspace(0, 1, 5 * 16).reshape(5, 4, 4)
    maps = ramp - ramp.mean(axis=(1, 2), keepdims=True)
    maps[:, 0, :2] = np.nan
    return mistakes_figure(ramp, maps, list("abcde"), "Mistakes")
