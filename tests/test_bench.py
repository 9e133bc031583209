"""What `ffnp bench` prints, draws and writes, and who takes part."""

import json

import numpy as np
import pytest
from matplotlib.colors import to_hex
from racers import RACERS, TINY, WORKER
from tiny import files

from ffnp import cli
from ffnp.bench import command, race
from ffnp.bench.cases import CASES, DEFAULT, SCALES
from ffnp.bench.contenders import CONTENDERS, Contender, package
from ffnp.bench.race import Result
from ffnp.bench.roofline import roofline
from ffnp.errors import UserError


@pytest.fixture(autouse=True)
def only_what_ships(monkeypatch, tmp_path):
    """No MNIST, whatever is at hand."""
    monkeypatch.setenv("FFNP_DATA", str(tmp_path / "data"))


# ----- who takes part -----


def test_every_contender_but_the_optional_ones_is_here():
    assert [CONTENDERS[name].lacks() for name in ("ours", "numpy", "blas")] == [""] * 3
    assert package("zebra") == "zebra is not installed: pip install zebra"


def test_who_is_missing_is_left_out_with_a_word(monkeypatch, capsys):
    monkeypatch.setitem(CONTENDERS, "zebra", Contender("", "", "", lambda: "zebra is not installed"))
    assert command.present_contenders(["blas", "zebra"]) == ["blas"]
    assert capsys.readouterr().err == "zebra is left out: zebra is not installed\n"
    with pytest.raises(UserError, match="none of zebra can run here"):
        command.present_contenders(["zebra"])


def test_who_cannot_do_a_case_is_left_out_of_it(monkeypatch):
    monkeypatch.setitem(CONTENDERS, "zebra", Contender("", "", "", kinds=("training",)))
    assert command.fit_for(TINY["tiny-bp"], ["blas", "zebra"]) == ["blas", "zebra"]
    assert command.fit_for(TINY["tiny-prediction"], ["blas", "zebra"]) == ["blas"]
    with pytest.raises(UserError, match="none of zebra does tiny-prediction, which is prediction"):
        command.fit_for(TINY["tiny-prediction"], ["zebra"])


# ----- what is told -----

BP, FF = CASES["bp"], CASES["ff-hinton2022"]
RESULTS = [
    Result(BP, "mnist", 2, {"ours": [0.2, 0.1, 0.3, 0.2, 0.2], "numpy": [0.5, 0.5, 0.4, 0.6, 0.5]}, 200.0, 20.0),
    Result(FF, "mnist", 2, {"numpy": [0.8] * 5, "ours": [0.2] * 5, "blas": [0.3] * 5}, 190.0, 21.0),
]


def test_the_table_tells_medians_spread_speed_and_ratio():
    about, where, heading, ours, numpy = command.table(RESULTS[0]).splitlines()
    assert about == f"bp: {BP.says}"
    assert where == "6,400 rows of mnist a run, 2 threads; textbook's work 20.9 GFLOP; sgemm 200.0 GFLOP/s, copy 20.0 GB/s"
    assert heading.split() == ["contender", "median", "(s)", "least", "-", "most", "GFLOP/s", "/", "ours"]
    assert ours.split()[:7] == ["ours", "0.2", "0.1", "-", "0.3", "104.7", "1.00"]
    assert numpy.split()[:7] == ["numpy", "0.5", "0.4", "-", "0.6", "41.9", "2.50"]


def test_without_us_there_is_no_ratio():
    line = command.table(RESULTS[0]._replace(seconds={"numpy": [0.5] * 5})).splitlines()[-1]
    assert line.split()[:5] == ["numpy", "0.5", "0.5", "-", "0.5"] and "2.50" not in line


def test_at_the_end_all_ratios_stand_side_by_side():
    heading, bp, ff = command.ratios([RESULTS[0], RESULTS[0]._replace(seconds={"numpy": [0.5] * 5}), RESULTS[1]]).splitlines()
    assert heading.split() == ["times", "as", "long", "as", "ours", "ours", "(s)", "numpy", "blas"]
    assert bp.split() == ["bp", "0.2", "2.50"] and ff.split() == ["ff-hinton2022", "0.2", "4.00", "1.50"]


def test_the_picture_shows_speed_against_intensity_below_the_highest_roofs():
    axes, = roofline(RESULTS).axes
    marks = {line.get_label(): line.get_xydata() for line in axes.lines if not line.get_label().startswith("_")}
    bp, ff = (case.work / case.touched for case in (BP, FF))
    np.testing.assert_allclose(marks["ours"], [[bp, BP.work / 0.2e9], [ff, FF.work / 0.2e9]])
    np.testing.assert_allclose(marks["blas"], [[ff, FF.work / 0.3e9]])
    roof = axes.lines[0].get_xydata()
    np.testing.assert_allclose(roof[1:, 1], 200)
    np.testing.assert_allclose(roof[0, 1], 21 * roof[0, 0])
    assert roof[1, 0] == pytest.approx(200 / 21)


def test_the_picture_names_cases_units_and_what_is_above_the_roof():
    figure = roofline(RESULTS)
    axes, = figure.axes
    words = {text.get_text() for text in axes.texts}
    assert {"bp", "ff-hinton2022", "product (sgemm):\n200 GFLOP/s", "memory (copy): 21 GB/s",
            "above the roof: less work than the textbook's, for the same result"} == words
    assert "flop per byte" in axes.get_xlabel() and "GFLOP/s" in axes.get_ylabel()
    assert figure.get_suptitle() == "ffnp bench on mnist, threads: 2"


def test_no_two_contenders_look_alike():
    everyone = RESULTS[0]._replace(seconds={name: [0.1] * 5 for name in CONTENDERS})
    looks = [(to_hex(line.get_color()), line.get_marker()) for line in roofline([everyone]).axes[0].lines
             if line.get_label() in CONTENDERS]
    assert len({colour for colour, _ in looks}) == len({marker for _, marker in looks}) == len(looks) == len(CONTENDERS)


# ----- the command -----


def run(*arguments):
    """The exit code of `ffnp bench` with these arguments."""
    try:
        return cli.main(["bench", *arguments])
    except SystemExit as end:  # argparse's way
        return end.code


@pytest.fixture
def raced(monkeypatch):
    """Races that are over at once: what they were asked, and as many seconds as the contender's name has letters."""
    asked = []

    def at_once(case, names, runs, threads, done):
        asked.append((case.name, names, runs, threads))
        return Result(case, "mnist", threads, {name: [float(len(name))] * runs for name in names}, 200.0, 20.0)
    monkeypatch.setattr(command, "race", at_once)
    return asked


@pytest.mark.parametrize("arguments, words", {
    "ZEBRA": "there is no case 'ZEBRA'; choose one of ff-hinton2022",
    "bp --contenders ours,ZEBRA": "there is no contender 'ZEBRA'; choose one of ours",
    "--scale ZEBRA": "--scale must be one of width, depth, batch, threads, not 'ZEBRA'",
    "bp fa --scale width": "--scale width brings cases of its own: leave out bp, fa",
    "--runs 4": "runs must be at least 5, not 4",
    "--threads 0": "threads must be at least 1, not 0",
    "--json .": "--json needs the name of a file, and . is a folder",
    "--out file": "file cannot be a folder for the picture (File exists)",
    "ff-hinton2022-epoch": "ff-hinton2022-epoch is an epoch of MNIST, which is not here: ffnp data fetch mnist",
}.items())
def test_what_a_user_gets_wrong_is_one_sentence(arguments, words, capsys, monkeypatch, tmp_path, raced):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert run(*arguments.split()) == 2
    assert capsys.readouterr().err.startswith(f"ffnp: {words}")
    assert raced == []


def test_help_names_every_case_contender_and_family(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")  # no name is broken over two lines
    assert run("--help") == 0
    told = set(capsys.readouterr().out.replace(",", " ").replace(")", " ").split())
    assert {*CASES, *CONTENDERS, *SCALES} <= told


def test_by_default_all_cases_but_the_epoch_are_raced(raced, monkeypatch):
    monkeypatch.setattr(command, "CORES", 3)
    assert run("--contenders", "ours,blas") == 0
    assert raced == [(name, ["ours", "blas"], 5, 3) for name in DEFAULT]
    assert set(CASES) - set(DEFAULT) == {"ff-hinton2022-epoch"}


def test_the_options_are_handed_on(raced):
    assert run("bp", "fa", "bp", "--contenders", "numpy", "--runs", "7", "--threads", "2") == 0
    assert raced == [("bp", ["numpy"], 7, 2), ("fa", ["numpy"], 7, 2)]


def test_a_family_takes_the_place_of_the_cases(raced):
    assert run("--scale", "depth", "--contenders", "ours") == 0
    assert [case for case, *_ in raced] == ["ff-depth-2", "ff-depth-3", "ff-depth-4", "ff-depth-6"]


def test_a_family_of_threads_has_its_own(raced):
    assert run("--scale", "threads", "--contenders", "ours", "--threads", "5") == 0
    assert [threads for *_, threads in raced] == [case.threads for case in SCALES["threads"]]


def test_tables_rows_and_picture_are_left(raced, tmp_path, capsys):
    table, folder = tmp_path / "new" / "table.json", tmp_path / "pictures"
    assert run("bp", "fa", "--contenders", "ours,numpy", "--json", str(table), "--out", str(folder)) == 0
    rows = json.loads(table.read_text())
    assert rows[1] == {"case": "bp", "contender": "numpy", "median_seconds": 5.0, "runs": [5.0] * 5, "work": BP.work}
    assert [(row["case"], row["contender"]) for row in rows] == [
        (case, name) for case in ("bp", "fa") for name in ("ours", "numpy")]
    assert files(folder).keys() == {"roofline.png"} and files(folder)["roofline.png"].startswith(b"\x89PNG")
    out, err = capsys.readouterr()
    assert out.startswith("bp: backprop") and "\n\nfa: feedback" in out
    assert out.endswith(f"\n\nroofline: {folder / 'roofline.png'}\n")
    assert err.splitlines() == ["bp: ours, numpy", "fa: ours, numpy"]


def test_a_race_that_fails_leaves_nothing(monkeypatch, tmp_path, capsys):
    """As a whole: the command, a process for each contender, and one that computes something else."""
    monkeypatch.setattr(race, "COMMAND", WORKER)
    for name, case in TINY.items():
        monkeypatch.setitem(CASES, name, case)
    monkeypatch.setitem(CONTENDERS, "liar", RACERS["liar"])
    assert run("tiny-bp", "--contenders", "liar", "--json", str(tmp_path / "table.json")) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("ffnp: liar does not compute tiny-bp: number 1 of its check is ")
    assert not list(tmp_path.glob("*.json*"))
