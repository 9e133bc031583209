"""Kernels in Python, compiled to PTX and run on the CPU: they compute what NumPy does, and each mutant is caught."""

import inspect
import math

import numpy as np
import pytest
from assembly import compiled
from numba import boolean, cuda, float32, int64, uint32
from platforms import needs_compilers

from ffnp.kernels.ptx.machine import run
from ffnp.kernels.ptx.program import Fault

pytestmark = needs_compilers
ROW, MATRIX = float32[::1], float32[:, ::1]
SIDE = 8


def product(x, W, out, squares):
    """out = x W by tiles of SIDE x SIDE, and the sum of squares of each row."""
    left = cuda.shared.array((SIDE, SIDE), float32)
    right = cuda.shared.array((SIDE, SIDE), float32)
    i, j = uint32(cuda.threadIdx.y), uint32(cuda.threadIdx.x)
    row, column = uint32(cuda.blockIdx.y * SIDE + i), uint32(cuda.blockIdx.x * SIDE + j)
    rows, inner, columns = uint32(x.shape[0]), uint32(x.shape[1]), uint32(W.shape[1])
    total = float32(0)
    for start in range(uint32(0), inner, uint32(SIDE)):
        left[i, j] = x[row, start + j] if row < rows and start + j < inner else float32(0)
        right[i, j] = W[start + i, column] if start + i < inner and column < columns else float32(0)
        cuda.syncthreads()  # loaded
        for k in range(uint32(SIDE)):
            total += left[i, k] * right[k, j]
        cuda.syncthreads()  # used
    if row < rows and column < columns:
        out[row, column] = total
        cuda.atomic.add(squares, row, total * total)


def launch(kernel, x, W):
    out, squares = np.full((len(x), W.shape[1]), np.nan, np.float32), np.zeros(len(x), np.float32)
    grid = -(-W.shape[1] // SIDE), -(-len(x) // SIDE)
    run(compiled(kernel, MATRIX, MATRIX, MATRIX, ROW), grid, (SIDE, SIDE), [x, W, out, squares])
    return out, squares


def matrices(rows, inner, columns):
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, inner), np.float32), rng.standard_normal((inner, columns), np.float32)


@pytest.mark.parametrize(("rows", "inner", "columns"), [(1, 1, 1), (7, 8, 9), (8, 8, 8), (9, 17, 3), (20, 5, 18)])
def test_a_tiled_product_equals_numpys(rows, inner, columns):
    """To the rounding errors of `inner` products and sums of their size, and of `columns` squares."""
    x, W = matrices(rows, inner, columns)
    out, squares = launch(product, x, W)
    exact, eps = x.astype(np.float64) @ W, np.finfo(np.float32).eps
    bound = inner * eps * (np.abs(x) @ np.abs(W))
    assert (np.abs(out - exact) <= bound).all()
    assert (np.abs(squares - (exact**2).sum(axis=1)) <= (2 * np.abs(exact) * bound).sum(axis=1) + columns * eps * squares).all()


MUTANTS = {
    "no barrier after loading": ("cuda.syncthreads()  # loaded", "pass", "a race"),
    "no barrier after using": ("cuda.syncthreads()  # used", "pass", "a race"),
    "a barrier for some": ("cuda.syncthreads()  # used", "if j < 3: cuda.syncthreads()", "barrier"),
    "no guard of the rows it loads": ("row < rows and start", "start", "out of bounds"),
    "no guard of the rows it writes": ("if row < rows and column", "if column", "out of bounds"),
    "a guard off by one": ("column < columns else", "column <= columns else", "out of bounds"),
    "no guard of the columns it writes": ("and column < columns:", "and True:", "out of bounds"),
    "a tile not loaded": ("right[i, j] = W", "unused = W", "no thread has written"),
    "all write one word": ("left[i, j] =", "left[i, 0] =", "a race"),
    "a sum that is not atomic": ("cuda.atomic.add(squares, row, total * total)", "squares[row] += total * total", "a race"),
}


def mutant(old, new):
    """The product with one piece of its text replaced, at the same lines of this file."""
    text, scope = inspect.getsource(product), dict(globals())
    assert text.count(old) == 1
    above = "\n" * (inspect.getsourcelines(product)[1] - 1)
    exec(compile(above + text.replace(old, new), __file__, "exec"), scope)
    return scope["product"]


@pytest.mark.parametrize(("old", "new", "fault"), MUTANTS.values(), ids=MUTANTS.keys())
def test_a_mutant_is_caught(old, new, fault):
    with pytest.raises(Fault, match=fault):
        launch(mutant(old, new), *matrices(9, 17, 11))


def test_a_fault_in_a_kernel_names_its_line_of_python():
    lines, first = inspect.getsourcelines(product)
    number = first + next(n for n, line in enumerate(lines) if "out[row, column] = total" in line)
    with pytest.raises(Fault, match=f"test_ptx_kernels.py:{number}, thread 8 of block 2"):
        launch(mutant("if row < rows and column", "if column"), *matrices(9, 17, 16))


def test_a_double_accumulator_shows_in_the_types():
    def issued(kernel):
        x, W = matrices(3, 3, 3)
        program = compiled(kernel, MATRIX, MATRIX, MATRIX, ROW)
        return run(program, (1, 1), (SIDE, SIDE), [x, W, np.zeros((3, 3), np.float32), np.zeros(3, np.float32)]).issued
    assert not any("f64" in name for name in issued(product))
    assert any("f64" in name for name in issued(mutant("total = float32(0)", "total = 0.0")))


# ----- functions -----


def exp(x, out):
    i = cuda.grid(1)
    if i < x.size:
        out[i] = math.exp(x[i])


def log1p(x, out):
    i = cuda.grid(1)
    if i < x.size:
        out[i] = math.log1p(x[i])


def tanh(x, out):
    i = cuda.grid(1)
    if i < x.size:
        out[i] = math.tanh(x[i])


def sqrt(x, out):
    i = cuda.grid(1)
    if i < x.size:
        out[i] = math.sqrt(x[i])


def power(x, out):
    i = cuda.grid(1)
    if i < x.size:
        out[i] = math.pow(x[i], float32(2.5))


FUNCTIONS = [
    (exp, np.exp, -87, 88, 2), (log1p, np.log1p, -0.99, 1e6, 2), (tanh, np.tanh, -9, 9, 2), (sqrt, np.sqrt, 0, 1e9, 0.5),
    (power, lambda x: x**2.5, 1e-6, 1e6, 4),
]


@pytest.mark.parametrize(("kernel", "function", "least", "most", "ulp"), FUNCTIONS, ids=[f[0].__name__ for f in FUNCTIONS])
def test_functions_are_as_close_as_nvidia_promises(kernel, function, least, most, ulp):
    """In units of the last place (CUDA C++ Programming Guide, table of single-precision functions)."""
    x = np.random.default_rng(0).uniform(least, most, 300).astype(np.float32)
    x[:2] = least, most
    out, exact = np.zeros_like(x), function(x.astype(np.float64))
    run(compiled(kernel, ROW, ROW), (3,), (128,), [x, out])
    assert (np.abs(out - exact) <= ulp * np.spacing(np.abs(exact).astype(np.float32))).all()


@pytest.mark.parametrize("kernel", [exp, log1p, tanh, sqrt], ids=lambda kernel: kernel.__name__)
def test_functions_know_infinity_and_nan(kernel):
    x = np.float32([0, np.inf, -np.inf, np.nan])
    out = np.zeros_like(x)
    run(compiled(kernel, ROW, ROW), (1,), (32,), [x, out])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(out, getattr(np, kernel.__name__)(x))


# ----- integers, atomics, shapes -----


def quotients(a, b, q, r):
    i = cuda.grid(1)
    if i < a.size:
        q[i] = a[i] // b[i]
        r[i] = a[i] % b[i]


@pytest.mark.parametrize(("dtype", "kind"), [(np.int64, int64), (np.uint32, uint32)])
def test_integers_divide_as_in_python(dtype, kind):
    rng = np.random.default_rng(0)
    low = -1000 if dtype == np.int64 else 0
    a, b = rng.integers(low, 1000, 100).astype(dtype), rng.integers(1, 30, 100).astype(dtype)
    b[::2] = -b[::2] if low else b[::2]
    q, r = np.zeros_like(a), np.zeros_like(a)
    run(compiled(quotients, *[kind[::1]] * 4), (4,), (32,), [a, b, q, r])
    np.testing.assert_array_equal(q, a // b)
    np.testing.assert_array_equal(r, a % b)


def largest(x, out):
    i = cuda.grid(1)
    if i < x.size:
        cuda.atomic.max(out, 0, x[i])


def test_the_largest_float_is_found_by_swapping_until_it_holds():
    x = np.random.default_rng(0).standard_normal(70, np.float32)
    out = np.float32([-np.inf])
    run(compiled(largest, ROW, ROW), (3,), (32,), [x, out])
    assert out[0] == x.max()


def swap(x, out, factor, flip):
    i, j, k = cuda.grid(3)
    if i < x.shape[0] and j < x.shape[1] and k < x.shape[2]:
        out[k, j, i] = -factor * x[i, j, k] if flip else factor * x[i, j, k]


@pytest.mark.parametrize("flip", [False, True])
def test_three_dimensions_and_numbers_are_passed(flip):
    x = np.arange(2 * 3 * 5, dtype=np.float32).reshape(2, 3, 5)
    out = np.zeros((5, 3, 2), np.float32)
    cube = float32[:, :, ::1]
    run(compiled(swap, cube, cube, float32, boolean), (1, 2, 2), (2, 2, 3), [x, out, 3, flip])
    np.testing.assert_array_equal(out, (-3 if flip else 3) * x.T)
