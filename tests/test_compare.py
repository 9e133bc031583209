"""Comparing: a row says what the histories say, the table and the files say what the rows say."""

import json
import re
import statistics

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from tiny import WAYS, bits, dataset, files, never, recipe

from ffnp import PRESETS, UserError, load_run, training
from ffnp.compare import compare, row, table
from ffnp.plots import learning_curves
from ffnp.training import train


@pytest.fixture
def presets(monkeypatch):
    """bp-small and ff-small as they are listed, only tiny."""
    monkeypatch.setitem(PRESETS, "bp-small", WAYS["bp"])
    monkeypatch.setitem(PRESETS, "ff-small", WAYS["ff"])
    return ["bp-small", "ff-small"]


def history(test_error=0.25, seconds=(1.0, 2.0), errors=(0.5, 0.25), n_val=10):
    """As much of a history as a comparison reads."""
    epochs = [{"seconds": s, "val_error": e} for s, e in zip(seconds, errors, strict=True)]
    return {"test_error": test_error, "epochs": epochs, "settings": {"rule": {"name": "backprop"}}, "read_out": "softmax",
            "parameters": 12345, "n_val": n_val}


# ----- a row -----


def test_accuracy_is_the_mean_over_seeds_and_its_deviation_that_of_a_sample():
    errors = [0.1, 0.2, 0.6]
    found = row("name", [history(e) for e in errors])
    assert (found["preset"], found["rule"], found["read_out"], found["seeds"]) == ("name", "backprop", "softmax", 3)
    assert found["accuracy"] == pytest.approx(0.7, rel=1e-15)
    assert found["deviation"] == pytest.approx(statistics.stdev(errors), rel=1e-14)


def test_one_seed_has_no_deviation():
    assert row("name", [history()])["deviation"] is None


def test_seconds_are_the_median_of_all_epochs_of_all_seeds():
    found = row("name", [history(seconds=(1, 9)), history(seconds=(2, 100)), history(seconds=(3, 4))])
    assert found["seconds_per_epoch"] == 3.5


# ----- the table -----


def test_the_table_shows_each_row_in_its_units():
    rows = [row("bp", [history(0.1), history(0.2)]), row("a-longer-name", [history(0.034)])]
    assert table(rows) == (
        "preset         rule      read-out  test accuracy   s / epoch  parameters\n"
        "bp             backprop  softmax   85.00 ± 7.07 %  1.5        12,345\n"
        "a-longer-name  backprop  softmax   96.60 %         1.5        12,345")


def test_columns_are_aligned(presets, tmp_path):
    heading, *lines = table(compare(presets, dataset(), 2, tmp_path).rows).splitlines()
    starts = [match.start() for match in re.finditer(r"(?<=  )\S", heading)]
    assert len(starts) == 5
    assert all(line[start - 2 : start] == "  " and line[start] != " " for line in lines for start in starts)


# ----- comparing -----


def test_rows_are_those_of_the_runs(presets, tmp_path):
    rows = compare(presets, dataset(), 2, tmp_path, backend="numpy").rows
    runs = {name: [train(name, dataset(), seed=seed, backend="numpy") for seed in range(2)] for name in presets}
    for found, (name, trained) in zip(rows, runs.items(), strict=True):
        expected = row(name, [run.history for run in trained])
        assert {**found, "seconds_per_epoch": None} == {**expected, "seconds_per_epoch": None}


def test_every_run_is_kept(presets, tmp_path):
    found = compare(presets, dataset(), 2, tmp_path)
    for name in presets:
        for seed in range(2):
            assert bits(load_run(tmp_path / f"{name}-seed{seed}")) == bits(train(name, dataset(), seed=seed))
        assert bits(found.runs[name]) == bits(load_run(tmp_path / f"{name}-seed0"))


def test_the_json_says_what_the_table_says(presets, tmp_path):
    rows = compare(presets, dataset(), 2, tmp_path).rows
    result = json.loads((tmp_path / "compare.json").read_text(), parse_constant=pytest.fail)
    assert result["data"] == "tiny" and result["rows"] == rows
    assert table(result["rows"]) == table(rows)
    assert result["rows"] == [row(name, histories) for name, histories in result["runs"].items()]


def test_the_picture_is_a_picture(presets, tmp_path):
    compare(presets, dataset(), 1, tmp_path)
    content = (tmp_path / "compare.png").read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n") and content.endswith(b"IEND\xaeB`\x82") and len(content) > 10_000


def test_resuming_reads_finished_runs_and_trains_the_others(presets, monkeypatch, tmp_path):
    compare(presets, dataset(), 1, tmp_path)
    trained, one_epoch = [], training.one_epoch
    monkeypatch.setattr(training, "one_epoch", lambda run, *rest: trained.append(run.history["seed"]) or one_epoch(run, *rest))
    rows = compare(presets, dataset(), 2, tmp_path, resume=True).rows
    assert trained == [1] * (4 + 4)  # two presets, four epochs, the new seed
    assert [r["seeds"] for r in rows] == [2, 2]


def test_resuming_what_is_finished_changes_nothing(presets, monkeypatch, tmp_path):
    rows = compare(presets, dataset(), 1, tmp_path).rows
    before = files(tmp_path / "bp-small-seed0")
    monkeypatch.setattr(training, "one_epoch", never)
    assert compare(presets, dataset(), 1, tmp_path, resume=True).rows == rows
    assert files(tmp_path / "bp-small-seed0") == before


def test_without_resume_all_is_trained_anew(presets, tmp_path):
    compare(presets, dataset(), 1, tmp_path, epochs=1)
    compare(presets, dataset(), 1, tmp_path, epochs=2)
    assert len(load_run(tmp_path / "ff-small-seed0").history["epochs"]) == 2


def test_each_run_is_told_as_it_ends(presets, capsys, tmp_path):
    compare(presets, dataset(), 1, tmp_path)
    errors = [load_run(tmp_path / f"{name}-seed0").history["test_error"] for name in presets]
    told = "".join(f"{name} seed 0: test error {error:.2%}\n" for name, error in zip(presets, errors, strict=True))
    assert capsys.readouterr() == ("", told)


@pytest.mark.parametrize("names, seeds, words", [
    (["bp-small", "bp-small"], 1, "not bp-small, bp-small and 1"), ([], 1, "different presets"), (["bp-small"], 0, "and 0"),
    (["bp-small", "ZEBRA"], 1, "no preset 'ZEBRA'"),
])
def test_what_cannot_be_compared_is_refused_before_any_training(names, seeds, words, monkeypatch, tmp_path):
    monkeypatch.setattr(training, "one_epoch", never)
    with pytest.raises(UserError, match=words):
        compare(names, dataset(), seeds, tmp_path)
    assert not files(tmp_path)


# ----- learning curves -----

RUNS = {
    "first": [history(errors=(0.5, 0.25), seconds=(1, 1)), history(errors=(0.3, 0.15), seconds=(3, 1))],
    "second": [history(errors=(0.75, 0.125), seconds=(5, 5))] * 2,
}


def test_every_preset_has_a_line_against_epochs_and_one_against_seconds():
    by_epoch, by_time = learning_curves(RUNS, "Learning").axes
    assert [line.get_label() for line in by_epoch.lines] == [line.get_label() for line in by_time.lines] == ["first", "second"]
    np.testing.assert_allclose(by_epoch.lines[0].get_xydata(), [[1, 40], [2, 20]])
    np.testing.assert_allclose(by_time.lines[0].get_xydata(), [[2, 40], [3, 20]])
    np.testing.assert_allclose(by_epoch.lines[1].get_xydata(), [[1, 75], [2, 12.5]])


@pytest.mark.parametrize("against", ["epoch", "training time (s)"])
def test_one_panel_can_be_had_alone(against):
    alone, = learning_curves(RUNS, "Learning", [against]).axes
    beside = next(axes for axes in learning_curves(RUNS, "Learning").axes if axes.get_xlabel() == against)
    assert (alone.get_xlabel(), alone.get_ylabel()) == (against, "validation error (%)")
    for one, other in zip(alone.lines, beside.lines, strict=True):
        np.testing.assert_array_equal(one.get_xydata(), other.get_xydata())


def test_the_band_reaches_from_the_best_to_the_worst_seed():
    for axes in learning_curves(RUNS, "Learning").axes:
        for band, line, (low, high) in zip(axes.collections, axes.lines, [(15, 50), (12.5, 75)], strict=True):
            heights = band.get_paths()[0].vertices[:, 1]
            assert (heights.min(), heights.max()) == pytest.approx((low, high))
            assert band.get_facecolor()[0].tolist() == [*to_rgba(line.get_color())[:3], band.get_alpha()]


def test_axes_name_what_they_show_in_its_unit():
    figure = learning_curves(RUNS, "Learning digits")
    by_epoch, by_time = figure.axes
    assert (by_epoch.get_xlabel(), by_epoch.get_ylabel()) == ("epoch", "validation error (%)")
    assert by_time.get_xlabel() == "training time (s)" and by_time.get_shared_y_axes().joined(by_epoch, by_time)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["first", "second"]
    assert figure.get_suptitle() == "Learning digits: mean of 2 seeds, band from best to worst"


def test_lines_differ_in_more_than_colour():
    figure = learning_curves({str(i): [history()] for i in range(6)}, "Six")
    assert len({line.get_color() for line in figure.axes[0].lines}) == 6
    assert len({line.get_linestyle() for line in figure.axes[0].lines}) == 4


@pytest.mark.parametrize("errors", [(0.5, 0.0), (0.0, 0.0)])
def test_no_error_is_drawn_as_half_an_image(errors, tmp_path):
    """Of 10 images, half a one is 5 %; a logarithmic axis has no zero."""
    figure = learning_curves({"perfect": [history(errors=errors)]}, "No error")
    assert figure.axes[0].lines[0].get_ydata()[-1] == 5
    figure.savefig(tmp_path / "figure.png")  # nor does drawing warn
    assert 0 < figure.axes[0].get_ylim()[0] < 5 < figure.axes[0].get_ylim()[1]


@pytest.mark.parametrize("name", ["bp", "layerwise"])
def test_real_histories_can_be_drawn(name):
    run = train(WAYS[name], dataset())
    line = learning_curves({name: [run.history]}, "One seed").axes[0].lines[0]
    assert line.get_xdata().tolist() == [e["epoch"] for e in run.history["epochs"]]


def test_a_run_of_one_epoch_can_be_drawn(tmp_path):
    figure = learning_curves({"short": [train(recipe(), dataset(), epochs=1).history]}, "One epoch")
    figure.savefig(tmp_path / "figure.png")
    assert len(figure.axes[0].lines[0].get_xdata()) == 1 and figure.axes[0].lines[0].get_marker() == "."  # or it were unseen


@pytest.mark.parametrize("epochs", [1, 3])
def test_no_tick_stands_between_two_epochs(epochs):
    figure = learning_curves({"short": [history(errors=(0.5,) * epochs, seconds=(1,) * epochs)]}, "Few epochs")
    assert all(tick == round(tick) for tick in figure.axes[0].get_xticks())


def test_one_slow_seed_does_not_move_the_seconds():
    """The first training of all also waits for its kernels."""
    runs = [history(seconds=(9, 1)), history(seconds=(1, 1)), history(seconds=(1, 2))]
    assert learning_curves({"three": runs}, "Three seeds").axes[1].lines[0].get_xdata().tolist() == [1, 2]


def test_a_single_seed_is_called_one():
    assert learning_curves({"single": [history()]}, "Learning digits").get_suptitle() == "Learning digits: one seed"
