"""Who takes part. A contender is a function of a module of this package, imported only where it runs:

    start(case, net, x, y, threads) -> run

It is given the initial network (float32 arrays, its own to change), the rows of a run, x (n, I) float32 and y (n,) int64, and
how many threads it may use; whatever takes its time before the first batch happens now. Each `run()` takes the rows batch by
batch, in order, and goes on with the weights it has. It returns numbers that all who do the same mathematics share:

    training     means over the batches: each layer's loss, bottom up, then the head's; or the cross-entropy
    prediction   for each class the mean goodness of that label over the rows, by the rule's goodness_from
    saliency     for each window of COLUMNS, the mean over the rows of the goodness of their own label, its inputs being 0

Randomness comes from np.random.default_rng([0, 1]), drawn once a batch as the rule does (see NEGATIVES in forward_forward).
"""

import importlib
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from ..net import Net
from .cases import Case

Run = Callable[[], list[float]]
Start = Callable[[Case, Net, np.ndarray, np.ndarray, int], Run]


class Contender(NamedTuple):
    """What it is, where its `start` stands (module and name), what is missing here to run it, or "", and which kinds of case
    it can do. `learns`: False for one that only multiplies, so that there is nothing to compare."""

    says: str
    module: str
    function: str
    lacks: Callable[[], str] = lambda: ""
    kinds: tuple[str, ...] = ("training", "prediction", "saliency")
    learns: bool = True

    def start(self) -> Start:
        """Its function, imported now."""
        start: Start = getattr(importlib.import_module(f"{__package__}.{self.module}"), self.function)
        return start


def package(name: str) -> str:
    """What is missing where a package is not installed."""
    return "" if find_spec(name) else f"{name} is not installed: pip install {name}"


def torch() -> str:
    return package("torch")


def torch_and_compiler() -> str:
    compiler = any(map(shutil.which, ("g++", "c++", "clang++", "cl")))
    return torch() or ("" if compiler else "torch.compile needs a C++ compiler")


def jax() -> str:
    return package("jax")


CONTENDERS = {
    "ours": Contender("ffnp, backend cpu", "in_ffnp", "ours"),
    "numpy": Contender("ffnp, backend numpy: the formulas as they read", "in_ffnp", "plain"),
    "blas": Contender("only the textbook's products, by NumPy's BLAS", "in_blas", "products_only", learns=False),
    "torch-autograd": Contender("torch as the best-known reproductions write it", "in_torch", "autograd", torch),
    "torch-eager": Contender("torch by hand, without autograd", "in_torch_by_hand", "eager", torch),
    "torch-compile": Contender("the same step through torch.compile", "in_torch_by_hand", "compiled", torch_and_compiler,
                               kinds=("training",)),
    "jax": Contender("the whole step under jax.jit", "in_jax", "jitted", jax, kinds=("training",)),
}
ROOFS = Contender("a large sgemm and a copy", "in_blas", "roofs", learns=False)  # its numbers are GFLOP/s and GB/s


def contender(name: str) -> Contender:
    """The contender of that name. Raises UserError where there is none."""
    if name not in CONTENDERS:
        raise UserError(f"there is no contender {name!r}; choose one of {', '.join(CONTENDERS)}")
    return CONTENDERS[name]
