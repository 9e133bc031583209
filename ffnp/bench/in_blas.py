"""What the machine can do: the textbook's products and nothing else, and the roofs that no product and no copy goes through."""

import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..net import Net
from .cases import Case, Product, products
from .in_ffnp import Once, limited

Make = Callable[..., np.ndarray]
SIDE, COPIED = 2048, 2**28  # of a square product that keeps BLAS busy; bytes that no cache holds


def products_only(case: Case, net: Net, x: np.ndarray, y: np.ndarray, n: int) -> Once:
    """Arrays of one shape are one array, to BLAS's advantage."""
    operand = functools.cache(lambda *shape: np.random.default_rng(0).random(shape, np.float32))
    result = functools.cache(lambda *shape: np.empty(shape, np.float32))
    calls = [(multiplication(p, operand, result), p.times) for p in products(case)]

    def once() -> list[float]:
        for _ in range(case.steps):
            for multiply, times in calls:
                for _ in range(times):
                    multiply()
        return []

    return limited("numpy", n, once)


def multiplication(p: Product, operand: Make, result: Make) -> Callable[[], np.ndarray]:
    """The product as a call, on arrays made by `operand` and into one made by `result`."""
    x, W, d = operand(p.rows, p.inputs), operand(p.inputs, p.outputs), operand(p.rows, p.outputs)
    a, b = {"forward": (x, W), "back": (d, W.T), "update": (x.T, d)}[p.form]
    return functools.partial(np.matmul, a, b, out=result(len(a), b.shape[1]))


def roofs(case: Case, net: Net, x: np.ndarray, y: np.ndarray, n: int) -> Once:
    """Answers GFLOP/s of a large product and GB/s, read and written, of a large copy."""
    a, b = np.random.default_rng(0).random((2, SIDE, SIDE), np.float32)
    product, source = np.empty_like(a), np.ones(COPIED // 4, np.float32)
    target, pool = np.empty_like(source), ThreadPoolExecutor(n)
    slabs = np.array_split(target, n), np.array_split(source, n)

    def once() -> list[float]:
        flops = 2 * SIDE**3 / seconds(lambda: np.matmul(a, b, out=product))
        return [flops / 1e9, 2 * COPIED / seconds(lambda: list(pool.map(np.copyto, *slabs))) / 1e9]

    return limited("numpy", n, once)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
