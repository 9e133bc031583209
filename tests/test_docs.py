"""The API pages name every public module, and what they show of it is documented."""

import importlib
import inspect
import re
from pathlib import Path
from types import FunctionType

import pytest

import ffnp
from ffnp.rules import Rule

PACKAGE = Path(ffnp.__file__).parent
TUTORIALS = Path(__file__).parent.parent / "tutorials"
DIRECTIVE = re.compile(r"^\.\. automodule:: (\S+)\n   :members:(.*)$", re.MULTILINE)
SHOWN = dict(found for page in (TUTORIALS / "api").glob("*.md") for found in DIRECTIVE.findall(page.read_text("utf-8")))
# What programs do without: how data are fetched and read, kernels compute, commands answer, twins are written, races run.
INTERNAL = re.compile(r"ffnp(\.(__main__|version|cli|listing|rules|saliency|kernels(?!\.contract).*|bench.*"
                      r"|data\.(arrays|embed|fetching|readers)|saliency\.(command|report)|verify\.(?!check).*))?")


def module_name(path: Path) -> str:
    return ".".join(["ffnp", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")


def members(name: str, named: str) -> list[str]:
    """What a page shows of a module: the members that it names, or all functions and classes that are public."""
    public = [n for n, thing in vars(importlib.import_module(name)).items() if n[0] != "_" and is_own(thing, name)]
    return re.findall(r"\w+", named) or public


def is_own(thing: object, module: str) -> bool:
    return isinstance(thing, (type, FunctionType)) and thing.__module__ == module


def test_every_public_module_is_on_a_page():
    files = {*PACKAGE.glob("**/*.py"), *PACKAGE.glob("kernels/**/*.py")}
    assert {name for name in map(module_name, files) if not INTERNAL.fullmatch(name)} == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_what_is_shown_is_documented(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for member in members(name, SHOWN[name]):
        thing = getattr(module, member)
        assert thing.__doc__ and not thing.__doc__.startswith(f"{member}("), f"{name}.{member}"  # that is a tuple's own
        for method, function in vars(thing).items():
            if method[0] != "_" and isinstance(function, (FunctionType, property)):
                own = inspect.getdoc(getattr(thing, method))
                assert own or hasattr(Rule, method), f"{name}.{member}.{method}: neither here nor in Rule"
