"""The one place that knows which backends there are. A backend is a module of `ffnp.kernels`, passed around as `k`."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

from .errors import UserError
from .kernels.contract import Kernels

BACKENDS = {"numpy": "reference", "cpu": "cpu"}


def load_backend(name: str) -> Kernels:
    """The kernels of backend `name`, imported on first use. Raises UserError for a name that does not exist."""
    if name not in BACKENDS:
        raise UserError(f"there is no backend {name!r}; choose one of {', '.join(BACKENDS)}")
    return importlib.import_module(f"ffnp.kernels.{BACKENDS[name]}")


@contextmanager
def limit_threads(n: int | None) -> Iterator[None]:
    """Within the block BLAS works on `n` threads (None: on all cores). Enter it after the backend is imported.

    Raises UserError unless n is at least 1.
    """
    if n is not None and n < 1:
        raise UserError(f"--threads must be at least 1, not {n}")
    with threadpool_limits(n):
        yield
