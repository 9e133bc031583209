"""What torch and JAX compute in `ffnp bench` is what our reference computes: here in float64, where only rounding may differ.

A number stands at the end of n additions, those of a product and of the sums over a layer and a batch, and so its rounding is
at most n eps of what it is compared with on the way: a layer's threshold, or logits around 1. Batches hand it on.
"""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ffnp.backend import load_backend
from ffnp.bench import in_torch, in_torch_by_hand
from ffnp.bench.cases import CASES, CLASSES, INPUTS, initial
from ffnp.bench.in_ffnp import plain
from ffnp.kernels.contract import Pair
from ffnp.net import Dense
from ffnp.optim import VELOCITIES, Optimiser
from ffnp.run import each_array

EPS, BATCH, STEPS, HIDDEN = float(np.finfo(np.float64).eps), 10, 4, (24, 17, 20)
TRAINING = ["ff-hinton2022", "ff-mean-adam", "pepita", "bp", "fa"]


@pytest.fixture(autouse=True)
def torch_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def small(name):
    """The case on a small net, a few small batches a run. Few rows want smaller steps."""
    case = CASES[name]
    layers = case.preset.optimisers.layers
    optimisers = case.preset.optimisers._replace(layers=replace(layers, rate=layers.rate / 10))
    hidden = HIDDEN[: len(case.preset.hidden)]
    return case._replace(preset=replace(case.preset, hidden=hidden, batch=BATCH, optimisers=optimisers), steps=STEPS)


def problem(case, silent=False):
    """The net, in which `silent` units answer to no image, and the rows."""
    rng = np.random.default_rng(0)
    net = each_array(initial(case), lambda name, a: a.astype(np.float64))
    if silent:
        net = net._replace(layers=tuple(Dense(W, b - 100) for W, b in net.layers))
    x = rng.random((case.rows, INPUTS)) * (rng.random((case.rows, INPUTS)) < 0.2)
    return net, x, rng.integers(CLASSES, size=case.rows)


def assert_same(start, case, **changes):
    """Two runs of this contender and of the reference have the same numbers."""
    ours, theirs = (begin(case, *problem(case, **changes), 1) for begin in (plain, start))
    n, theta = INPUTS + sum(case.preset.hidden) + 2 * BATCH, max(case.preset.hidden)
    for _ in range(2):
        expected = np.array(ours())
        np.testing.assert_allclose(theirs(), expected, rtol=0, atol=2 * STEPS * n * EPS * (theta + np.abs(expected).max()))


by_torch = pytest.mark.parametrize("start", [in_torch.autograd, in_torch_by_hand.eager])
each_training = pytest.mark.parametrize("name", TRAINING)


@each_training
@by_torch
def test_losses_are_those_of_numpy(start, name):
    assert_same(start, small(name))


@by_torch
def test_rows_on_which_a_layer_is_silent_are_no_exception(start):
    assert_same(start, small("ff-hinton2022"), silent=True)


@pytest.mark.parametrize("name", ["prediction", "saliency-ads"])
@by_torch
def test_goodness_is_that_of_numpy(start, name):
    assert_same(start, small(name))


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch's compiler uses it
@each_training
def test_losses_of_what_torch_compiles_are_those_of_numpy(monkeypatch, name):
    """Traced and rid of writes in place, as for its C++ compiler, but then run as it is: to compile takes long."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    torch.compiler.reset()
    assert_same(in_torch_by_hand.compiled, small(name))


@each_training
def test_losses_of_jax_are_those_of_numpy(name):
    pytest.importorskip("jax")
    from ffnp.bench.in_jax import jitted

    assert_same(jitted, small(name))


@by_torch
def test_torch_uses_the_threads_it_is_given(start):
    for threads in (1, 2):
        start(small("bp"), *problem(small("bp")), threads)
        assert torch.get_num_threads() == threads


decays = st.sampled_from([0.0, 0.01, 0.3])
velocities = st.builds(Optimiser, st.sampled_from([*VELOCITIES]), st.sampled_from([0.1, 1.0]), st.sampled_from([0.0, 0.9]),
                       decays, st.sampled_from(["decoupled", "l2"]), st.booleans())
adams = st.builds(Optimiser, st.just("adam"), st.sampled_from([0.001, 0.1]), beta2=st.sampled_from([0.9, 0.999]))


@settings(max_examples=20)
@given(velocities | adams, st.booleans())
def test_steps_by_hand_are_those_of_the_optimiser(optimiser, biased):
    """Numbers of order 1 in every array; 3 steps of 5 rows, a dozen roundings each."""
    rng, k = np.random.default_rng(0), load_backend("numpy")
    layer = Dense(rng.standard_normal((4, 3)), rng.standard_normal(3) if biased else None)
    theirs = each_array(layer, lambda name, a: torch.tensor(a))
    memory, mover = optimiser.memory(k, layer), in_torch_by_hand.mover(optimiser, [theirs])
    for _ in range(3):
        pre, post = rng.standard_normal((5, 4)), rng.standard_normal((5, 3))
        optimiser.step(k, layer, memory, [Pair(pre, post)], 5, 1.0)
        mover.step([(torch.tensor(pre), torch.tensor(post))], 5)
    for a, b in zip(layer, theirs, strict=True):
        assert a is None or np.abs(a - b.numpy()).max() <= 3 * (5 + 12) * EPS * 10
