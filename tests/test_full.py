"""What the presets reach on the complete MNIST (marked full: minutes; the data lie in $FFNP_DATA or are fetched)."""

import statistics

import pytest

from ffnp import load
from ffnp.training import train

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def forward_forward():
    """`ffnp train ff-hinton2022 --data mnist --epochs 10 --seed 0`."""
    return train("ff-hinton2022", load("mnist"), epochs=10, seed=0).history


def test_forward_forward_learns_mnist(forward_forward):
    assert (forward_forward["n_train"], forward_forward["n_val"], forward_forward["n_test"]) == (50_000, 10_000, 10_000)
    assert forward_forward["read_outs"]["goodness"] <= 0.026


def test_an_epoch_of_forward_forward_takes_seconds(forward_forward, capsys):
    """At most 12 on two cores; the fastest epoch counts, since others may use the machine."""
    seconds = [epoch["seconds"] for epoch in forward_forward["epochs"]]
    with capsys.disabled():
        print(f"\nff-hinton2022 on mnist: {statistics.median(seconds):.1f} s an epoch (median of {len(seconds)})")
    assert min(seconds) <= 12


def test_backprop_learns_mnist():
    assert train("bp", load("mnist"), epochs=20, seed=0).history["test_error"] <= 0.017


PAPERS_NET = (784, 1024)
BARS = {"pepita-icml2022": (20, 0.970), "pepita-hebbian": (10, 0.965), "dfa": (10, 0.975), "drtp": (10, 0.930)}


@pytest.mark.parametrize("name", BARS)
def test_the_rules_learn_mnist_on_the_papers_net(name):
    """One hidden layer of 1024, the schedule shortened in proportion; `fa` is `dfa` there, bit for bit."""
    epochs, least = BARS[name]
    assert 1 - train(name, load("mnist"), epochs=epochs, seed=0, layers=PAPERS_NET).history["test_error"] >= least
