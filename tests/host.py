"""Calling the kernels of any backend with NumPy arrays, wherever that backend computes."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ffnp.backend import BACKENDS, load_backend
from ffnp.kernels import reference


def leaves(tree: Any) -> list[Any]:
    """The arrays and numbers of nested tuples and lists, without the Nones."""
    if isinstance(tree, (tuple, list)):
        return [leaf for part in tree for leaf in leaves(part)]
    return [] if tree is None else [tree]


def mapped(f: Callable[[Any], Any], tree: Any) -> Any:
    """The same nested tuples and lists with f of each array."""
    if isinstance(tree, (tuple, list)):
        parts = [mapped(f, part) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return f(tree) if hasattr(tree, "dtype") else tree


STAY = {"take": "rows", "shift": "moves", "patch": "columns", "draw_wrong": "u"}  # what the contract takes from the host


class OnHost:
    """A backend `k` for NumPy arrays: arguments go there, answers come back, and so does what a kernel wrote."""

    def __init__(self, k: Any) -> None:
        self.k = k

    def __getattr__(self, kernel: str) -> Callable[..., Any]:
        compute = getattr(self.k, kernel)

        def call(*args: Any) -> Any:
            names = list(inspect.signature(compute).parameters) * len(args)  # the one of `*parts` is that of all
            there = [a if name == STAY.get(kernel) else mapped(self.k.put, a) for a, name in zip(args, names, strict=False)]
            answer = compute(*there)
            for a, after in zip(leaves(args), leaves(there), strict=True):
                if isinstance(a, np.ndarray) and after is not a:
                    a[...] = self.k.get(after)
            return mapped(self.k.get, answer)
        return call


HOST = [name for name, backend in BACKENDS.items() if "float64" in backend.dtypes]  # those that compute on it
backends = {name: OnHost(load_backend(name)) for name in HOST}
fast = {name: host for name, host in backends.items() if host.k is not reference}
every_backend = pytest.mark.parametrize("k", backends.values(), ids=backends.keys())
every_fast_backend = pytest.mark.parametrize("k", fast.values(), ids=fast.keys())
