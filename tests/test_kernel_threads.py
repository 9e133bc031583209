"""The CPU's kernels on several threads: what they compute, that it is the same every time, and the product they share out."""

import threading
from typing import Any, NamedTuple

import numpy as np
import pytest
from host import backends, leaves
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numba.extending import get_cython_function_address
from strategies import arguments, dtypes, seeds, shared_out
from test_kernels import outcome
from tolerance import assert_agrees

from ffnp.kernels import reference
from ffnp.kernels.cpu import products
from ffnp.kernels.cpu import threads as module
from ffnp.kernels.cpu.threads import slabs, threads

CPU = backends["cpu"]
SHARED = "dense", "dense_squares", "project", "patch", "gradient", "momentum_step", "adam_step"
every_shared_kernel = pytest.mark.parametrize("kernel", SHARED)
on_threads = pytest.mark.parametrize("n", [1, 2, 3])
brief = settings(max_examples=20)


@pytest.fixture(autouse=True, scope="module")
def busy():
    """However little there is to do, it is shared out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SMALL", 0)
        yield


@on_threads
@every_shared_kernel
@brief
@given(st.data())
def test_on_any_number_of_threads_a_kernel_computes_what_the_reference_computes(n, kernel, data):
    args = data.draw(arguments(kernel, sizes=shared_out))
    with threads(n):
        actual = outcome(CPU, kernel, args)
    assert_agrees(kernel, actual, outcome(reference, kernel, args), args)


@on_threads
@every_shared_kernel
@brief
@given(st.data())
def test_on_as_many_threads_the_bits_are_the_same_every_time(n, kernel, data):
    args = data.draw(arguments(kernel, sizes=shared_out))
    with threads(n):
        once, again = (leaves(outcome(CPU, kernel, args)) for _ in range(2))
    assert [np.asarray(a).tobytes() for a in once] == [np.asarray(a).tobytes() for a in again]


@given(st.integers(1, 40), st.integers(0, 300))
def test_slabs_lie_one_after_the_other_and_cover_everything(n, size):
    edges = [products.cut(s, n, size) for s in range(n + 1)]
    assert edges[0] == 0 and edges[-1] == size and edges == sorted(edges)
    assert all(edge % 16 == 0 for edge in edges[:-1])


# ----- the block that says how many -----


def test_the_innermost_block_says_how_many_threads():
    with threads(3):
        with threads(2):
            assert slabs() == 2
        assert slabs() == 3
    assert slabs() == 1


def test_a_block_holds_for_its_own_python_thread():
    found = []
    with threads(3):
        other = threading.Thread(target=lambda: found.append(slabs()))
        other.start()
        other.join()
    assert found == [1]


# ----- BLAS within compiled loops -----


class Problem(NamedTuple):
    """What `gemm` is asked for, and where `out` lies."""

    alpha: float
    a: np.ndarray
    b: np.ndarray
    beta: float
    out: np.ndarray
    ta: bool
    tb: bool
    around: np.ndarray  # `out` is some rows and columns of it


def part_of(rng: np.random.Generator, dtype: Any, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """A matrix of normal numbers, cut out of a larger one or all of it, and that one."""
    top, left, below, right = rng.integers(0, 3, 4)
    around = rng.standard_normal((top + rows + below, left + columns + right)).astype(dtype)
    return around[top : top + rows, left : left + columns], around


@st.composite
def products_of_parts(draw: st.DrawFn) -> Problem:
    rows, columns, depth = draw(st.tuples(*[st.integers(0, 9)] * 3))
    ta, tb, rng, dtype = draw(st.booleans()), draw(st.booleans()), np.random.default_rng(draw(seeds)), draw(dtypes)
    factors = st.sampled_from([0.0, 1.0, -0.5])
    alpha, beta = draw(factors), draw(factors)
    a, _ = part_of(rng, dtype, *((depth, rows) if ta else (rows, depth)))
    b, _ = part_of(rng, dtype, *((columns, depth) if tb else (depth, columns)))
    out, around = part_of(rng, dtype, rows, columns)
    if not beta:
        out[...] = np.nan  # as in memory that nobody has written
    return Problem(dtype(alpha), a, b, dtype(beta), out, ta, tb, around)


@njit
def gemm(address, alpha, a, b, beta, out, ta, tb):
    products.gemm(address, alpha, a, b, beta, out, ta, tb)


def assert_multiplies(address: int, p: Problem) -> None:
    """To the roundings of k products and of what is added; all around `out` stays as it is."""
    a, b, before, around = (m.astype(np.float64) for m in (p.a.T if p.ta else p.a, p.b.T if p.tb else p.b, p.out, p.around))
    start = p.beta * before if p.beta else np.zeros_like(before)
    gemm(address, *p[:-1])
    bound = (a.shape[1] + 3) * np.finfo(p.out.dtype).eps * (np.abs(p.alpha) * np.abs(a) @ np.abs(b) + np.abs(start))
    assert (np.abs(p.out - (p.alpha * a @ b + start)) <= bound).all()
    p.out[...] = before
    np.testing.assert_array_equal(p.around, around)


@settings(max_examples=300)
@given(products_of_parts())
def test_a_product_of_parts_of_matrices_is_right_and_stays_in_its_place(p):
    assert_multiplies(products.GEMM[p.out.dtype], p)


@settings(max_examples=30)
@given(products_of_parts())
def test_scipys_blas_multiplies_where_numpys_cannot_be_found(p):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products.ctypes, "CDLL", lambda path: object())
        name = {"float32": "sgemm", "float64": "dgemm"}[p.out.dtype.name]
        address = products.address(name)
    assert address == get_cython_function_address("scipy.linalg.cython_blas", name)
    assert_multiplies(address, p)
