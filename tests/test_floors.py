"""The house has floors: a module imports from its own floor or from below, and a new module has to be given its place."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ffnp

FLOORS = [
    ["kernels.contract"],
    ["kernels", "kernels.checks", "kernels.reference", "kernels.blas",
     "kernels.cpu", "kernels.cpu.compiling", "kernels.cpu.loops", "kernels.cpu.pages", "kernels.cpu.products",
     "kernels.cpu.threads",
     "kernels.ptx", "kernels.ptx.program", "kernels.ptx.lanes", "kernels.ptx.operands", "kernels.ptx.races",
     "kernels.ptx.memory", "kernels.ptx.arithmetic", "kernels.ptx.computing", "kernels.ptx.instructions",
     "kernels.ptx.machine", "kernels.cuda", "kernels.cuda.language", "kernels.cuda.pointwise", "kernels.cuda.classes",
     "kernels.cuda.rows", "kernels.cuda.steps", "kernels.cuda.products", "kernels.cuda.table", "kernels.cuda.missing",
     "kernels.cuda.compile", "kernels.cuda.device", "kernels.cuda.gpu", "kernels.cuda.emulated", "kernels.cuda.launch",
     "kernels.cuda.backend"],
    ["errors", "version", "backend", "net",
     "data", "data.arrays", "data.catalog", "data.embed", "data.fetching", "data.readers"],
    ["optim", "rules", "rules.rule", "rules.backprop", "rules.contrast", "rules.adaptive_feedback", "rules.classifier",
     "rules.direct_feedback", "rules.feedback_alignment", "rules.mirror", "rules.pepita", "rules.forward_forward",
     "rules.unsupervised", "rules.mono_forward"],
    ["preset", "presets", "run", "diagnostics", "relation", "training"],
    ["saliency", "saliency.scorer", "saliency.fast", "saliency.occlusion", "saliency.gradient", "saliency.perturbation",
     "saliency.methods", "saliency.rows", "saliency.controls", "saliency.faithfulness", "saliency.randomisation",
     "saliency.roar"],
    ["saliency.command", "saliency.pictures", "saliency.report", "saliency.mistakes", "compare", "plots", "report",
     "listing", "cli", "__init__", "__main__",
     "verify", "verify.bridge", "verify.check", "verify.classifiers", "verify.forward_forward", "verify.mirrors",
     "verify.pepita", "verify.twin", "verify.twins",
     "bench", "bench.cases", "bench.command", "bench.contenders", "bench.in_blas", "bench.in_ffnp", "bench.in_jax",
     "bench.in_torch", "bench.in_torch_by_hand", "bench.race", "bench.roofline", "bench.worker"],
]
FLOOR = {module: number for number, modules in enumerate(FLOORS) for module in modules}
PACKAGE = Path(ffnp.__file__).parent
SLOW = {"numba", "scipy", "matplotlib", "torch", "pooch", "jinja2"}


def module(path: Path) -> str:
    """The name within ffnp: rules/rule.py is rules.rule, rules/__init__.py is rules."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


FILES = {module(path): path for path in sorted([*PACKAGE.glob("**/*.py"), *PACKAGE.glob("kernels/**/*.py")])}


def imports(name: str) -> set[str]:
    """All modules that a module imports, as written from outside: "numpy", "ffnp.net", "ffnp.rules.rule"."""
    package = ["ffnp", *name.split(".")] if FILES[name].name == "__init__.py" else ["ffnp", *name.split(".")[:-1]]
    package = ["ffnp"] if name == "__init__" else package
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            found |= {inner if inner.removeprefix("ffnp.") in FLOOR else source
                      for inner in (f"{source}.{alias.name}" for alias in node.names)}
    return found


def ours(name: str) -> set[str]:
    """The modules of ffnp among them."""
    return {"__init__" if full == "ffnp" else full.removeprefix("ffnp.") for full in imports(name)
            if full.split(".")[0] == "ffnp"}


every_module = pytest.mark.parametrize("name", FILES)


def test_every_module_has_its_floor():
    assert set(FILES) == set(FLOOR)


@every_module
def test_imports_go_down(name):
    assert {other for other in ours(name) if FLOOR[other] > FLOOR[name]} == set()


def test_no_module_needs_itself():
    """Not through others of its floor either."""
    TopologicalSorter({name: ours(name) for name in FILES}).prepare()


@every_module
def test_kernels_are_imported_as_ffnp_kernels(name):
    assert not any(full.split(".")[0] == "kernels" for full in imports(name))


@pytest.mark.parametrize("name", [name for name in FILES if name.split(".")[0] == "kernels"])
def test_kernels_know_nothing_of_ffnp(name):
    assert {other.split(".")[0] for other in ours(name)} <= {"kernels"}


IMPORT = "import time; t = time.perf_counter(); import ffnp; t = time.perf_counter() - t; import sys; print(t, *sys.modules)"


def test_import_is_quick_and_light():
    """Under half a second at best of three, in an interpreter of its own."""
    runs = [subprocess.check_output([sys.executable, "-c", IMPORT], text=True).split() for _ in range(3)]
    assert SLOW.isdisjoint(runs[0][1:])
    assert min(float(seconds) for seconds, *_ in runs) < 0.5
