"""Whole trainings by the CUDA kernels, run instruction by instruction on the CPU, against the other backends."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import network
from platforms import needs_compilers
from strategies import any_rules, deep_problems
from test_cuda import Deaf
from tiny import dataset, recipe

import ffnp
from ffnp.backend import load_backend
from ffnp.data import from_arrays
from ffnp.kernels.cuda.backend import Cuda
from ffnp.optim import Optimiser, Optimisers
from ffnp.presets import PRESETS
from ffnp.rules import PEPITA, Backprop, ForwardForward
from ffnp.rules.rule import Moment
from ffnp.run import each_array
from ffnp.saliency.methods import METHODS
from ffnp.saliency.scorer import Scorer
from ffnp.training import DivergedError
from ffnp.verify.check import moments

pytestmark = [needs_compilers, pytest.mark.no_cover]  # others cover the same lines, and to count them takes as long again
EPS = float(np.finfo(np.float32).eps)
RULES = {"backprop": Backprop(dropout=0.2), "pepita": PEPITA(dropout=0.1), "forward-forward": ForwardForward(peer=0.03)}


def arrays(run):
    """Every array of the net and of the optimiser's memory, by name, on the host."""
    k, found = load_backend(run.history["backend"]), {}
    each_array((run.net, run.state), lambda name, a: found.update({name: a if isinstance(a, np.ndarray) else k.get(a)}))
    return found


def assert_as_close_as_the_cpu(preset, data, **options):
    """To the same training in float64, but for a factor of 8: two orders of addition round differently, not worse."""
    exact, ours, cpu = (ffnp.train(preset, data, backend=backend, dtype=dtype, **options) for backend, dtype in
                        (("numpy", "float64"), ("ptx", "float32"), ("cpu", "float32")))
    for name, truth in arrays(exact).items():
        allowed = 8 * (np.abs(arrays(cpu)[name] - truth).max() + EPS * np.abs(truth).max())
        assert np.abs(arrays(ours)[name] - truth).max() <= allowed, name
    for epoch, other in zip(ours.history["epochs"], cpu.history["epochs"], strict=True):
        for name, numbers in epoch["train"].items():
            np.testing.assert_allclose(numbers, other["train"][name], rtol=1e-4, err_msg=name)
    return ours, cpu


@pytest.mark.parametrize("kind", ["momentum", "adam"])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_three_steps_equal_those_of_the_cpu(rule, kind):
    """Of 50 rows each, through layers wider than one tile and through narrower ones."""
    preset = recipe(rule, 0.01, kind, hidden=(70, 33), epochs=1, batch=50)
    ours, cpu = assert_as_close_as_the_cpu(preset, dataset(n=180, test=5, inputs=40))
    np.testing.assert_allclose(ours.scores(np.eye(3, 40)), cpu.scores(np.eye(3, 40)), rtol=1e-3)


def images():
    """24 to learn from, of 3 x 3 pixels."""
    flat = dataset(n=24, test=3, inputs=9)
    return from_arrays(flat.x_train.reshape(-1, 3, 3), flat.y_train, flat.x_test.reshape(-1, 3, 3), flat.y_test)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains_and_predicts(name):
    """Two epochs, or as many as it takes until weights move."""
    preset, data = PRESETS[name], images()
    epochs = 2 + getattr(preset.rule, "pre_mirror", 0)
    run, _ = assert_as_close_as_the_cpu(preset, data, epochs=epochs, batch=10, layers=(9, 7, 5))
    assert run.predict(data.x_test).shape == (3,)
    assert set(run.history["read_outs"]) == set(preset.rule.read_outs())


def learn_unheard(preset, problem, moment=Moment()):
    """A batch, signals and steps, on a device that nothing comes back from."""
    k, rule = Cuda(Deaf()), preset.rule
    net = network(k, rule, problem, "float32", preset.bias)
    state = preset.optimisers.init(k, net)
    for signals in rule.signals(k, net, k.put(problem.x.astype(np.float32)), k.put(problem.y), problem.rng, moment):
        net, _ = preset.optimisers.apply(k, net, signals, state, 1.0)


@pytest.mark.parametrize("name", PRESETS)
@settings(max_examples=2)
@given(deep_problems)
def test_no_batch_of_a_preset_makes_the_host_wait(name, problem):
    for moment in moments(PRESETS[name]):
        learn_unheard(PRESETS[name], problem, moment)


@given(any_rules, deep_problems, st.sampled_from(["momentum", "adam"]))
def test_no_batch_of_any_rule_makes_the_host_wait(rule, problem, kind):
    step = Optimiser(kind, 0.1)
    learn_unheard(replace(recipe(rule), optimisers=Optimisers(step, step, step)), problem)


@pytest.mark.parametrize("kind", ["momentum", "adam"])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_a_run_that_diverges_says_so(rule, kind):
    with pytest.raises(DivergedError, match="the weights of .* are not finite after step 1 of epoch 1"):
        ffnp.train(recipe(rule, 1e30, kind, batch=25), dataset(), backend="ptx")


def test_the_same_seed_gives_the_same_bits():
    runs = [arrays(ffnp.train("ff-small", dataset(), backend="ptx", epochs=1, batch=25, layers=(8, 7, 5))) for _ in range(2)]
    for name, a in runs[0].items():
        np.testing.assert_array_equal(a, runs[1][name])


def test_a_run_is_kept_and_loaded_for_any_backend(tmp_path):
    run = ffnp.train("bp-small", dataset(), epochs=1, backend="ptx", batch=25, layers=(8, 7, 5), out=tmp_path)
    again = ffnp.load_run(tmp_path)
    for name, a in arrays(run).items():
        np.testing.assert_array_equal(arrays(again)[name], a)
    host = ffnp.load_run(tmp_path, backend="numpy")
    for other in (again, host):
        np.testing.assert_array_equal(other.predict(dataset().x_test), run.predict(dataset().x_test))


@pytest.mark.parametrize("name", ["ff-small", "bp-small", "pepita-small"])
def test_maps_are_those_of_the_same_net_on_the_host(name):
    """By every method that the net can serve; windows are found through the kernel `patch`."""
    data = images()
    run = ffnp.train(name, data, epochs=1, backend="ptx", batch=10, layers=(9, 7, 5))
    host = run._replace(net=each_array(run.net, lambda _, a: load_backend("ptx").get(a)),
                        history={**run.history, "backend": "numpy"})
    there, here = Scorer(run), Scorer(host)
    for title, method in METHODS.items():
        options = {"window": (2, 2), "stride": (1, 1)} if title in ("ads", "occlusion") else {}
        if not method.lacks(there.rule, there.read_out):
            maps, same = (method.maps(score, data.x_test, data.y_test, **options) for score in (there, here))
            np.testing.assert_allclose(maps, same, rtol=0, atol=1e-4 * np.nanmax(np.abs(same)))
