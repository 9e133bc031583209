"""`ffnp saliency`: the files it writes and what is in them, what it prints, and one sentence for whatever a user gets wrong."""

import json
import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from tiny import dataset, files, never, recipe, stopped

import ffnp
from ffnp import PRESETS, UserError, load, load_run, train
from ffnp.cli import main
from ffnp.rules import ForwardForward
from ffnp.saliency import command, report
from ffnp.saliency.controls import CONTROLS
from ffnp.saliency.faithfulness import WAYS
from ffnp.saliency.gradient import goodness_gradients, gradient, integrated_gradients
from ffnp.saliency.methods import against_all
from ffnp.saliency.occlusion import ADS, ads
from ffnp.saliency.rows import Row
from ffnp.saliency.scorer import Scorer

TINY = {"layers": (64, 9, 7), "epochs": 2, "backend": "numpy", "threads": 1}
FF = {"ads", "goodness", "grad", "smooth", "ig", "occlusion"}
BP = {"ads", "grad", "times-input", "smooth", "ig", "occlusion"}


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """A folder with runs in folders ff, bp, pepita (of digits), one of rows that are no data set, and one that is damaged."""
    home = tmp_path_factory.mktemp("runs")
    for name in ("ff", "bp", "pepita"):
        train(f"{name}-small", load("digits"), out=home / name, **TINY)
    train(recipe(), dataset(), out=home / "rows")
    (home / "damaged").mkdir()
    (home / "damaged" / "model.npz").write_bytes((home / "ff" / "model.npz").read_bytes()[:-99])
    return home


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """Every test runs in a folder of its own, so that the default folders are new."""
    monkeypatch.chdir(tmp_path)


def saliency(*arguments):
    """The exit code of `ffnp saliency` with these arguments."""
    try:
        return main(["saliency", *map(str, arguments)])
    except SystemExit as end:  # argparse's way
        return end.code


def arrays(out):
    with np.load(out / "saliency.npz", allow_pickle=False) as saved:
        return dict(saved)


# ----- what it writes -----


def test_all_methods_are_drawn_and_kept(runs, tmp_path, capsys):
    assert saliency(runs / "ff", "--images", 12, "--out", "here") == 0
    found = arrays(tmp_path / "here")
    ours = {f"ads/{field}" for field in ADS._fields} | {"ig/gap"}
    assert set(found) == {"images", "labels", "settings"} | {f"ff/{name}" for name in FF | ours}
    assert {found[f"ff/{name}"].shape for name in FF} == {(12, 8, 8)}
    assert set(files(tmp_path / "here")) == {"ff-maps.png", "ff-layers.png", "saliency.npz"}
    out, err = capsys.readouterr()
    accuracy, gap, *written = out.splitlines()
    assert re.fullmatch(r"ff: \d+\.\d\d% of 12 test images of digits right by goodness", accuracy)
    assert re.fullmatch(r"ff: mean completeness gap of integrated gradients \S+, \S+ % of the mean \|S\(x\) - S\(0\)\|", gap)
    assert written == ["here/ff-maps.png", "here/ff-layers.png", "here/saliency.npz"] and not err


def test_the_arrays_are_the_maps(runs, tmp_path):
    assert saliency(runs / "ff", "--images", 12, "--method", "ads,grad,ig,goodness", "--window", "3x2", "--stride", 2) == 0
    found, data = arrays(tmp_path / "ffnp-out" / "saliency"), load("digits")
    x, y, score = data.x_test[:12], data.y_test[:12], Scorer(load_run(runs / "ff"))
    np.testing.assert_array_equal(found["images"], x.reshape(-1, 8, 8))
    np.testing.assert_array_equal(found["labels"], y)
    weights = against_all(score, y)
    np.testing.assert_array_equal(found["ff/grad"], gradient(score, x, weights).reshape(-1, 8, 8))
    values, gap = integrated_gradients(score, x, weights)
    np.testing.assert_array_equal(found["ff/ig"], values.reshape(-1, 8, 8))
    np.testing.assert_array_equal(found["ff/ig/gap"], gap)
    expected = ads(score, x, y, (8, 8), 10, (3, 2), (2, 2))
    for field, value in expected._asdict().items():
        np.testing.assert_array_equal(found[f"ff/ads/{field}"], value)
    np.testing.assert_array_equal(found["ff/ads"], expected.class_maps[y])
    added_up = x * goodness_gradients(score, x, weights)[1:].sum(axis=0)
    np.testing.assert_allclose(found["ff/goodness"].reshape(12, -1), added_up, rtol=0, atol=1e-5 * np.abs(added_up).max())


def test_the_settings_are_kept_with_the_arrays(runs, tmp_path, capsys):
    methods = ["--method", "ig", "--method", "grad"]
    assert saliency(runs / "ff", "--images", 12, *methods, "--read-out", "softmax", "--out", "here") == 0
    settings = json.loads(str(arrays(tmp_path / "here")["settings"]))
    accuracy = float(re.match(r"ff: (\S+)% of 12", capsys.readouterr().out)[1])
    net = settings["nets"]["ff"]
    assert net.pop("accuracy") == pytest.approx(accuracy / 100, abs=1e-4)
    trained = {"preset": "ff-small", "data": "digits", "seed": 0, "sizes": [64, 9, 7, 10]}
    assert net == {"trained": trained, "read_out": "softmax", "methods": ["grad", "ig"]}
    assert {name: settings[name] for name in ("data", "images", "window", "stride", "seed")} == {
        "data": "digits", "images": 12, "window": [2, 2], "stride": [1, 1], "seed": 0}


@pytest.mark.parametrize("data, window, stride", [("digits", [2, 2], [1, 1]), ("fashion-mini", [5, 5], [2, 2])])
def test_the_window_is_a_sixth_of_each_side_unless_it_is_given(data, window, stride):
    options = command.Options([], None)
    found = command.sight(load(data), options)
    assert [list(found.window), list(found.stride)] == [window, stride]
    assert command.sight(load(data), options._replace(window=(7, 2))).stride == (3, 1)


def test_figures_show_the_first_image_of_each_class(runs, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(report.pictures, "maps_figure", lambda *a: shown.append(a) or Figure())
    assert saliency(runs / "bp", "--images", 40, "--method", "grad") == 0
    images, maps, labels, title, says = shown[0]
    data, kept = load("digits"), arrays(tmp_path / "ffnp-out" / "saliency")["bp/grad"]
    first = [list(data.y_test).index(c) for c in range(10) if c in data.y_test[:40]]
    np.testing.assert_array_equal(images.reshape(-1, 64), data.x_test[first])
    np.testing.assert_array_equal(maps["grad"], kept[first])
    taken = load_run(runs / "bp").predict(data.x_test[first])
    assert labels == [f"{y}" if y == p else f"{y}\nread as\n{p}" for y, p in zip(data.y_test[first], taken, strict=True)]
    assert title.startswith("bp on digits")
    for words in ("preset bp-small with layers 64-9-7-10, 2 epochs on digits, seed 0", "the first 40 test images of digits",
                  "right by softmax", "grad: gradient of the label's score"):
        assert words in says


def test_several_nets_lie_side_by_side(runs, tmp_path, capsys):
    assert saliency(runs / "ff", runs / "bp", "--images", 12, "--method", "grad,goodness", "--per-class", "--out", "here") == 0
    pictures = {"ff-maps.png", "ff-layers.png", "ff-classes.png", "bp-maps.png", "bp-classes.png", "side-by-side.png"}
    assert set(files(tmp_path / "here")) == pictures | {"saliency.npz"}
    found = arrays(tmp_path / "here")
    assert "bp/goodness" not in found and {"ff/goodness", "ff/grad", "bp/grad", "ff/ads/map", "bp/ads/map"} < set(found)
    assert capsys.readouterr().out.count(" of 12 test images of digits right by ") == 2


def test_pepita_has_a_figure_of_its_own(runs, tmp_path):
    assert saliency(runs / "pepita", "--images", 12, "--method", "pepita", "--out", "here") == 0
    assert set(files(tmp_path / "here")) == {"pepita-maps.png", "pepita-perturbation.png", "saliency.npz"}


def test_more_images_than_there_are_is_all_of_them(runs, tmp_path, monkeypatch):
    words = []
    monkeypatch.setattr(report.pictures, "maps_figure", lambda *a: words.append(a[-1]) or Figure())
    assert saliency(runs / "bp", "--images", 10**9, "--method", "grad", "--out", "here") == 0
    assert arrays(tmp_path / "here")["bp/grad"].shape == (355, 8, 8)
    assert "The images: all 355 test images of digits." in words[0]


def test_a_preset_is_trained_first_and_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(PRESETS, "bp-small", replace(PRESETS["bp-small"], hidden=(9, 7), epochs=2))
    given = ["bp-small", "--images", 12, "--method", "grad", "--seed", 3, "--threads", 1, "--out", "here"]
    assert saliency(*given) == 0
    assert load_run(tmp_path / "here" / "bp-small").history["seed"] == 3
    said = [line.split(",")[0] for line in capsys.readouterr().err.splitlines()]
    assert said == ["bp-small: epoch 1/2", "bp-small: epoch 2/2"]
    before = files(tmp_path / "here" / "bp-small")
    monkeypatch.setattr("ffnp.training.one_epoch", never)
    assert saliency(*given) == 0
    assert files(tmp_path / "here" / "bp-small") == before
    assert saliency(tmp_path / "here" / "bp-small", "--images", 12, "--method", "grad", "--out", "there") == 0
    np.testing.assert_array_equal(arrays(tmp_path / "here")["bp-small/grad"], arrays(tmp_path / "there")["bp-small/grad"])


def test_a_net_is_looked_at_by_the_backend_that_is_named(runs, tmp_path):
    """Which shows in the last bits of the maps."""
    for out, more in (("as-trained", ()), ("cpu", ("--backend", "cpu")), ("numpy", ("--backend", "numpy"))):
        assert saliency(runs / "ff", "--images", 12, "--method", "occlusion", *more, "--out", out) == 0
    trained, cpu, numpy = (arrays(tmp_path / out)["ff/occlusion"] for out in ("as-trained", "cpu", "numpy"))
    same, other = numpy, cpu
    np.testing.assert_array_equal(same, trained)
    np.testing.assert_allclose(other, trained, rtol=0, atol=1e-4 * np.nanmax(np.abs(trained)))
    assert not np.array_equal(other, trained, equal_nan=True)


def test_a_line_of_pixels_is_an_image_as_well(tmp_path, monkeypatch):
    data = dataset(classes=4)
    monkeypatch.setattr(command, "load", lambda name: data)
    train(recipe(ForwardForward(goodness_from=1)), data, out="run")
    assert saliency("run", "--images", 12, "--per-class") == 0
    found = arrays(tmp_path / "ffnp-out" / "saliency")
    assert found["run/occlusion"].shape == (12, 1, 8)
    assert np.isnan(found["run/occlusion"][:, 0, :4]).all() and not np.isnan(found["run/occlusion"][:, 0, 4:]).any()


def test_long_methods_show_a_bar_on_a_terminal(runs, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert saliency(runs / "ff", "--images", 12) == 0
    bars = re.findall(r"(ff: \w+): +0%", capsys.readouterr().err)
    assert sorted(bars) == ["ff: ads", "ff: ig", "ff: occlusion", "ff: smooth"]


# ----- measures -----


def test_metrics_measure_every_method_beside_the_controls(runs, tmp_path, capsys):
    assert saliency(runs / "ff", runs / "bp", "--images", 12, "--method", "grad,ads", "--metrics", "--out", "here") == 0
    kept = json.loads((tmp_path / "here" / "faithfulness.json").read_text())
    cells = {(row["net"], row["method"], row["metric"]) for row in kept["rows"]}
    for metric in [*WAYS, "mu-fidelity (zero)", "random label", "MPRT, all"]:
        methods = ["grad", *CONTROLS] + ["ads"] * (metric != "random label")  # ADS has no map of an image for a wrong label
        assert {cell[:2] for cell in cells if cell[2] == metric} == {(net, m) for net in ("ff", "bp") for m in methods}
    assert all(row["value"] is None or row["low"] <= row["value"] <= row["high"] for row in kept["rows"])
    assert kept["settings"] == json.loads(str(arrays(tmp_path / "here")["settings"]))
    assert {"ff-curves.png", "bp-curves.png", "faithfulness.png", "randomisation.png"} < set(files(tmp_path / "here"))
    out = capsys.readouterr().out
    _, ff, bp, meaning, randomised, _ = out.split("\n\n")
    assert re.match(r"ff +deletion +deletion ", ff) and re.match(r"bp +deletion ", bp)
    assert meaning.startswith("* better than random, intensity")
    assert [line.split(" ")[0] for line in randomised.splitlines()] == ["ff", "", "", "ads", "grad"]


def test_retraining_says_how_often_before_it_starts(runs, tmp_path, monkeypatch, capsys):
    asked, row = [], Row("bp", "grad", "ROAR, 10 %", 0.5, 0.4, 0.6, "lower")
    monkeypatch.setattr(command, "data_randomisation", lambda *a, **k: asked.append(capsys.readouterr().out) or [])
    monkeypatch.setattr(command, "roar", lambda net, score, methods, data, **k: asked.append(methods) or [row])
    assert saliency(runs / "bp", "--images", 12, "--method", "grad", "--retrain", "--out", "here") == 0
    assert f"trainings to come: {5 * len(command.SHARES) * command.SEEDS + 1} of bp\n" in asked[0]
    assert list(asked[1]) == ["grad", *CONTROLS]


def test_retraining_adds_its_rows(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "CONTROLS", {})
    assert saliency(runs / "bp", "--images", 12, "--method", "grad", "--retrain", "--out", "here") == 0
    kept = json.loads((tmp_path / "here" / "faithfulness.json").read_text())
    metrics = {row["metric"] for row in kept["rows"]}
    assert "data randomisation" in metrics and {f"ROAR, {100 * share:.3g} %" for share in command.SHARES} < metrics
    assert set(files(tmp_path / "here")) == {"bp-maps.png", "retraining.png", "saliency.npz", "faithfulness.json"}


def test_a_run_is_trained_anew_only_on_what_it_learned(runs):
    run, data = load_run(runs / "bp"), load("digits")
    other = data._replace(name="other")
    command.can_see({"bp": run}, data, True)
    command.can_see({"bp": run}, other, False)
    with pytest.raises(UserError, match="^--retrain trains bp on the digits that it learned, not on other$"):
        command.can_see({"bp": run}, other, True)


# ----- what a user gets wrong -----

METHOD_NAMES = "all, ads, goodness, grad, times-input, smooth, ig, occlusion, pepita"
WRONG = {  # what is wrong, and how the sentence says it
    "bp --method ZEBRA": f"method must be one of {METHOD_NAMES}, not 'ZEBRA'",
    "bp --method grad,": "not ''",
    "bp --method goodness": "method goodness cannot be served (bp: no layer of it has a goodness",
    "ff bp --method pepita": "method pepita cannot be served (ff: its rule does not",
    "ff --method times-input": "cannot be served (ff: of goodness",
    "bp --images 0": "images must be at least 1, not 0",
    "bp --images ZEBRA": "ZEBRA",
    "bp --window 9": "a window of 9x9 pixels does not fit on an image of 8x8",
    "bp --window 2x9": "a window of 2x9 pixels",
    "bp --window 0": "a window of 0x0 pixels",
    "bp --window 5x": "'5x' is not pixels",
    "bp --window ZEBRA": "'ZEBRA' is not pixels",
    "bp --stride 0": "stride must be at least 1 pixel, not 0x0",
    "bp --stride 1x0": "not 1x0",
    "bp --read-out ZEBRA": "the read-out of bp must be one of softmax, not 'ZEBRA'",
    "ff bp --read-out goodness": "the read-out of bp must be one of softmax, not 'goodness'",
    "ff-small --read-out ZEBRA": "the read-out of ff-small must be one of goodness, softmax, not 'ZEBRA'",
    "ff-small --method pepita": "cannot be served (ff-small: its rule",
    "ZEBRA": "'ZEBRA' is neither a folder with a run nor a preset",
    ".": "there is no run in .",
    "damaged": "model.npz is damaged or not a run",
    "ff/model.npz": "there is no run in",
    "bp --data ZEBRA": "'ZEBRA'",
    "bp --data fashion-mini": "bp learned 10 classes of images of 8x8; fashion-mini has 10 of 28x28",
    "rows": "'tiny'",
    "rows bp": "different data, so choose one with --data: rows tiny, bp digits",
    "rows bp-small": "rows tiny, bp-small digits",
    "rows bp --data digits": "rows learned 3 classes of images of 8; digits has 10 of 8x8",
    "bp bp": "not bp, bp",
    "bp ff/../bp": "not bp, ff/../bp",
    "bp --out ff/model.npz": "ff/model.npz",
    "bp --out ff/model.npz/below": "ff/model.npz/below",
    "bp --threads 0": "threads must be at least 1, not 0",
    "bp --seed -1": "seed must be at least 0, not -1",
    "bp-small --seed -1": "not -1",
    "": "RUN",
}


@pytest.mark.parametrize("arguments, words", WRONG.items(), ids=str)
def test_what_is_wrong_is_named_in_one_sentence(arguments, words, runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    monkeypatch.setattr("ffnp.training.one_epoch", never)
    before = {path.name: files(path) for path in runs.iterdir() if path.is_dir() and path.name != "ffnp-out"}
    assert saliency(*arguments.split()) == 2
    out, err = capsys.readouterr()
    *usage, sentence = err.splitlines()
    assert re.match("ffnp( saliency)?: ", sentence) and words in sentence and not out
    assert not usage or usage[0].startswith("usage: ffnp") and all(line.startswith(" ") for line in usage[1:])
    assert not list(runs.rglob("*.png")) and not (runs / "ffnp-out").exists()
    assert {path.name: files(path) for path in runs.iterdir() if path.name in before} == before


def test_a_folder_that_cannot_be_written_is_known_before_any_work(runs, monkeypatch, capsys):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.setattr(command, "look", never)
    assert saliency(runs / "bp", "--out", "here") == 2
    assert capsys.readouterr().err == "ffnp: here cannot be a folder for pictures (nothing can be written there)\n"


def test_all_leaves_out_silently_what_a_net_cannot_serve(runs, tmp_path):
    assert saliency(runs / "bp", "--images", 12, "--out", "here") == 0
    assert {name.removeprefix("bp/") for name in arrays(tmp_path / "here") if name.count("/") == 1} == BP


# ----- interrupted -----


@pytest.mark.parametrize("target", [(Figure, "savefig"), (np, "savez_compressed")], ids=["picture", "arrays"])
def test_ctrl_c_leaves_no_half_a_file(target, runs, tmp_path, monkeypatch, capsys):
    def half(*arguments, **options):
        file = arguments[-1]  # a path of a picture, or the file of arrays, already open
        file.write_bytes(b"half") if isinstance(file, Path) else file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(*target, half)
    assert saliency(runs / "bp", "--images", 12, "--method", "grad", "--out", "here") == 130
    assert capsys.readouterr().err == "ffnp: interrupted\n"
    assert set(files(tmp_path / "here")) == ({"bp-maps.png"} if target[0] is np else set())


def test_ctrl_c_ends_a_process(tmp_path):
    arguments = ["saliency", "bp-small", "--threads", "1", "--images", "12", "--out", "here"]
    code, err = stopped(arguments, "epoch 1/", signal.SIGINT)
    assert code == 130 and err.splitlines()[-1] == "ffnp: interrupted"
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"bp-small"}
    assert load_run(tmp_path / "here" / "bp-small").history["epochs"]


def test_help_is_at_hand(capsys):
    assert saliency("--help") == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: ffnp saliency") and all(name in out for name in ffnp.saliency.methods.METHODS)
