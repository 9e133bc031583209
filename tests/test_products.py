"""Each matrix product of the table on its own, whatever tile `Cuda` would choose: shapes around its tile, every epilogue."""

import itertools
from math import ceil, inf

import numpy as np
import pytest
from platforms import needs_compilers

from ffnp.kernels.cuda.emulated import Emulated
from ffnp.kernels.cuda.launch import widest
from ffnp.kernels.cuda.products import FORMS
from ffnp.kernels.cuda.table import TABLE

pytestmark = [needs_compilers, pytest.mark.no_cover]  # others cover the same lines, and to count them takes as long again
EPS = float(np.finfo(np.float32).eps)
EPILOGUES = {  # alpha, beta, whether there are biases, floor, whether squares are wanted
    "relu": (1.0, 0.0, True, 0.0, True), "plain": (1.0, 0.0, False, -inf, False), "added": (0.3, 0.9, False, -inf, False)}


def around(tile):
    """Sizes of out (rows, columns) and depths that end before, at and after a tile, and several tiles on."""
    return [(1, 1, 1), (tile - 1, tile + 1, 17), (tile, tile, tile), (tile + 1, tile - 1, 8), (2 * tile + 3, 5, 33), (5, 7, 0)]


class Case:
    """A product of drawn matrices in float64, rounded: what the kernel takes, what comes out, and how far off it may be."""

    def __init__(self, form, shape, epilogue):
        rows, columns, depth = shape
        self.alpha, self.beta, biased, self.floor, self.squared = EPILOGUES[epilogue]

        def draw(*size):
            return np.random.default_rng(sum(size)).standard_normal(size).astype(np.float32)

        self.a, self.b = draw(rows, depth), draw(depth, columns)
        self.out, self.bias = draw(rows, columns), draw(columns if biased else 0)
        scaled = self.alpha * self.a.astype(np.float64)
        start = self.beta * self.out.astype(np.float64) + (self.bias if biased else 0)
        self.expected = np.maximum(scaled @ self.b + start, self.floor)
        lengths = np.linalg.norm(scaled, axis=1)[:, None] * np.linalg.norm(self.b, axis=0)
        self.bound = 2 * EPS * (max(depth, 1) ** 0.5 * lengths + np.abs(start) + np.abs(self.expected))
        self.given = (self.a.T if form == "tn" else self.a), (self.b.T if form == "nt" else self.b)


def launched(kernel, tile, case):
    """`out` and the parts of the sums of squares after a launch."""
    device, (rows, columns) = Emulated(), case.out.shape
    grid = ceil(columns / tile), ceil(rows / tile)
    a, b, bias, out = (device.put(np.ascontiguousarray(m)) for m in (*case.given, case.bias, case.out))
    parts = device.empty((rows if case.squared else 0, grid[0]))
    device.launch(TABLE[kernel], grid, a, b, bias, out, parts, case.alpha, case.beta, case.floor)
    return device.get(out), device.get(parts)


@pytest.mark.parametrize("epilogue", EPILOGUES)
@pytest.mark.parametrize("tile", [16, 64, 128])
@pytest.mark.parametrize("form", FORMS)
def test_a_product_is_right_on_every_edge(form, tile, epilogue):
    """To 2 eps sqrt(K) |row| |column|, the roundings of K additions, and those of what is added at the ends."""
    for shape in around(tile):
        case = Case(form, shape, epilogue)
        out, parts = launched(f"product_{form}_{tile}", tile, case)
        assert (np.abs(out - case.expected) <= case.bound).all()
        if case.squared:
            squares = (out.astype(np.float64) ** 2).sum(axis=1)
            np.testing.assert_allclose(parts.sum(axis=1), squares, rtol=4 * EPS * case.out.shape[1] ** 0.5)


@pytest.mark.parametrize("form", FORMS)
def test_all_tiles_agree(form):
    """They add up in one order, k = 0, 1, 2, ..., so to the bit."""
    case = Case(form, (70, 33, 50), "relu")
    first, *others = (launched(f"product_{form}_{tile}", tile, case)[0] for tile in (16, 64, 128))
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_a_nan_is_never_hidden_by_the_floor():
    case = Case("nn", (3, 20, 4), "relu")
    case.given[0][1] = np.nan
    out, _ = launched("product_nn_16", 16, case)
    np.testing.assert_array_equal(np.isnan(out).all(axis=1), [False, True, False])


def test_every_tile_is_chosen_where_it_serves():
    """Products narrow or small by 16, those of a batch by 64, those large enough to keep a card busy by 128."""
    shapes = (10000, 10), (10, 1000), (64, 1000), (200, 1000), (784, 1000), (4096, 4096)
    assert [widest(*shape) for shape in shapes] == [16, 16, 16, 64, 64, 128]
    assert {f"product_{form}_{widest(*shape)}" for form, shape in
            itertools.product(FORMS, [(1, 1), (784, 1000), (2000, 2000)])} == {name for name in TABLE if "product" in name}
