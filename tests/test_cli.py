"""The command line: what each command prints, and one sentence with exit code 2 for whatever a user gets wrong."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from tiny import bits, files, never, stopped

import ffnp
from ffnp import PRESETS, cli, load_run, training
from ffnp.cli import main
from ffnp.data import CATALOG
from ffnp.optim import Optimiser, Optimisers

SMALL = ["bp-small", "--layers", "64,9,7", "--epochs", "2", "--backend", "numpy"]


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """Every test runs in a folder of its own, so that the default folders are new."""
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    """The exit code of `ffnp` with these arguments."""
    try:
        return main(arguments)
    except SystemExit as end:  # argparse's way
        return end.code


def process(*arguments, **options):
    """`python -m ffnp` as a process of its own, finished."""
    options = {"capture_output": True, "text": True, **options}
    return subprocess.run([sys.executable, "-m", "ffnp", *arguments], timeout=60, check=False, **options)


# ----- what a user gets wrong -----

UNKNOWN = [
    "train ZEBRA", "train bp-small --data ZEBRA", "train bp-small --backend ZEBRA", "train bp-small --dtype ZEBRA",
    "train bp-small --layers ZEBRA", "train bp-small --seed ZEBRA", "train bp-small --epochs ZEBRA",
    "train bp-small --zip ZEBRA", "compare ZEBRA", "compare bp-small ZEBRA", "compare --data ZEBRA", "compare --seeds ZEBRA",
    "data ZEBRA", "data fetch ZEBRA", "data list ZEBRA", "presets ZEBRA", "ZEBRA",
]
OUT_OF_RANGE = {  # what is wrong, and how the sentence says it
    "train bp-small --epochs 0": "not 0,", "train bp-small --epochs -3": "not -3,", "train bp-small --batch 0": ", 0, ",
    "train bp-small --threads 0": "not 0", "train bp-small --seed -1": "not -1", "train bp-small --layers 64": "layers 64 ",
    "train bp-small --layers 63,9": "layers 63,9 ", "train bp-small --layers 64,0": "(0,)",
    "train bp-small --layers 64,": "'64,'", "train bp-small --layers 64,9.5": "'64,9.5'",
    "train bp-small --layers 64,1000000000000000": "1000000000000000",
    "compare --seeds 0": "dfa-small and 0", "compare --seeds -2": "and -2", "compare --epochs 0": "not 0,",
    "compare --batch 0": ", 0, ", "compare --threads -1": "not -1", "compare --layers 63,9": "layers 63,9 ",
    "compare bp-small bp-small": "not bp-small, bp-small",
}


def assert_one_sentence(err, words):
    """Usage apart, stderr is one line from ffnp that says `words`."""
    *usage, sentence = err.splitlines()
    assert re.match("ffnp( train| compare| data)?: ", sentence) and words in sentence
    assert not usage or usage[0].startswith("usage: ffnp") and all(line.startswith(" ") for line in usage[1:])


@pytest.mark.parametrize("arguments", UNKNOWN)
def test_an_unknown_name_is_named(arguments, capsys):
    assert run(*arguments.split()) == 2
    assert_one_sentence(capsys.readouterr().err, "ZEBRA")


@pytest.mark.parametrize("arguments, words", OUT_OF_RANGE.items())
def test_a_value_out_of_range_is_named(arguments, words, capsys, tmp_path):
    assert run(*arguments.split()) == 2
    out, err = capsys.readouterr()
    assert_one_sentence(err, words)
    assert not out and not list(tmp_path.rglob("model.npz"))


def test_a_layer_number_beyond_the_network_is_named(capsys):
    assert run("train", "ff-small", "--layers", "64,9") == 2
    assert_one_sentence(capsys.readouterr().err, "goodness_from is layer 2, but the network has 1 hidden layers")


@pytest.mark.parametrize("arguments", [(), ("train",), ("train", "bp-small", "--epochs")], ids=" ".join)
def test_something_left_out_is_named(arguments, capsys):
    assert run(*arguments) == 2
    assert_one_sentence(capsys.readouterr().err, {0: "COMMAND", 1: "PRESET", 3: "--epochs"}[len(arguments)])


def test_fetching_needs_a_name(capsys):
    assert run("data", "fetch") == 2
    assert_one_sentence(capsys.readouterr().err, "say which data set to fetch: digits, fashion-mini, mnist")


@pytest.mark.parametrize("command", ["train", "compare"])
@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_folder_that_cannot_be_is_named_before_any_training(command, out, capsys, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(training, "one_epoch", never)
    assert run(command, *SMALL, "--out", out) == 2
    assert_one_sentence(capsys.readouterr().err, out)


@pytest.mark.parametrize("option, value", [("--epochs", "3"), ("--seed", "1"), ("--batch", "9"), ("--dtype", "float64"),
                                           ("--threads", "1"), ("--backend", "cpu")])
def test_resuming_another_training_is_refused(option, value, capsys, tmp_path):
    assert run("train", *SMALL, "--out", "kept") == 0
    before, _ = files(tmp_path / "kept"), capsys.readouterr()
    assert run("train", *SMALL, "--out", "kept", "--resume", option, value) == 2
    assert_one_sentence(capsys.readouterr().err, f"{option.strip('-')} ")
    assert files(tmp_path / "kept") == before


def test_a_run_is_not_trained_over(capsys):
    assert run("train", *SMALL) == 0
    capsys.readouterr()
    assert run("train", *SMALL) == 2
    assert_one_sentence(capsys.readouterr().err, "ffnp-out/bp-small-digits-seed0 already holds a run; go on with --resume")


def test_a_hopeless_training_is_one_sentence(capsys, monkeypatch):
    hopeless = Optimisers(Optimiser("sgd", rate=1e30))
    monkeypatch.setitem(PRESETS, "bp-small", replace(PRESETS["bp-small"], optimisers=hopeless))
    assert run("train", *SMALL) == 2
    assert_one_sentence(capsys.readouterr().err, "are not finite after step 1 of epoch 1")


@pytest.mark.parametrize("arguments", ["train bp-small --epochs 0", "train ZEBRA", "data fetch", "compare --seeds 0"])
def test_a_process_ends_with_the_same_sentence(arguments, capsys):
    ended = process(*arguments.split())
    assert (ended.returncode, ended.stdout) == (2, "")
    assert run(*arguments.split()) == 2
    assert ended.stderr == capsys.readouterr().err


# ----- what the commands do -----


def test_train_prints_the_errors_it_wrote(capsys, tmp_path):
    assert run("train", "ff-small", *SMALL[1:], "--seed", "7") == 0
    out, err = capsys.readouterr()
    folder = tmp_path / "ffnp-out" / "ff-small-digits-seed7"
    errors = json.loads((folder / "history.json").read_text())["read_outs"]
    assert out.count("\n") == 1 and out.startswith("ff-small on digits, seed 7: test error ")
    assert f"{errors['goodness']:.2%} by goodness, {errors['softmax']:.2%} by softmax after 2 epochs" in out
    assert "kept in ffnp-out/ff-small-digits-seed7" in out
    assert [line.split(",")[0] for line in err.splitlines()] == ["ff-small: epoch 1/2", "ff-small: epoch 2/2"]


def test_train_hands_every_option_on(tmp_path):
    options = ["--batch", "77", "--seed", "4", "--threads", "1", "--dtype", "float64", "--out", "here"]
    assert run("train", *SMALL, *options) == 0
    history = load_run(tmp_path / "here").history
    assert (history["sizes"], len(history["epochs"]), history["settings"]["batch"]) == ([64, 9, 7, 10], 2, 77)
    assert [history[name] for name in ("backend", "seed", "threads", "dtype")] == ["numpy", 4, 1, "float64"]


def interrupt(*arguments):
    raise KeyboardInterrupt


def test_resume_goes_on_after_ctrl_c_and_ends_as_if_nothing_had_been(capsys, monkeypatch, tmp_path):
    one_epoch = training.one_epoch
    with monkeypatch.context() as patch:
        patch.setattr(training, "tell", interrupt)
        assert run("train", *SMALL, "--out", "kept") == 130
    assert "--resume" in capsys.readouterr().err
    done = []
    monkeypatch.setattr(training, "one_epoch", lambda *a: done.append(1) or one_epoch(*a))
    assert run("train", *SMALL, "--out", "kept", "--resume") == run("train", *SMALL, "--out", "whole") == 0
    assert len(done) == 1 + 2
    assert bits(load_run(tmp_path / "kept")) == bits(load_run(tmp_path / "whole"))


def test_ctrl_c_offers_to_go_on_only_where_something_is_kept(capsys, monkeypatch):
    monkeypatch.setattr(cli, "fetch", interrupt)
    assert run("data", "fetch", "mnist") == 130
    assert capsys.readouterr().err == "ffnp: interrupted\n"


@pytest.mark.parametrize("options, words, kept", [
    ([], "kept in here, shown in here/report.html\n", {"history.json", "model.npz", "report.html"}),
    (["--no-report"], "kept in here\n", {"history.json", "model.npz"}),
], ids=["report", "none"])
def test_train_reports_unless_told_not_to(options, words, kept, capsys, tmp_path):
    assert run("train", *SMALL, "--out", "here", *options) == 0
    assert capsys.readouterr().out.endswith(words)
    assert files(tmp_path / "here").keys() == kept


def test_a_finished_run_is_reported_later(capsys, tmp_path):
    assert run("train", *SMALL, "--out", "kept", "--no-report") == 0
    assert run("train", *SMALL, "--out", "kept", "--resume") == 0
    assert "Angles to backprop were not kept" in (tmp_path / "kept" / "report.html").read_text()


@pytest.mark.parametrize("options", [[], ["--no-report"]], ids=["report", "none"])
def test_compare_prints_the_table_and_where_the_rest_is(options, capsys, tmp_path):
    assert run("compare", "bp-small", "ff-small", *SMALL[1:], "--seeds", "2", *options) == 0
    out, err = capsys.readouterr()
    heading, bp, ff, _, where = out.splitlines()
    assert [line.split()[:2] for line in (heading, bp, ff)] == [
        ["preset", "rule"], ["bp-small", "backprop"], ["ff-small", "forward-forward"]]
    report = "" if options else "   report: ffnp-out/report.html"
    assert where == f"learning curves: ffnp-out/compare.png   all numbers: ffnp-out/compare.json{report}"
    runs = ["bp-small seed 0", "bp-small seed 1", "ff-small seed 0", "ff-small seed 1"]
    assert [line.split(":")[0] for line in err.splitlines()] == runs
    folders = {name.replace(" seed ", "-seed") for name in runs}
    assert {path.name for path in (tmp_path / "ffnp-out").iterdir()} == folders | {
        "compare.png", "compare.json", *(["report.html"] if report else [])}


def test_presets_tells_source_and_settings_of_each(capsys):
    assert run("presets") == 0
    out = capsys.readouterr().out
    for preset in PRESETS.values():
        assert f"{preset.name}: {preset.source}\n" in out
    hinton = out.partition("ff-hinton2022: ")[2].partition("\nff-loewe")[0]
    for words in ("forward-forward: ", "negatives hard", "peer 0.03", "hidden [1000, 1000, 1000]", "schedule hinton"):
        assert words in hinton


def test_presets_leaves_out_what_an_optimiser_does_not_use(capsys):
    assert run("presets") == 0
    lines = [line.split(": ") for line in capsys.readouterr().out.splitlines() if " step  " in line]
    names = {kind.split()[-1]: {setting.split()[0] for setting in settings.split(", ")} for kind, settings in lines}
    assert "momentum" in names["ema"] and "momentum" not in names["sgd"] and "decay" in names["sgd"]
    assert {"beta2", "epsilon"} < names["adam"] and not {"beta2", "epsilon"} & (names["ema"] | names["sgd"])


@pytest.mark.parametrize("arguments", [("data",), ("data", "list")], ids=" ".join)
def test_data_lists_every_set(arguments, capsys):
    assert run(*arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(CATALOG)
    assert "1,442 + 355    images of 8x8       10 classes" in lines[0]


def test_data_says_what_is_not_fetched(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("FFNP_DATA", str(tmp_path))
    assert run("data") == 0
    assert [line.endswith("not fetched") for line in capsys.readouterr().out.splitlines()] == [False] * 2 + [True] * 4


def test_an_embedded_set_needs_no_fetching(capsys):
    assert run("data", "fetch", "digits") == 0
    assert capsys.readouterr().out.startswith("digits is in ")


def test_the_version_is_that_of_the_package(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"ffnp {ffnp.__version__}\n"


@pytest.mark.parametrize("command", [[], ["train"], ["compare"], ["presets"], ["data"]])
def test_help_is_at_hand(command, capsys):
    assert run(*command, "--help") == 0
    assert capsys.readouterr().out.startswith(" ".join(["usage: ffnp", *command]))


# ----- as a process -----


def test_the_module_is_the_command():
    ended = process("--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"ffnp {ffnp.__version__}\n", "")


def test_train_as_a_process_equals_train_in_this_one(tmp_path):
    ended = process("train", *SMALL, "--threads", "1", "--out", "there")
    assert ended.returncode == 0 and f"test error {load_run(tmp_path / 'there').history['test_error']:.2%}" in ended.stdout
    assert run("train", *SMALL, "--threads", "1", "--out", "here") == 0
    assert bits(load_run(tmp_path / "there")) == bits(load_run(tmp_path / "here"))


def test_ctrl_c_leaves_a_run_that_goes_on(tmp_path):
    command = ["train", *SMALL, "--epochs", "8", "--batch", "4", "--out", "kept"]
    code, err = stopped(command, "epoch 2/8", signal.SIGINT)
    assert code == 130 and "Traceback" not in err
    assert err.splitlines()[-1] == "ffnp: interrupted; finished epochs are kept, and the same command with --resume goes on"
    assert 2 <= len(load_run(tmp_path / "kept").history["epochs"]) < 8
    assert files(tmp_path / "kept").keys() == {"model.npz", "history.json"}
    assert run(*command, "--resume") == 0
    assert len(load_run(tmp_path / "kept").history["epochs"]) == 8


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("arguments", ["presets", "data", "--help"])
def test_a_reader_that_goes_away_is_no_error(arguments, unbuffered):
    """As in `ffnp presets | head -1`, with a head that has already left."""
    command, environment = [sys.executable, "-m", "ffnp", arguments], {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as writer:
        writer.stdout.close()
        assert writer.stderr.read() == ""
    assert writer.returncode == 0


def test_the_first_line_of_presets_can_be_had():
    pipe = f"'{sys.executable}' -m ffnp presets | head -1"
    ended = subprocess.run(pipe, shell=True, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == f"bp: {PRESETS['bp'].source}\n" and ended.stderr == ""
