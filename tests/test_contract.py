"""A backend has the functions of the contract: same names, same parameters, documented once."""

import inspect

import pytest
from strategies import ARGUMENTS

from ffnp.kernels import contract, cpu, reference
from ffnp.kernels.cuda.backend import Cuda

KERNELS = {name: f for name, f in vars(contract.Kernels).items() if inspect.isfunction(f) and not name.startswith("_")}
every_kernel = pytest.mark.parametrize("kernel", KERNELS)
every_backend = pytest.mark.parametrize("backend", [reference, cpu, Cuda])


def parameters(f) -> list[tuple]:
    """Name, kind and default of each, in order, without self."""
    given = inspect.signature(f).parameters.values()
    return [(p.name, p.kind, p.default) for p in given if p.name != "self"]


@every_backend
@every_kernel
def test_every_backend_has_every_kernel_with_the_same_parameters(backend, kernel):
    assert parameters(getattr(backend, kernel)) == parameters(KERNELS[kernel])


@every_kernel
def test_the_contract_documents_every_kernel(kernel):
    doc = inspect.getdoc(KERNELS[kernel])
    assert doc and doc.strip()
    assert "->" in doc or "in place" in doc, "its shapes are missing"


@every_backend
@every_kernel
def test_no_backend_documents_a_kernel_again(backend, kernel):
    assert not getattr(backend, kernel).__doc__


def test_every_kernel_is_tested():
    assert list(ARGUMENTS) == list(KERNELS)
