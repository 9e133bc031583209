"""The first start compiles and says so, the next loads what is kept, wherever a folder can keep it; both compute the same."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import bits

import ffnp
from ffnp import load_run

TRAIN = ["-m", "ffnp", "train", "ff-small", "--layers", "64,23,17", "--epochs", "2", "--threads", "2"]
NOTE = "ffnp: compiling kernels for this processor, "


def python(arguments, folder, **environment):
    """What Python says on stdout and stderr when it runs with these arguments in the folder, and well."""
    unset = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT")}
    ended = subprocess.run([sys.executable, *arguments], env=unset | environment, cwd=folder, capture_output=True, text=True,
                           timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines(), ended.stderr.splitlines()


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """A folder with the runs `cold` and `warm`, the same training twice, and what was said on stderr."""
    folder = tmp_path_factory.mktemp("starts")
    return folder, {out: python([*TRAIN, "--out", out], folder, NUMBA_CACHE_DIR=str(folder / "cache"))[1]
                    for out in ("cold", "warm")}


def test_compiling_is_said_once_with_the_folder_that_keeps_it(starts):
    folder, said = starts
    notes = [line for line in said["cold"] if "compiling" in line]
    assert len(notes) == 1 and notes[0].startswith(f"{NOTE}once: they are kept in {folder / 'cache'}")
    assert [line.split(",")[0] for line in said["cold"] if line not in notes] == [f"ff-small: epoch {e}/2" for e in (1, 2)]


def test_what_comes_from_the_disk_is_not_announced(starts):
    folder, said = starts
    assert [line.split(",")[0] for line in said["warm"]] == [f"ff-small: epoch {e}/2" for e in (1, 2)]


def test_a_start_that_compiles_trains_to_the_same_bits_as_one_that_loads(starts):
    folder, _ = starts
    assert bits(load_run(folder / "cold")) == bits(load_run(folder / "warm"))


# ----- where compiled code is kept -----

# Calls what is compiled most quickly, and says what came out, how often it was compiled, and where it is kept.
ONE_CALL = """
from ffnp.kernels.cpu.products import cut
print(cut(1, 2, 100), sum(cut.stats.cache_misses.values()), cut.stats.cache_path)
"""


@pytest.fixture
def read_only(tmp_path):
    """A folder with a copy of the package in which nothing can be kept, not even by root: a file stands in the way."""
    nothing = shutil.ignore_patterns("__pycache__", "*.npz", "kernels")
    package = Path(ffnp.__file__).parent
    shutil.copytree(package, tmp_path / "ffnp", ignore=nothing)
    shutil.copytree(package / "kernels", tmp_path / "ffnp" / "kernels", ignore=nothing)
    (tmp_path / "ffnp" / "kernels" / "cpu" / "__pycache__").touch()
    return tmp_path


def kept(folder, home):
    """What ONE_CALL says with the package in that folder, and the user's folders in `home`."""
    places = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"), str(home))
    return python(["-c", ONE_CALL], folder, PYTHONPATH=str(folder), **places)[0][0].split(" ", 2)


def test_a_package_that_cannot_be_written_to_keeps_it_with_the_user(read_only):
    first, second = (kept(read_only, read_only / "home") for _ in range(2))
    assert first[:2] == ["48", "1"] and second[:2] == ["48", "0"]
    assert first[2] == second[2] and first[2].startswith(str(read_only / "home"))


def test_where_nothing_can_be_written_it_is_compiled_every_time(read_only):
    assert [kept(read_only, os.devnull) for _ in range(2)] == [["48", "1", "None"]] * 2
