"""The examples in docstrings print what stands below them."""

import doctest
import importlib
from pathlib import Path

import pytest

import ffnp

PACKAGE = Path(ffnp.__file__).parent
FILES = [path for path in [*PACKAGE.glob("**/*.py"), *PACKAGE.glob("kernels/**/*.py")] if ">>> " in path.read_text("utf-8")]
MODULES = sorted({".".join(["ffnp", *p.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__") for p in FILES})


def test_there_are_examples():
    assert len(MODULES) > 10


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name):
    done = doctest.testmod(importlib.import_module(name))
    assert done.attempted and not done.failed
