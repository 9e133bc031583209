"""The figures of diagnostics: curves and colours are the numbers of the history, axes say what they show and in which unit."""

import numpy as np
import pytest
from tiny import WAYS, dataset, recipe

from ffnp.diagnostics import EDGES
from ffnp.plots import alignment_curves, diagnostic_figures, goodness_histograms, slowness_fit
from ffnp.rules import FeedbackAlignment
from ffnp.training import train


def history(*diagnostics, rate_factors=None):
    """As much of a history as the figures read; None for an epoch nobody looked at."""
    factors = rate_factors or [1] * len(diagnostics)
    epochs = [{"rate_factor": f, "val_error": 0.5} | ({} if d is None else {"diagnostics": d})
              for d, f in zip(diagnostics, factors, strict=True)]
    return {"preset": "rule", "data": "digits", "epochs": epochs}


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
    above, below = (axes.collections[0] for axes in figure.axes[:2])
    shares = np.zeros((len(EDGES) - 1, 1))
    shares[3], shares[4] = 200 / 3, 100 / 3
    np.testing.assert_allclose(np.reshape(above.get_array(), shares.shape), shares)
    assert np.ravel(below.get_array())[0] == 100
    assert above.get_clim() == below.get_clim() == (0, 100)
    assert figure.axes[-1].get_ylabel() == "examples in the bin (%)"


def test_ticks_name_the_edges_of_the_bins():
    axes = goodness_histograms(history(looked(1.0, goodness=goodness(1, 1, 1, 1, 1, 1))), "Title").axes[0]
    for at, text in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True):
        assert float(text.get_text()) == pytest.approx(EDGES[int(at)], rel=0.05)
    assert EDGES[int(axes.lines[0].get_ydata()[0])] == 1  # theta itself
    assert axes.get_ylabel() == "goodness / theta, positive"


def test_epochs_nobody_looked_at_are_left_blank():
    figure = goodness_histograms(history(None, looked(1.0, goodness=goodness(1, 1, 1, 1, 1, 1))), "Title")
    shares = np.reshape(figure.axes[0].collections[0].get_array().filled(np.nan), (len(EDGES) - 1, 2))
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


# ----- which figures a history has -----


def test_without_diagnostics_there_is_nothing_to_draw():
    assert diagnostic_figures(history(None, None)) == {}


def test_slowness_is_drawn_of_two_epochs_at_one_rate():
    one, two = (diagnostic_figures(history(*[looked(1.0)] * 3, rate_factors=factors)) for factors in ([1, 0.5, 0.5], [1, 1, 0]))
    assert set(one) == {"diagnostics"} and set(two) == {"diagnostics", "slowness"}


@pytest.mark.parametrize("preset, names", [
    (WAYS["ff"], {"diagnostics", "goodness", "slowness"}), (WAYS["layerwise"], {"diagnostics", "goodness", "slowness"}),
    (recipe(FeedbackAlignment()), {"diagnostics", "slowness"}),
], ids=["ff", "layerwise", "fa"])
def test_real_histories_can_be_drawn(preset, names, tmp_path):
    figures = diagnostic_figures(train(preset, dataset(), diagnose=True).history)
    assert set(figures) == names
    for name, figure in figures.items():
        figure.savefig(tmp_path / f"{name}.png")
