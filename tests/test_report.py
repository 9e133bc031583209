"""The report: what it shows are the numbers of the runs, whatever rule, data and names; it is one page and needs no other."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pages import SVG, Page
from tiny import WAYS, dataset, recipe

from ffnp import PRESETS, plots
from ffnp.compare import Comparison, compare
from ffnp.data import from_arrays
from ffnp.diagnostics import activation_memory
from ffnp.optim import Optimiser, Optimisers
from ffnp.preset import Preset
from ffnp.report import INK, LIGHT_AND_DARK, mistakes, report
from ffnp.rules import AdaptiveFeedback, DirectFeedback, FeedbackAlignment, ForwardForward, MonoForward
from ffnp.rules import UnsupervisedForwardForward as Unsupervised
from ffnp.training import train

STEP = Optimiser("sgd", 0.1)
COMPARED = ["Error by epoch", "Error by time", "Time of an epoch", "Memory"]
SLOW, UPDATES = "How slowly accuracy comes", ["Angle of updates to backprop's", "Length of updates"]
ANGLE, DISTANCE = "Angle of feedback to weights", "Distance of feedback from weights"
GOODNESS, ALL = "Goodness of positive and negative data", ["Weights of the first layer", "Confusion on the test images",
                                                           "The surest mistakes"]


def learning(rule):
    """A recipe whose feedback matrices learn too."""
    return Preset("recipe", "a test", rule, (7, 5), Optimisers(STEP, STEP, STEP), epochs=2, batch=8)


def of_one(preset, data, **options):
    """The comparison of one run, as `ffnp train` reports it."""
    run = train(preset, data, **{"diagnose": True, **options})
    return Comparison({run.preset.name: [run.history]}, {run.preset.name: run})


def page_of(preset, data=None, **options):
    data = data or dataset()
    return Page(report(of_one(preset, data, **options), data))


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Two presets of two seeds each: compare.json, and the page."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("bp", "ff"):
            patch.setitem(PRESETS, f"{name}-small", WAYS[name])
        folder = tmp_path_factory.mktemp("compared")
        found = compare(["bp-small", "ff-small"], dataset(), 2, folder, diagnose=True)
    return json.loads((folder / "compare.json").read_text()), Page(report(found, dataset())), found


def watch(monkeypatch, name, given):
    """Keeps what the figure of this name is given, and draws it."""
    draw = getattr(plots, name)
    monkeypatch.setattr(plots, name, lambda *args: given.append(args) or draw(*args))


# ----- numbers -----


def test_the_table_says_what_the_json_says(compared):
    result, page, _ = compared
    for cells, row in zip(page.table(), result["rows"], strict=True):
        assert [cells[name] for name in ("preset", "rule", "read-out")] == [row[n] for n in ("preset", "rule", "read_out")]
        accuracy, deviation = cells["test accuracy"].removesuffix(" %").split(" ± ")
        assert float(accuracy) == pytest.approx(100 * row["accuracy"], abs=0.00501)
        assert float(deviation) == pytest.approx(100 * row["deviation"], abs=0.00501)
        assert float(cells["s / epoch"]) == pytest.approx(row["seconds_per_epoch"], rel=0.00501)
        assert int(cells["parameters"].replace(",", "")) == row["parameters"]


def test_the_table_says_what_a_batch_takes_in_memory():
    """Of a net so large that what Python itself takes, once, does not count."""
    cells, = page_of(PRESETS["ff-small"], epochs=1).table()
    for kind, size in activation_memory(PRESETS["ff-small"].rule, [8, 400, 400, 400, 3], 50, "float32").items():
        assert float(cells[f"MB {kind}"]) == pytest.approx(size / 1e6, rel=0.02 if kind == "measured" else 0.00501)


def test_settings_and_errors_of_every_preset_are_told(compared):
    _, page, found = compared
    told = page.texts["dd"]
    for name, run in found.runs.items():
        assert name in page.texts["h2"] and run.preset.source in told
        assert ", ".join(f"{error:.2%} by {by}" for by, error in run.history["read_outs"].items()) in told
    rule, = (text for text in told if text.startswith("forward-forward: "))
    assert "label append" in rule and "negatives hard" in rule and any("hidden [7, 5], epochs 4, batch 8" in t for t in told)
    assert "tiny: 50 images to learn from, 10 to validate, 15 to test; 3 classes" in told and "0, 1" in told


def test_what_is_measured_is_what_is_drawn(compared, monkeypatch):
    """Every figure is given the numbers of the history, or those of the net."""
    _, _, found = compared
    given, data = {}, dataset()
    for name in ("learning_curves", "confusion_matrix", "goodness_histograms", "slowness_fit"):
        watch(monkeypatch, name, given.setdefault(name, []))
    report(found, data)
    assert all(args[0] == found.histories for args in given["learning_curves"])
    assert given["goodness_histograms"][0][0] == found.runs["ff-small"].history
    curves, = given["slowness_fit"]
    first_rate = found.runs["ff-small"].history["epochs"][:2]  # of four: then its rate falls, and that of bp-small at once
    assert curves[0] == {"ff-small": [1 - e["val_error"] for e in first_rate]}
    for (counts, *_), run in zip(given["confusion_matrix"], found.runs.values(), strict=True):
        assert counts.sum() == len(data.y_test) and counts.trace() == round(15 * (1 - run.history["test_error"]))
        for true, told in zip(data.y_test, run.predict(data.x_test), strict=True):
            counts[true, told] -= 1
        assert not counts.any()


# ----- figures -----


@pytest.mark.parametrize("preset, own", [
    (WAYS["bp"], UPDATES), (WAYS["ff"], [SLOW, *UPDATES, GOODNESS]), (WAYS["layerwise"], [SLOW, *UPDATES, GOODNESS]),
    (WAYS["mirror"], [SLOW, *UPDATES, ANGLE]), (recipe(FeedbackAlignment(), batch=8), [SLOW, *UPDATES, ANGLE, DISTANCE]),
    (recipe(DirectFeedback()), [SLOW, *UPDATES, ANGLE]), (recipe(AdaptiveFeedback()), [SLOW, *UPDATES, ANGLE]),
    (recipe(Unsupervised(), batch=8), [SLOW, *UPDATES, GOODNESS]), (learning(MonoForward()), [SLOW, *UPDATES]),
], ids=["bp", "ff", "layerwise", "mirror", "fa", "dfa", "afa", "unsupervised", "mono-forward"])
def test_every_rule_has_its_figures(preset, own):
    page = page_of(preset, epochs=4)
    assert sorted(page.titles()) == sorted([*COMPARED, *own, *ALL])
    assert all(page.texts["figcaption"]) and len(page.texts["figcaption"]) == len(page.values("src", "img"))


def test_figures_are_whole_and_follow_light_and_dark(compared):
    _, page, _ = compared
    for svg, src in zip(page.drawings(), page.values("src", "img"), strict=True):
        assert src.startswith(SVG)
        text = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}style")]
        assert LIGHT_AND_DARK.removeprefix("<style>").removesuffix("</style>") in text
        styles = [element.get("style", "") for element in svg.iter()]
        assert not any(INK in style for style in styles) and any("currentColor" in style for style in styles)


def test_nothing_is_fetched(compared):
    _, page, _ = compared
    assert all(value.startswith(("data:", "#")) for value in [*page.values("src"), *page.values("href")])
    assert not any(tag in page.texts for tag in ("script", "link", "iframe"))
    for svg in page.drawings():
        links = [value for element in svg.iter() for name, value in element.items() if name.endswith("href")]
        assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)


def test_the_same_runs_make_the_same_page(compared, monkeypatch):
    """But for the measured memory, in which there is Python's own."""
    monkeypatch.setattr("ffnp.report.activation_memory", lambda *args: {"published": 1000, "measured": 2000})
    _, _, found = compared
    assert report(found, dataset()) == report(found, dataset())


@pytest.mark.parametrize("label, blank", [("overlay", 3), ("append", 0)])
def test_weights_are_those_from_the_image(label, blank, monkeypatch):
    shown, data = [], dataset()
    watch(monkeypatch, "weight_mosaic", shown)
    found = of_one(recipe(ForwardForward(label=label, negatives="uniform"), batch=8), data)
    text = report(found, data)
    W = found.runs["recipe"].net.layers[0].W[:8].copy()
    W[:blank] = np.nan
    order = np.argsort(-np.linalg.norm(W[blank:], axis=0))
    np.testing.assert_array_equal(shown[0][0][:, 0], W.T[order])
    assert ("label is written over are left blank" in text) == bool(blank)


# ----- sentences in the place of figures -----


def test_a_run_without_diagnostics_says_so():
    page = page_of(WAYS["ff"], diagnose=False)
    assert set(page.titles()).isdisjoint({*UPDATES, GOODNESS})
    assert [text for text in page.texts["p"] if "not kept" in text] == [
        "Angles to backprop were not kept: all epochs of this run were trained without a report.",
        "Goodness was not kept: all epochs of this run were trained without a report."]


def test_epochs_without_diagnostics_are_counted():
    data = dataset()
    found = of_one(WAYS["ff"], data)
    history = found.runs["ff-small"].history
    del history["epochs"][0]["diagnostics"]
    page = Page(report(found, data))
    assert sum("1 of 4 epochs were trained without a report and are blank." in text for text in page.texts["figcaption"]) == 3


def test_one_epoch_has_no_slowness():
    page = page_of(WAYS["bp"], epochs=1)
    assert SLOW not in page.titles()
    assert "Without a second epoch at the first learning rate there is no slowness of bp-small." in page.texts["p"]


def test_a_net_without_mistakes_says_so():
    data = dataset()
    run = of_one(WAYS["bp"], data).runs["bp-small"]
    assert mistakes(run, np.eye(3)[data.y_test], data) == "It makes no mistake on the test images."


# ----- any data, any names -----


def images(shape, classes=3, names=None):
    rng = np.random.default_rng(0)
    x, y = rng.random((6 * classes, *shape)), np.arange(6 * classes) % classes
    return from_arrays(x, y, x[: 2 * classes], y[: 2 * classes], names)


@pytest.mark.parametrize("data", [images((12,)), images((4, 5)), images((4, 5, 3)), images((3, 2, 2, 2)), images((6, 6), 30)],
                         ids=["rows", "grey", "colour", "four axes", "30 classes"])
def test_any_data_can_be_reported(data):
    page = page_of(recipe(ForwardForward(label="append", negatives="uniform"), epochs=1, batch=9), data)
    assert set(ALL) < set(page.titles()) and page.drawings()


def test_names_are_only_names():
    nasty = '<b>&"$x_'
    data = images((4, 4), names=[nasty, "'<i>", "&amp;"])
    found = of_one(replace(recipe(), name=nasty), data._replace(name=nasty))
    text = report(found, data._replace(name=nasty))
    page = Page(text)
    assert page.texts["h1"] == page.texts["title"] == [f"{nasty} on {nasty}"] and page.table()[0]["preset"] == nasty
    assert nasty not in text and not {"b", "i"} & set(page.texts)
    words = {element.text for svg in page.drawings() for element in svg.iter() if element.text}
    assert {nasty, "'<i>", "&amp;"} <= words
