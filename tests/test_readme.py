"""What the README shows, works: each Python block runs, and the commands and files it names exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ffnp.cli import parser
from ffnp.presets import PRESETS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
FILES = sorted(set(re.findall(r"`((?:kernels|ffnp|tests|tutorials)/[\w./-]*)`", README)))
PICTURES = re.findall(r"!\[.*?\]\((.*?)\)", README)
COMMANDS = re.findall(r"^\$ ffnp (.*)$", README, re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_python_blocks_run(block, tmp_path):
    done = subprocess.run([sys.executable, "-W", "error", "-c", block], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_something_is_found_to_check():
    assert len(BLOCKS) == 4 and len(COMMANDS) >= 8 and len(PICTURES) == 6
    assert len(FILES) > 10


@pytest.mark.parametrize("path", FILES)
def test_files_are_there(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("picture", PICTURES)
def test_pictures_are_there(picture):
    assert (ROOT / picture).stat().st_size > 0


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_can_be_read(command):
    args = parser().parse_args(command.split())
    assert getattr(args, "preset", "bp") in PRESETS


def test_every_preset_is_in_the_change_log():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in changes for name in PRESETS)
