"""A backend is a module with the functions of the contract: same names, same parameters, documented once."""

import inspect

import pytest
from strategies import ARGUMENTS

from ffnp.backend import BACKENDS, load_backend
from ffnp.errors import UserError
from ffnp.kernels import contract

KERNELS = {name: f for name, f in vars(contract.Kernels).items() if inspect.isfunction(f) and not name.startswith("_")}
every_kernel = pytest.mark.parametrize("kernel", KERNELS)


def parameters(f) -> list[tuple]:
    """Name, kind and default of each, in order, without self."""
    given = inspect.signature(f).parameters.values()
    return [(p.name, p.kind, p.default) for p in given if p.name != "self"]


@pytest.mark.parametrize("backend", BACKENDS)
@every_kernel
def test_every_backend_has_every_kernel_with_the_same_parameters(backend, kernel):
    assert parameters(getattr(load_backend(backend), kernel)) == parameters(KERNELS[kernel])


@every_kernel
def test_the_contract_documents_every_kernel(kernel):
    doc = inspect.getdoc(KERNELS[kernel])
    assert doc and doc.strip()
    assert "->" in doc or "in place" in doc, "its shapes are missing"


@pytest.mark.parametrize("backend", BACKENDS)
@every_kernel
def test_no_backend_documents_a_kernel_again(backend, kernel):
    assert not getattr(load_backend(backend), kernel).__doc__


def test_every_kernel_is_tested():
    assert list(ARGUMENTS) == list(KERNELS)


def test_a_backend_that_does_not_exist_is_named():
    with pytest.raises(UserError, match="there is no backend 'gpu'; choose one of numpy, cpu"):
        load_backend("gpu")
