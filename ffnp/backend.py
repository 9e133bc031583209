"""The one place that knows which backends there are. A backend has the functions of `kernels.contract`; it goes by `k`."""

import functools
import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple

from .errors import UserError
from .kernels.blas import blas_threads
from .kernels.contract import Kernels
from .kernels.cuda import missing


class BackendError(UserError):
    """A backend cannot compute what is wanted, or not here; the message says what is missing, and how to get it."""


Threads = Callable[[int | None], AbstractContextManager[Any]]


def of_blas(n: int | None) -> AbstractContextManager[Any]:
    """BLAS's own threads, all that NumPy has."""
    return nullcontext() if n is None else blas_threads(n)


def of_cpu(n: int | None) -> AbstractContextManager[Any]:
    from .kernels.cpu.threads import threads

    return threads(n)


class Backend(NamedTuple):
    """What it is and computes in. `load` imports the kernels; `lacks` says in a sentence what is missing here to do so, or "".

    `threads`: a block in which its host code works on so many threads, None for all cores. A `slow` one is there to be
    studied, and works only where it is asked for by name. `packages`: what it needs beside those that all need.
    """

    says: str
    dtypes: tuple[str, ...]
    load: Callable[[], Kernels]
    lacks: Callable[[], str] = lambda: ""
    threads: Threads = of_blas
    slow: bool = False
    packages: tuple[str, ...] = ()


@functools.cache
def on_gpu() -> Kernels:
    from .kernels.cuda.backend import Cuda
    from .kernels.cuda.gpu import Gpu

    return Cuda(Gpu())


@functools.cache
def interpreted() -> Kernels:
    from .kernels.cuda.backend import Cuda
    from .kernels.cuda.emulated import Emulated

    return Cuda(Emulated())


BOTH, SINGLE = ("float64", "float32"), ("float32",)
BACKENDS = {
    "numpy": Backend("NumPy, as the formulas read: the truth that the others are tested against", BOTH,
                     lambda: importlib.import_module("ffnp.kernels.reference")),
    "cpu": Backend("Numba and BLAS, on all cores", BOTH, lambda: importlib.import_module("ffnp.kernels.cpu"),
                   threads=of_cpu),
    "cuda": Backend("CUDA kernels by Numba, on an NVIDIA card", SINGLE, on_gpu, missing.gpu, packages=("numba-cuda",)),
    "ptx": Backend("the CUDA kernels as compiled, run by an interpreter on the CPU: for study, thousands of times slower",
                   SINGLE, interpreted, missing.compilers, slow=True, packages=("numba-cuda",)),
}


def load_backend(name: str, dtype: str | None = None) -> Kernels:
    """The kernels of backend `name`, imported on first use. Raises UserError for a name or a `dtype` that does not exist, and
    BackendError for a dtype that it does not compute in, and where this machine lacks what it needs.

    >>> load_backend("numpy").__name__
    'ffnp.kernels.reference'
    >>> load_backend("gpu")
    Traceback (most recent call last):
        ...
    ffnp.errors.UserError: there is no backend 'gpu'; choose one of numpy, cpu, cuda, ptx
    """
    if name not in BACKENDS:
        raise UserError(f"there is no backend {name!r}; choose one of {', '.join(BACKENDS)}")
    backend = BACKENDS[name]
    if dtype not in (None, *BOTH):
        raise UserError(f"dtype must be {' or '.join(BOTH)}, not {dtype!r}")
    if dtype not in (None, *backend.dtypes):
        raise BackendError(f"the {name} backend computes in {' or '.join(backend.dtypes)}, not {dtype}")
    lacks = backend.lacks()
    if lacks:
        raise BackendError(f"the {name} backend cannot compute here: {lacks}")
    return backend.load()


@contextmanager
def threads(n: int | None, *backends: str) -> Iterator[None]:
    """Within the block these backends work on `n` threads (None: on all cores). Raises UserError unless n is at least 1."""
    if n is not None and n < 1:
        raise UserError(f"--threads must be at least 1, not {n}")
    with ExitStack() as stack:
        for name in backends:
            stack.enter_context(BACKENDS[name].threads(n))
        yield
