"""A network is plain data: weights in tuples, no behaviour. Rules and optimisers are functions of it."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from .errors import UserError
from .kernels.contract import Array


class Dense(NamedTuple):
    """One layer: `W (I, O)` and `b (O,)`, or None for a layer without biases."""

    W: Array
    b: Array


class Net(NamedTuple):
    """`layers` bottom up, for so many `classes`; what a rule needs beside them it keeps here too.

    `head`: Forward-Forward's softmax read-out. `means`: each layer's running mean activity (peer normalisation).
    `feedback`: the matrices that bring errors back, each `W (I, O)` without biases; the rule says which leads where.
    """

    layers: tuple[Dense, ...]
    classes: int
    head: Dense | None = None
    means: tuple[Array, ...] = ()
    feedback: tuple[Dense, ...] = ()


Initialiser = Callable[[np.random.Generator, int, int], np.ndarray]


def _uniform(bound: Callable[[int, int], float]) -> Initialiser:
    return lambda rng, i, o: rng.uniform(-bound(i, o), bound(i, o), (i, o))


def _normal(std: Callable[[int, int], float]) -> Initialiser:
    return lambda rng, i, o: std(i, o) * rng.standard_normal((i, o))


#: How weights are drawn: name -> W (I, O) from (rng, I, O).
INITIALISERS: dict[str, Initialiser] = {
    "zeros": lambda rng, i, o: np.zeros((i, o)),
    "he_uniform": _uniform(lambda i, o: (6 / i) ** 0.5),  # He et al. 2015
    "he_normal": _normal(lambda i, o: (2 / i) ** 0.5),
    "glorot_uniform": _uniform(lambda i, o: (6 / (i + o)) ** 0.5),  # Glorot & Bengio 2010
    "glorot_normal": _normal(lambda i, o: (2 / (i + o)) ** 0.5),
    "fan_in_uniform": _uniform(lambda i, o: i**-0.5),  # torch.nn.Linear
    "fan_in_normal": _normal(lambda i, o: i**-0.5),  # Hinton 2022
    "fan_out_normal": _normal(lambda i, o: o**-0.5),  # loeweX/Forward-Forward
}


def dense(rng: np.random.Generator, i: int, o: int, init: str, bias: str | None = "zeros", dtype: str = "float32") -> Dense:
    """A layer with I = i inputs and O = o outputs, `W` and `b` drawn by name from INITIALISERS; bias None: no biases.

    A bias is drawn like a row of W. Raises UserError for an unknown name.

    >>> layer = dense(np.random.default_rng(0), 3, 2, "he_normal")
    >>> layer.W.shape, layer.b
    ((3, 2), array([0., 0.], dtype=float32))
    """
    for name in (init, bias):
        if name is not None and name not in INITIALISERS:
            raise UserError(f"there is no initialiser {name!r}; choose one of {', '.join(INITIALISERS)}")
    W = INITIALISERS[init](rng, i, o).astype(dtype)
    return Dense(W, None if bias is None else INITIALISERS[bias](rng, i, o)[0].astype(dtype))


def stack(rng: np.random.Generator, sizes: Sequence[int], init: str, bias: str | None, dtype: str) -> tuple[Dense, ...]:
    """Layers of the given sizes, bottom up: I, O1, O2, ...  Raises as `dense`."""
    return tuple(dense(rng, i, o, init, bias, dtype) for i, o in zip(sizes, sizes[1:], strict=False))


def parameters(net: Net, feedback: bool = False) -> int:
    """How many numbers the network learns; with `feedback` those of the feedback matrices too.

    >>> parameters(Net(stack(np.random.default_rng(0), [64, 30, 10], "he_normal", "zeros", "float32"), classes=10))
    2260
    """
    layers = net.layers + ((net.head,) if net.head else ()) + (net.feedback if feedback else ())
    return sum(math.prod(a.shape) for layer in layers for a in layer if a is not None)
