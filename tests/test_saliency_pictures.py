"""The figures of saliency: colours, curves and marks are the numbers given, scales are centred on zero, captions say all."""

import numpy as np
import pytest

from ffnp.saliency.occlusion import ADS
from ffnp.saliency.pictures import (
    ALPHA,
    class_maps_figure,
    curves_figure,
    layer_maps_figure,
    maps_figure,
    pepita_figure,
    rows_figure,
    side_by_side,
    styles,
)
from ffnp.saliency.rows import Row

SHAPES = [(8,), (8, 8), (6, 5, 3), (2, 9, 1)]  # rows that are no images, grey ones, coloured ones, one channel
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def scene(shape, n=3):
    """Images, and random maps of them with NaN in the first pixel."""
    rng = np.random.default_rng(0)
    height, width = shape[:2] if len(shape) > 1 else (1, *shape)
    maps = rng.standard_normal((n, height, width))
    maps[:, 0, 0] = np.nan
    return rng.random((n, *shape)), maps


def found(maps, p_values, accuracy=0.5):
    """As much of ADS as a figure reads: of all images, then of each class."""
    return ADS(accuracy, maps[0], maps[1:], p_values[0], p_values[1:], np.zeros((2, 1)), np.zeros((len(maps) - 1, 2, 1)))


def panels(figure):
    """The panels that show something, by title, without colour bars."""
    return {axes.get_title(): axes for axes in figure.axes if axes.get_title()}


def map_of(axes):
    """The map itself: the last image drawn, above its white ground."""
    return axes.images[-1]


def caption(figure):
    return " ".join(figure.get_supxlabel().split())


# ----- maps -----


@each_shape
def test_a_map_is_drawn_by_its_own_largest_value(shape, tmp_path):
    images, maps = scene(shape)
    figure = maps_figure(images, {"grad": maps, "ig": 1e4 * maps}, ["a", "b", "c"], "Title", "Says.")
    columns = np.array(figure.axes[:9]).reshape(3, 3)
    for i, row in enumerate(columns):
        for axes, values in zip(row[1:], (maps[i], 1e4 * maps[i]), strict=True):
            most = np.nanmax(np.abs(values))
            np.testing.assert_allclose(map_of(axes).get_array().filled(np.nan), values / most)
            assert map_of(axes).get_clim() == (-1, 1)
            assert float(axes.get_xlabel().replace(",", "")) == pytest.approx(most, rel=0.05)
    figure.savefig(tmp_path / "figure.png")  # without a warning


def test_rows_and_columns_are_named():
    images, maps = scene((8, 8))
    figure = maps_figure(images, {"grad": maps, "ig": maps}, ["zero", "one", "two"], "Title", "Says.")
    columns = np.array(figure.axes[:9]).reshape(3, 3)
    assert [axes.get_title() for axes in columns[0]] == ["image", "grad", "ig"]
    assert [axes.get_ylabel() for axes in columns[:, 0]] == ["zero", "one", "two"]
    assert figure.axes[-1].get_ylabel() == "share of the number below the map"
    assert figure.get_suptitle() == "Title"


@pytest.mark.parametrize("shape, drawn", [((8,), (1, 8)), ((8, 8), (8, 8)), ((6, 5, 3), (6, 5, 3)), ((2, 9, 1), (2, 9))])
def test_the_image_is_the_image(shape, drawn):
    images, maps = scene(shape)
    shown = maps_figure(images, {"grad": maps}, ["a", "b", "c"], "", "").axes[0].images[0]
    np.testing.assert_array_equal(shown.get_array(), images[0].reshape(drawn))


def test_pixels_without_a_value_show_the_hatch_and_no_colour():
    images, maps = scene((8, 8))
    axes = maps_figure(images, {"grad": maps}, ["a", "b", "c"], "", "").axes[1]
    assert axes.patch.get_hatch()
    for layer in axes.images:  # the white ground as well
        assert layer.get_array().mask.nonzero() == (0, 0)
        assert layer.cmap.get_bad()[3] == 0


@pytest.mark.parametrize("values, below", [(0.0, "0"), (np.nan, "0"), (1e-9, "1e-09"), (-12345.0, "12,345")])
def test_any_values_can_be_drawn(values, below, tmp_path):
    figure = maps_figure(np.zeros((1, 2, 2)), {"grad": np.full((1, 2, 2), values)}, ["a"], "", "")
    figure.savefig(tmp_path / "figure.png")  # without a warning
    assert figure.axes[1].get_xlabel() == below


@pytest.mark.parametrize("counted, name", [([1, 2, 3], "sum"), ([2, 3], "layers 2 + 3"), ([2], "layer 2")])
def test_the_last_column_adds_up_the_layers_that_count(counted, name):
    (images, maps), title = scene((8, 8)), f"{name},\nas read"
    layers = np.stack([maps, 2 * maps, -5 * maps])
    shown = panels(layer_maps_figure(images, layers, ["a", "b", "c"], counted, "", ""))
    assert list(shown) == ["image", "layer 1", "layer 2", "layer 3", title]
    total = sum([1, 2, -5][l - 1] for l in counted) * maps[0]
    np.testing.assert_allclose(map_of(shown[title]).get_array().filled(np.nan), total / np.nanmax(np.abs(total)))


# ----- accuracy of classes -----


@each_shape
def test_classes_are_in_percentage_points_each_on_its_own_scale(shape, tmp_path):
    _, maps = scene(shape, 4)
    figure = class_maps_figure(found(maps, np.zeros_like(maps)), ["x", "y", "z"], "Title", "Says.")
    shown = panels(figure.subfigs[0])
    assert list(shown) == ["all", "x", "y", "z"]
    for axes, values in zip(shown.values(), maps, strict=True):
        most = np.nanmax(np.abs(values))
        np.testing.assert_allclose(map_of(axes).get_array().filled(np.nan), values / most)
        assert map_of(axes).get_clim() == (-1, 1)
        assert float(axes.get_xlabel()) == pytest.approx(100 * most, rel=0.05)
    figure.savefig(tmp_path / "figure.png")  # without a warning


def test_what_may_be_chance_is_pale():
    _, maps = scene((2, 2), 2)
    p = np.array([[[0.049, 0.05], [0.051, 1]], [[0, 0], [0, 0.9]]])
    shown = panels(class_maps_figure(found(maps, p), ["x"], "", "").subfigs[0])
    np.testing.assert_array_equal(map_of(shown["all"]).get_alpha(), [[1, ALPHA], [ALPHA, ALPHA]])
    np.testing.assert_array_equal(map_of(shown["x"]).get_alpha(), [[1, 1], [1, ALPHA]])


def test_a_class_without_images_has_no_colours(tmp_path):
    maps = np.array([np.ones((2, 2)), np.full((2, 2), np.nan)])
    figure = class_maps_figure(found(maps, np.ones((2, 2, 2))), ["x"], "", "")
    figure.savefig(tmp_path / "figure.png")  # without a warning
    assert map_of(panels(figure.subfigs[0])["x"]).get_array().mask.all()


def test_nets_lie_side_by_side_with_their_accuracy_on_one_scale_for_each_class(tmp_path):
    _, maps = scene((4, 3), 4)
    weaker = maps * np.array([0.1, 0.2, 0.5, 3])[:, None, None]  # but stronger for the last class
    nets = {"ff": found(maps, np.ones_like(maps), 0.981), "bp": found(weaker, np.ones_like(maps), 0.5)}
    figure = side_by_side(nets, ["x", "y", "z"], "Title", "Says.")
    titles = ["ff: 98.1% of the images right", "bp: 50.0% of the images right"]
    assert [block.get_suptitle() for block in figure.subfigs] == titles
    most = np.nanmax(np.abs(maps), axis=(1, 2)) * [1, 1, 1, 3]
    for block, values in zip(figure.subfigs, (maps, weaker), strict=True):
        for axes, one, end in zip(panels(block).values(), values, most, strict=True):
            np.testing.assert_allclose(map_of(axes).get_array().filled(np.nan), one / end)
            assert float(axes.get_xlabel()) == pytest.approx(100 * end, rel=0.05)
    figure.savefig(tmp_path / "figure.png")  # without a warning


def test_many_classes_take_several_lines(tmp_path):
    _, maps = scene((2, 2), 101)
    names = [f"class {c}" for c in range(100)]
    figure = side_by_side({"net": found(maps, np.ones_like(maps))}, names, "", "")
    assert list(panels(figure.subfigs[0])) == ["all", *names]
    assert len({round(axes.get_subplotspec().get_position(figure).y0, 6) for axes in panels(figure.subfigs[0]).values()}) == 10


# ----- measures -----


def test_a_curve_is_the_mean_over_the_images(tmp_path):
    curves = {"grad": np.array([[1.0, 0.5, 0], [0.5, 0, 0]]), "random": np.ones((2, 3))}
    figure = curves_figure({"deletion": curves, "insertion": curves}, ["random"], "Title", "Says.")
    shown = panels(figure)
    assert list(shown) == ["deletion", "insertion"]
    np.testing.assert_allclose(shown["deletion"].lines[0].get_xydata(), [[0, 0.75], [50, 0.25], [100, 0]])
    assert shown["deletion"].get_ylabel() == "probability of the true class"
    assert shown["insertion"].get_xlabel() == "pixels changed (%)"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["grad", "random"]
    figure.savefig(tmp_path / "figure.png")  # without a warning


def test_controls_are_grey_and_all_curves_differ():
    names = ["a", "b", "c", "d", "e", "f", "random", "centre", "intensity"]
    looks = styles(names, names[6:])
    assert {name for name in names if looks[name]["color"] == "0.5"} == set(names[6:])
    assert len({(look["color"], look["linestyle"]) for look in looks.values()}) == 9
    figure = curves_figure({"deletion": {name: np.zeros((1, 2)) for name in names}}, names[6:], "", "")
    colours = {curve.get_label(): curve.get_color() for curve in figure.axes[0].lines}
    assert colours == {name: look["color"] for name, look in looks.items()}


def rows(*cells):
    return [Row(net, method, metric, 0.5, 0.4, 0.7, better) for net, method, metric, better in cells]


def test_rows_have_a_mark_and_an_interval_in_the_panel_of_their_metric(tmp_path):
    given = rows(("ff", "grad", "deletion", "lower"), ("ff", "random", "deletion", "lower"), ("ff", "grad", "mu", "higher"))
    figure = rows_figure(given, ["random"], "Title", "Says.")
    shown = panels(figure)
    assert list(shown) == ["deletion\n(lower is better)", "mu\n(higher is better)"]
    interval, mark, *others = (line.get_xydata().tolist() for line in shown["deletion\n(lower is better)"].lines)
    assert (interval, mark, len(others)) == ([[0.4, 0], [0.7, 0]], [[0.5, 0]], 3)
    assert len(shown["mu\n(higher is better)"].lines) == 2
    assert not figure.legends
    figure.savefig(tmp_path / "figure.png")  # without a warning


@pytest.mark.parametrize("better, best", [("lower", [0.25, 0.1]), ("higher", [0.75, 0.2])])
def test_a_dotted_line_is_the_best_control_of_each_net(better, best):
    values = {("ff", "random"): 0.25, ("ff", "centre"): 0.75, ("bp", "random"): 0.1, ("bp", "centre"): 0.2, ("ff", "ig"): 0.9}
    given = [Row(net, method, "corr", value, value, value, better) for (net, method), value in values.items()]
    axes = rows_figure(given, ["random", "centre"], "", "").axes[0]
    dotted = [curve for curve in axes.lines if curve.get_linestyle() == ":"]
    assert [curve.get_xdata()[0] for curve in dotted] == best
    assert dotted[0].get_color() != dotted[1].get_color()


def test_measures_stand_in_the_order_of_the_net_that_has_most():
    given = rows(*(("ff", "ig", f"top {l}", "lower") for l in (1, 3)), *(("bp", "ig", f"top {l}", "lower") for l in (1, 2, 3)))
    assert [name.split("\n")[0] for name in panels(rows_figure(given, [], "", ""))] == ["top 1", "top 2", "top 3"]


def test_controls_stand_last_on_grey():
    given = rows(("ff", "random", "deletion", "lower"), ("ff", "grad", "deletion", "lower"), ("bp", "ig", "deletion", "lower"))
    axes = rows_figure(given, ["random"], "", "").axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["grad", "ig", "random"]
    assert [band.get_bbox().intervaly.tolist() for band in axes.patches] == [[1.5, 2.5]]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first line on top


def test_nets_differ_in_colour_and_mark():
    given = rows(*((net, "grad", "deletion", "lower") for net in "abcdef"))
    figure = rows_figure(given, [], "", "")
    marks = figure.axes[0].lines[1::2]
    assert len({(mark.get_color(), mark.get_marker()) for mark in marks}) == 6
    assert len({mark.get_ydata()[0] for mark in marks}) == 6
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list("abcdef")


def test_values_that_are_not_known_can_be_drawn(tmp_path):
    nothing = Row("ff", "grad", "mu", np.nan, np.nan, np.nan, "higher")
    rows_figure([nothing], [], "", "").savefig(tmp_path / "figure.png")  # without a warning


# ----- PEPITA -----


@each_shape
def test_pepita_shows_image_perturbation_and_sorted_differences(shape, tmp_path):
    images, maps = scene(shape)
    differences = [np.array([[-3.0, 1, 2], [0, 0, 0], [1, 1, 1]]), np.arange(6.0).reshape(3, 2)]
    figure = pepita_figure(images, maps, differences, ["a", "b", "c"], "Title", "Says.")
    image, added, first, second = figure.axes[:4]
    assert list(panels(figure)) == ["image", "sign F e", "|h - g|, layer 1", "|h - g|, layer 2"]
    np.testing.assert_array_equal(image.images[0].get_array().ravel(), images[0].ravel())
    np.testing.assert_allclose(map_of(added).get_array().filled(np.nan), maps[0] / np.nanmax(np.abs(maps[0])))
    assert first.lines[0].get_ydata().tolist() == [1, 2 / 3, 1 / 3] and second.lines[0].get_ydata().tolist() == [1, 0]
    assert (first.get_xlabel(), second.get_xlabel()) == ("3", "1")
    figure.savefig(tmp_path / "figure.png")  # without a warning


# ----- captions -----


def test_the_caption_says_what_the_caller_knows_and_how_to_read_the_figure():
    images, maps = scene((8, 8))
    said = caption(maps_figure(images, {"grad": maps}, ["a", "b", "c"], "", "Two hundred images of digits."))
    assert said.startswith("Two hundred images of digits. Orange: above zero, the pixel speaks for the class; purple: below")
    assert "scaled by its own largest |value|" in said and "a label is written over them" in said
    said = caption(class_maps_figure(found(maps, np.ones_like(maps)), ["x", "y"], "", "Says."))
    assert "no value" not in caption(maps_figure(images, {"grad": np.ones_like(maps)}, ["a", "b", "c"], "", ""))
    assert "percentage points of accuracy" in said and "p >= 0.05, McNemar's exact test" in said


@pytest.mark.parametrize("n, columns", [(1, 1), (10, 8)])
def test_the_caption_fits_on_the_figure(n, columns):
    images, maps = scene((4, 4), n)
    figure = maps_figure(images, dict.fromkeys("abcdefgh"[:columns], maps), ["x"] * n, "Title", "Some words more. " * 30)
    figure.draw_without_rendering()
    below = next(text for text in figure.texts if text.get_text() == figure.get_supxlabel())
    text, whole = below.get_window_extent(), figure.bbox
    assert whole.x0 <= text.x0 and text.x1 <= whole.x1 and whole.y0 <= text.y0 and text.y1 < figure.axes[0].bbox.y0
