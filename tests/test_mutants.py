"""The interpreter's own proof: the CUDA kernels are spoiled in one place after another, and each time it shows.

A mutant is a kernel file with one slip in it: a barrier left out, a guard that lets one index too many through or is not
there at all, a sum in double precision. Every place of the kernel files where such a slip can be made gets its mutant,
without anyone having to think of it. `python tests/test_mutants.py` lists them.
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pytest
from cases import ARGUMENTS, Sizes, assert_right
from host import OnHost
from platforms import needs_compilers

from ffnp.kernels import cuda as package
from ffnp.kernels.cuda import classes, launch, pointwise, products, rows, steps, table
from ffnp.kernels.cuda.backend import Cuda
from ffnp.kernels.cuda.compile import ptx
from ffnp.kernels.cuda.emulated import Emulated
from ffnp.kernels.cuda.language import cuda, float32, void
from ffnp.kernels.cuda.table import Kernel
from ffnp.kernels.ptx.machine import run
from ffnp.kernels.ptx.program import Fault, parse

pytestmark = [needs_compilers, pytest.mark.no_cover]  # others cover the same lines, and to count them takes as long again
FILES = {module.__name__.rpartition(".")[2]: module for module in (pointwise, classes, rows, steps, products)}
SOURCES = {name: inspect.getsource(module) for name, module in FILES.items()}

# ----- slips -----

Slips = Iterator[tuple[ast.AST, str]]  # a piece of a function, and what to write in its place


def barriers(function: ast.AST) -> Slips:
    """No barrier."""
    for node in ast.walk(function):
        if isinstance(node, ast.Expr) and ast.unparse(node) == "cuda.syncthreads()":
            yield node, "pass"


def guards(function: ast.AST) -> Slips:
    """`<=` where a guard says `<`; no guard where it says `0 <=`, or `== 0` of the one thread that is meant.

    Without `<` even more indices would get through, so that mutant is easier to catch.
    """
    for node in ast.walk(function):
        links = comparisons(node) if isinstance(node, ast.Compare) else []
        for n, link in enumerate(links):
            if " < " in link:
                yield node, " and ".join([*links[:n], link.replace(" < ", " <= "), *links[n + 1 :]])
            elif re.search(r"^int64\(0\) <= | == (0|uint32\(0\))$", link):
                yield node, " and ".join(links[:n] + links[n + 1 :]) or "True"


def comparisons(chain: ast.Compare) -> list[str]:
    """a < b < c as [a < b, b < c]."""
    terms = [chain.left, *chain.comparators]
    return [ast.unparse(ast.Compare(a, [op], [b])) for a, op, b in zip(terms, chain.ops, terms[1:], strict=False)]


def doubles(function: ast.AST) -> Slips:
    """A sum that starts at Python's 0.0; shared or local memory of float64."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            yield from ((value, "0.0") for value in values if ast.unparse(value) == "ZERO")
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("cuda.shared.array", "cuda.local.array"):
            yield node.args[1], "np.float64"


# ----- mutants -----

NEEDLESS = {  # lines where a slip changes nothing
    # past the last column the sum is 0 without this guard too, since the tiles hold zeros there: only infinite numbers tell
    "left[y, x] = value * value if column < columns else ZERO",
    # nothing is computed in double precision here: the compiler sees that a number only comes and goes
    "of_a, of_b = cuda.local.array(numbers, float32), cuda.local.array(numbers, float32)", "here[i, j] = ZERO",
}


class Mutant(NamedTuple):
    """A kernel file with `new` in the place of `old`."""

    file: str
    function: str
    line: int
    column: int
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.file}.{self.function}, line {self.line}: {self.old} -> {self.new}"


def mutants(slips: Callable[[ast.AST], Slips]) -> list[Mutant]:
    """One for every slip in every function of the kernel files."""
    return [Mutant(name, function.name, old.lineno, old.col_offset, ast.get_source_segment(source, old), new)
            for name, source in SOURCES.items()
            for function in ast.parse(source).body if isinstance(function, ast.FunctionDef)
            for old, new in slips(function) if source.splitlines()[old.lineno - 1].strip() not in NEEDLESS]


def spoiled(mutant: Mutant) -> dict[str, Kernel]:
    """The kernels of the mutant's file, with the slip in it."""
    module, lines = FILES[mutant.file], SOURCES[mutant.file].splitlines(keepends=True)
    line, end = lines[mutant.line - 1], mutant.column + len(mutant.old)
    lines[mutant.line - 1] = line[: mutant.column] + mutant.new + line[end:]
    with mock.patch.object(package, mutant.file, run_module(module, "".join(lines))):
        kernels = run_module(table, inspect.getsource(table)).TABLE
    return {name: kernel for name, kernel in kernels.items() if kernel.function.__module__ == module.__name__}


def run_module(like: ModuleType, source: str) -> Any:
    """A module of this source that takes itself for another."""
    module = ModuleType(like.__name__)
    vars(module).update(__package__=like.__package__, np=np)
    exec(compile(source, str(like.__file__), "exec"), vars(module))
    return module


class Spoiled(Emulated):
    """Runs these kernels in the place of those of the same names."""

    def __init__(self, kernels: dict[str, Kernel]) -> None:
        self.kernels = kernels

    def launch(self, kernel: Kernel, grid: tuple[int, ...], *args: Any) -> None:
        if kernel.name in self.kernels:  # without line numbers, which take as long again to compile
            run(parse(ptx(self.kernels[kernel.name])), grid, kernel.block, [getattr(a, "memory", a) for a in args])
        else:
            super().launch(kernel, grid, *args)


# ----- what shows them -----

Check = Callable[[Any], None]  # raises AssertionError or Fault unless a backend is right


def right(sizes: Sizes, *kernels: str) -> Check:
    def check(k: Any) -> None:
        for kernel in kernels:
            assert_right(k, kernel, sizes)
    return check


def unknown_label(k: Any) -> None:
    """What is no label makes its row NaN."""
    Y = k.one_hot(np.array([-1, 3, 2]), 3, 1.0, np.zeros((3, 3), np.float32))
    np.testing.assert_array_equal(Y, [[np.nan] * 3, [np.nan] * 3, [0, 0, 1]])


def by_wide_tiles(k: Any) -> None:
    """Products that end past a tile of 64, by such tiles."""
    with mock.patch.object(launch, "widest", lambda rows, columns: 64):
        right(Sizes(65, 18, 19), *PRODUCTS)(k)


SIZES = Sizes(3, 100, 130)  # more numbers than a block has threads, in all and in a row; no block is full
MANY = Sizes(2, 260, 5)  # weights, more than a block adds up
PRODUCTS = "dense_squares", "project", "gradient"
CHECKS = {  # of a function that does not have the name of the kernel of the contract it is there for
    "pointwise.deviations": right(SIZES, "rescale"),
    "pointwise.divide": right(SIZES, "normalise_batch"),
    "pointwise.agree": right(SIZES, "agreement"),
    "pointwise.copy": right(SIZES, "hstack"),
    "pointwise.activate": right(SIZES, "dense"),
    "classes.exists": unknown_label,
    "rows.block_sum": right(SIZES, "sum_squares"),
    "rows.row_squares": right(SIZES, "sum_squares"),
    "rows.total": right(SIZES, "rescale"),
    "steps.column_sums": right(SIZES, "peer_signal"),
    "steps.centre": right(SIZES, "peer_signal"),
    "steps.momentum": right(MANY, "momentum_step"),
    "steps.adam": right(MANY, "adam_step"),
    "products.tiled": right(Sizes(5, 18, 7), *PRODUCTS),
    "products.at_least": right(Sizes(5, 18, 7), *PRODUCTS),
    **dict.fromkeys(("products.blocked", "products.moving", "products.add_rows"), by_wide_tiles),
    "products.add_up": right(SIZES, "dense_squares"),
}


def check_of(mutant: Mutant) -> Check:
    return CHECKS.get(f"{mutant.file}.{mutant.function}", right(SIZES, mutant.function))


def each(found: list[Mutant]) -> Any:
    return pytest.mark.parametrize("mutant", found, ids=map(str, found))


@pytest.mark.parametrize("function", sorted({(m.file, m.function) for m in mutants(barriers) + mutants(guards)}), ids=".".join)
def test_without_a_slip_nothing_shows(function):
    check_of(Mutant(*function, 0, 0, "", ""))(OnHost(Cuda(Emulated())))


@each(mutants(barriers))
def test_no_barrier_can_be_left_out(mutant):
    with pytest.raises(Fault):
        check_of(mutant)(OnHost(Cuda(Spoiled(spoiled(mutant)))))


@each(mutants(guards))
def test_no_guard_can_be_weakened_or_left_out(mutant):
    with pytest.raises((Fault, AssertionError)):
        check_of(mutant)(OnHost(Cuda(Spoiled(spoiled(mutant)))))


@each(mutants(doubles))
def test_double_precision_shows_in_the_ptx(mutant):
    kernels = spoiled(mutant).values()
    own = [kernel for kernel in kernels if mutant.function in kernel.function.__qualname__.split(".")]
    assert any(".f64" in ptx(kernel) for kernel in own or kernels)


# ----- slips of a launcher -----


class Short(Emulated):
    """Launches one block too few."""

    def launch(self, kernel: Kernel, grid: tuple[int, ...], *args: Any) -> None:
        if grid[-1] > 1:
            super().launch(kernel, (*grid[:-1], grid[-1] - 1), *args)


class Narrow(Emulated):
    """Launches blocks of half the threads."""

    def launch(self, kernel: Kernel, grid: tuple[int, ...], *args: Any) -> None:
        half = kernel._replace(block=(kernel.block[0] // 2, *kernel.block[1:]))
        super().launch(half, grid, *args)


@pytest.mark.parametrize("device", [Short(), Narrow()], ids=["a block too few", "blocks of half the threads"])
@pytest.mark.parametrize("kernel", [name for name in ARGUMENTS if name not in ("put", "get")])
def test_no_launch_can_be_too_small(device, kernel):
    """Fresh memory is NaN, so what nobody writes shows."""
    with pytest.raises((Fault, AssertionError)):
        assert_right(OnHost(Cuda(device)), kernel, Sizes(140, 4, 70))


# ----- a lost update -----


def atomic(x, out):
    cuda.atomic.add(out, 0, x[cuda.grid(1)])


def lost(x, out):
    out[0] += x[cuda.grid(1)]


def add_up(function: Callable[..., None]) -> float:
    x, out = np.ones(64, np.float32), np.zeros(1, np.float32)
    device = Emulated()
    there = device.put(out)
    device.launch(Kernel(function.__name__, function, void(float32[::1], float32[::1]), (32,), 0), (2,), device.put(x), there)
    return device.get(there).item()


def test_an_atomic_sum_is_right():
    assert add_up(atomic) == 64


def test_no_sum_of_several_threads_can_do_without_atomics():
    with pytest.raises(Fault, match="race"):
        add_up(lost)


if __name__ == "__main__":
    for slips in (barriers, guards, doubles):
        print(inspect.getdoc(slips).splitlines()[0], *mutants(slips), sep="\n    ")
