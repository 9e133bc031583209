"""On a card the kernels compute what they compute in the interpreter, within the same bounds; and how fast.

`pytest -m gpu -s` runs this and prints the times; without a card all of it is skipped. Numba's simulator passes for a card
(`NUMBA_ENABLE_CUDASIM=1`), with sizes that it can cope with, and its times mean nothing.
"""

from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
import torch
from bench_gpu import TORCH, against_limits, limits, products, torch_epoch
from cases import PRODUCTS, Sizes, assert_product, assert_right, factors, multiplication
from host import OnHost
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import Simulated
from strategies import arguments
from test_cuda import EDGES, KERNELS
from test_kernels import outcome
from test_ptx_training import EPS, RULES, arrays, images
from tiny import dataset, recipe
from tolerance import assert_agrees

import ffnp
from ffnp.backend import BACKENDS, load_backend
from ffnp.kernels import reference
from ffnp.kernels.cuda.backend import Cuda
from ffnp.presets import PRESETS

SIMULATED = bool(numba.config.ENABLE_CUDASIM)
pytestmark = [  # in the simulator uint32 is NumPy's, which tells when it wraps around, as a hash wants it to
    pytest.mark.gpu, pytest.mark.filterwarnings("ignore:.*overflow encountered in scalar:RuntimeWarning"),
]
SIZES = [Sizes(3, 4, 5)] if SIMULATED else [*EDGES, Sizes(300, 784, 500, 10)]
TILES = [(17, 5, 3)] if SIMULATED else [(1, 1, 1), (16, 16, 16), (17, 15, 33), (64, 65, 63), (127, 129, 130), (300, 200, 784)]
LARGE = TILES if SIMULATED else [(200, 1000, 784), (1000, 2000, 784), (4096, 4096, 4096)]


@pytest.fixture(scope="module", autouse=True)
def k():
    """The backend on the card."""
    with pytest.MonkeyPatch.context() as patch:
        if SIMULATED:
            simulator = Cuda(Simulated())
            patch.setitem(BACKENDS, "cuda", BACKENDS["cuda"]._replace(lacks=str, load=lambda: simulator))
        lacks = BACKENDS["cuda"].lacks()
        if lacks:
            pytest.skip(lacks)
        yield load_backend("cuda")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_a_kernel_computes_what_the_reference_computes(k, kernel, sizes):
    assert_right(OnHost(k), kernel, sizes)


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=1 if SIMULATED else 40)
@given(data=st.data())
def test_a_kernel_is_right_for_any_arguments(k, kernel, data):
    args = data.draw(arguments(kernel, st.just(np.float32)))
    assert_agrees(kernel, outcome(OnHost(k), kernel, args), outcome(reference, kernel, args), args)


@pytest.mark.parametrize("kernel", PRODUCTS)
@pytest.mark.parametrize("sizes", TILES, ids=str)
def test_every_kernel_that_multiplies_is_right(k, kernel, sizes):
    x, y = factors(*sizes)
    launch, out = multiplication(k, kernel, x, y)
    launch()
    assert_product(k.get(out), x, y)


@pytest.mark.parametrize("kernel", PRODUCTS)
def test_a_product_is_that_of_cublas(k, kernel, monkeypatch):
    monkeypatch.setenv("CUPY_TF32", "0")
    cupy = pytest.importorskip("cupy")
    x, y = factors(500, 300, 784)
    launch, out = multiplication(k, kernel, x, y)
    launch()
    theirs = cupy.asnumpy(cupy.asarray(x) @ cupy.asarray(y))
    assert_product(theirs, x, y)
    assert (np.abs(k.get(out) - theirs) <= 2 * len(y) * EPS * (np.abs(x) @ np.abs(y))).all()


def test_the_device_serves_any_thread(k):
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    with ThreadPoolExecutor(1) as another:
        doubled = another.submit(lambda: k.get(k.scale(k.put(a), 2.0))).result()
    np.testing.assert_array_equal(doubled, 2 * a)


# ----- training -----


@pytest.mark.parametrize("name", ["backprop"] if SIMULATED else RULES)
def test_three_steps_equal_those_of_the_cpu(name):
    """To the same training in float64, but for a factor of 8: two orders of addition round differently, not worse."""
    sizes, rows = ((3, 2), 2) if SIMULATED else ((70, 33), 50)
    preset, data = recipe(RULES[name], 0.01, "momentum", hidden=sizes, epochs=1, batch=rows), dataset(n=18 * rows // 5, test=5)
    exact, card, cpu = (arrays(ffnp.train(preset, data, backend=backend, dtype=dtype)) for backend, dtype in
                        (("numpy", "float64"), ("cuda", "float32"), ("cpu", "float32")))
    for name, truth in exact.items():
        allowed = 8 * (np.abs(cpu[name] - truth).max() + EPS * np.abs(truth).max())
        assert np.abs(card[name] - truth).max() <= allowed, name


@pytest.mark.parametrize("name", ["bp-small"] if SIMULATED else PRESETS)
def test_every_preset_trains_and_predicts(name):
    data, rule = images(), PRESETS[name].rule
    run = ffnp.train(name, data, backend="cuda", epochs=1 + getattr(rule, "pre_mirror", 0), batch=12, layers=(9, 7, 5))
    assert run.predict(data.x_test).shape == (3,)
    assert all(np.isfinite(a).all() for a in arrays(run).values())


@pytest.mark.parametrize("name", ["bp-small"] if SIMULATED else ["bp-small", "ff-small", "pepita-small"])
def test_the_same_seed_gives_the_same_bits(name):
    n, layers = (6, (8, 3)) if SIMULATED else (2000, (8, 300, 200))
    runs = (ffnp.train(name, dataset(n), backend="cuda", epochs=1, batch=n // 2, layers=layers) for _ in range(2))
    once, again = map(arrays, runs)
    for name, a in once.items():
        np.testing.assert_array_equal(a, again[name])


# ----- speed -----


@pytest.fixture(scope="module")
def most(k):
    """The limits of the card."""
    found = limits(k, 2**10, 64, "cpu") if SIMULATED else limits(k, 2**27, 2**14, "cuda")
    print(f"\nthe card copies {found.bandwidth / 1e9:.0f} GB/s and computes {found.arithmetic / 1e12:.2f} TFLOP/s")
    return found


def test_how_long_each_kernel_takes(k, most):
    n, repeats = (Sizes(3, 4, 5), 1) if SIMULATED else (Sizes(10000, 784, 2000, 10), 20)
    for kernel in KERNELS[-4:] if SIMULATED else KERNELS:
        print(against_limits(k, kernel, n, most, repeats))


@pytest.mark.parametrize("sizes", LARGE, ids=str)
def test_how_fast_products_are_and_that_they_are_right(k, most, sizes):
    for line in products(k, sizes, most, *((1, "cpu") if SIMULATED else (20, "cuda"))):
        print(line)


@pytest.mark.parametrize("name", TORCH)
def test_how_long_an_epoch_takes_here_and_in_torch(name):
    """On random images of the size of MNIST. The first epoch, in which kernels are compiled, does not count."""
    n, layers, classes, epochs = (6, (4, 3, 2), 3, 1) if SIMULATED else (60000, (784, *PRESETS[name].hidden), 10, 2)
    data = dataset(n, classes, layers[0], classes)
    run = ffnp.train(name, data, backend="cuda", epochs=epochs, layers=layers)
    assert all(np.isfinite(a).all() for a in arrays(run).values())
    print(f"an epoch of {name}: {run.history['epochs'][-1]['seconds']:.2f} s")
    if SIMULATED or torch.cuda.is_available():
        seen = n - n // 6  # the rest is for validation
        theirs = torch_epoch(name, data.x_train[:seen], data.y_train[:seen], [*layers, classes], "cpu" if SIMULATED else "cuda")
        print(f"the same in torch: {theirs:.2f} s")
