"""What the host does for a card, without one: a stand-in hands out host memory, and the interpreter runs what is launched."""

import ctypes
from collections.abc import Iterator
from itertools import islice
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cases import Sizes, assert_right
from host import OnHost
from hypothesis import given
from hypothesis import strategies as st
from platforms import needs_compilers
from test_cuda import KERNELS
from test_ptx_training import arrays
from tiny import dataset

import ffnp
from ffnp.backend import BACKENDS
from ffnp.kernels.cuda import gpu
from ffnp.kernels.cuda.backend import Cuda
from ffnp.kernels.cuda.compile import ptx
from ffnp.kernels.cuda.table import Kernel
from ffnp.kernels.ptx.machine import run
from ffnp.kernels.ptx.program import parse

pytestmark = needs_compilers


class Memory:
    """Some bytes: NaN at first, and again when nobody holds them any more."""

    def __init__(self, size: int) -> None:
        self.bytes = np.full(size, 0xFF, np.uint8)
        self.handle = self.bytes.ctypes.data

    def __del__(self) -> None:
        self.bytes[:] = 0xFF


class StandIn:
    """In the place of what `gpu` takes from NVIDIA: a device, its driver, the assembler and the launcher."""

    compute_capability, default_stream, problem = (8, 0), "the stream", 0

    def __init__(self) -> None:
        self.kernels: dict[str, Kernel] = {}  # by their PTX

    def set_current(self) -> None:
        """There is no other."""

    def allocate(self, size: int, stream: str) -> Memory:
        assert size > 0 and stream == self.default_stream
        return Memory(size)

    def copy(self, to: int, source: int, size: int) -> tuple[Any]:
        ctypes.memmove(to, source, size)
        return (self.problem,)

    def ptx(self, kernel: Kernel, cc: tuple[int, int]) -> str:
        assert cc == self.compute_capability
        text = ptx(kernel)
        self.kernels[text] = kernel
        return text

    def assembler(self, text: str, kind: str, options: Any) -> Any:
        """Finds a kernel by the name that it has in the PTX."""
        assert (kind, options.arch) == ("ptx", "sm_80")
        found = {parse(text).name: self.kernels[text]}
        return SimpleNamespace(compile=lambda kind: SimpleNamespace(get_kernel=found.__getitem__))

    def launch(self, stream: str, config: Any, kernel: Kernel, *parameters: Any) -> None:
        assert stream == self.default_stream
        values = iter(parameters)
        run(parse(ptx(kernel)), config.grid, config.block, [self.argument(kind, values) for kind in kernel.signature.args])
        assert not list(values)

    def argument(self, kind: Any, values: Iterator[Any]) -> Any:
        """The next argument; an array, which is described by several numbers, where it lies."""
        if not hasattr(kind, "ndim"):
            value = next(values)
            return getattr(value, "value", value)
        _, _, size, item, address = islice(values, 5)
        shape, strides = tuple(islice(values, kind.ndim)), tuple(islice(values, kind.ndim))
        return np.ndarray(shape, str(kind.dtype), (ctypes.c_char * (size * item)).from_address(address), strides=strides)


@pytest.fixture
def card(monkeypatch):
    card = StandIn()
    monkeypatch.setattr(gpu, "Device", lambda: card)
    monkeypatch.setattr(gpu, "driver", SimpleNamespace(cuMemcpyHtoD=card.copy, cuMemcpyDtoH=card.copy))
    monkeypatch.setattr(gpu, "ptx", card.ptx)
    monkeypatch.setattr(gpu, "Program", card.assembler)
    monkeypatch.setattr(gpu, "launch", card.launch)
    return card


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_is_handed_what_it_takes(card, kernel):
    assert_right(OnHost(Cuda(gpu.Gpu())), kernel, Sizes(3, 4, 5))


def test_a_training_computes_what_it_computes_in_the_interpreter(card, monkeypatch):
    k = Cuda(gpu.Gpu())
    monkeypatch.setitem(BACKENDS, "cuda", BACKENDS["cuda"]._replace(lacks=str, load=lambda: k))
    here, there = (arrays(ffnp.train("ff-small", dataset(), epochs=1, batch=25, layers=(8, 7, 5), backend=name))
                   for name in ("cuda", "ptx"))
    for name, a in here.items():
        np.testing.assert_array_equal(a, there[name])


@given(st.integers(0, 5), st.integers(0, 5), st.integers(1, 4), st.sampled_from([np.float32, np.int64]))
def test_rows_and_other_shapes_of_an_array_are_where_those_of_numpy_are(start, stop, width, dtype):
    a = np.zeros((4, width), dtype)
    there = gpu.Resident(None, a.ctypes.data, a.shape, a.dtype)
    for view, same in [(there[start:stop], a[start:stop]), (there.reshape(width, 4), a.reshape(width, 4)),
                       (there.reshape(a.size)[start:stop], a.reshape(a.size)[start:stop])]:
        assert (view.shape, view.size, len(view), view.dtype) == (same.shape, same.size, len(same), same.dtype)
        assert view.address == same.ctypes.data or not view.size
        assert view.described == (0, 0, same.size, same.itemsize, view.address, *same.shape, *same.strides)


def test_memory_lives_as_long_as_a_part_of_it(card):
    device = gpu.Gpu()
    part = device.put(np.ones((3, 2), np.float32))[1:].reshape(4)
    np.testing.assert_array_equal(device.get(part), np.ones(4))


def test_what_the_driver_refuses_is_passed_on(card):
    device = gpu.Gpu()
    card.problem = SimpleNamespace(name="CUDA_ERROR_ILLEGAL_ADDRESS")
    with pytest.raises(RuntimeError, match="^the CUDA driver says CUDA_ERROR_ILLEGAL_ADDRESS$"):
        device.put(np.ones(3))
