"""Every kernel of the CUDA backend with what it takes and what it may cost; `tests/test_gate.py` holds it to that.

`ffnp ptx NAME` shows one of them as the compiler sees it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from . import classes, pointwise, products, rows, steps
from .language import float32, int64, uint32, uint64, void

f, u, u64 = float32, uint32, uint64
f1, f2, i1, i2 = float32[::1], float32[:, ::1], int64[::1], int64[:, ::1]


class Kernel(NamedTuple):
    """`function` in Python, compiled for `signature`, run by blocks of `block` threads (in x, or in x and y).

    The budget: `registers` of a thread, `shared` memory of a block in bytes. No kernel may spill or use double precision.
    """

    name: str
    function: Callable[..., None]
    signature: Any
    block: tuple[int, ...]
    registers: int
    shared: int = 0


PRODUCT = void(f2, f2, f1, f2, f2, f, f, f)

TABLE: dict[str, Kernel] = {kernel.name: kernel for kernel in (
    Kernel("take", pointwise.take, void(f2, i1, f2), (256,), 16),
    Kernel("take_labels", pointwise.take, void(i2, i1, i2), (256,), 16),
    Kernel("copy", pointwise.copy, void(f2, u, f2), (256,), 16),
    Kernel("add", pointwise.add, void(f1, f1, f, f1), (256,), 16),
    Kernel("scale", pointwise.scale, void(f1, f, f1), (256,), 16),
    Kernel("rescale", pointwise.rescale, void(f1, f1, f, f, f1), (256,), 24),
    Kernel("deviations", pointwise.deviations, void(f1, f1, f1), (256,), 16),
    Kernel("sign", pointwise.sign, void(f1, f1), (256,), 16),
    Kernel("blend", pointwise.blend, void(f1, f1, f1, f1), (256,), 16),
    Kernel("shift", pointwise.shift, void(f2, i2, u, u, u, f2), (256,), 24),
    *(Kernel(f"product_{form}_16", products.tiled(form), PRODUCT, (16, 16), 32, 2176) for form in products.FORMS),
    *(Kernel(f"product_{form}_64", products.blocked(form, 64, 4, 16), PRODUCT, (256,), 64, 13056) for form in products.FORMS),
    *(Kernel(f"product_{form}_128", products.blocked(form, 128, 8, 8), PRODUCT, (256,), 128, 17152) for form in products.FORMS),
    Kernel("add_up", products.add_up, void(f2, f1), (256,), 24),
    Kernel("activate", pointwise.activate, void(f1, u, f1), (256,), 16),
    Kernel("gate", pointwise.gate, void(f1, f1, u, f1), (256,), 16),
    Kernel("patch", pointwise.patch, void(f2, f2, f2, f2, i1, f2), (256,), 32),
    Kernel("activate_rows", rows.activate, void(f2, f1, f2, i1, f1, u, f2, f1), (rows.THREADS,), 32, 512),
    Kernel("dropout", pointwise.dropout, void(f1, u64, u, f, f1), (256,), 16),
    Kernel("one_hot", classes.one_hot, void(i1, f, f2), (64,), 32),
    Kernel("softmax", classes.softmax, void(f2, f2), (64,), 32),
    Kernel("softmax_error", classes.softmax_error, void(f2, i1, f2, f1), (64,), 40),
    Kernel("draw_wrong", classes.draw_wrong, void(f2, i1, f1, i1), (64,), 32),
    Kernel("agree", pointwise.agree, void(i1, i1, f1), (256,), 16),
    Kernel("normalise", rows.normalise, void(f2, f, f, f2), (rows.THREADS,), 32, 512),
    Kernel("inverse_norm", pointwise.inverse_norm, void(f1, f, f, f, f1), (256,), 16),
    Kernel("divide", pointwise.divide, void(f1, f1, f1), (256,), 16),
    Kernel("sum_squares", rows.sum_squares, void(f2, f1), (rows.THREADS,), 32, 512),
    Kernel("goodness_signal", rows.goodness_signal, void(f2, f1, f1, f1, f, f, f2, f1), (rows.THREADS,), 24),
    Kernel("total", rows.total, void(f1, f, f1), (rows.THREADS,), 16, 512),
    Kernel("column_sums", steps.column_sums, void(f2, f, f1, f, f1), (steps.WIDTH, steps.HEIGHT), 32, 1024),
    Kernel("centre", steps.centre, void(f1, f, f1), (rows.THREADS,), 32, 512),
    Kernel("momentum", steps.momentum, void(f1, f1, f, f, f, f1), (rows.THREADS,), 24, 512),
    Kernel("adam", steps.adam, void(f1, f1, f1, f1, f, f, f, f, f, f, f, f, f, f, f1), (rows.THREADS,), 32, 512),
)}
