"""How slowly a rule learns, and what it keeps in memory, against known answers and the published formulas."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from strategies import rates_of_learning
from tiny import dataset, recipe

from ffnp.diagnostics import activation_memory, at_first_rate, fitted, slowness
from ffnp.errors import UserError
from ffnp.presets import PRESETS
from ffnp.rules import PEPITA, AdaptiveFeedback, Backprop, DirectFeedback, FeedbackAlignment, MonoForward
from ffnp.training import train

# ----- slowness -----


def curve(s, highest, epochs):
    E = np.arange(1, epochs + 1)
    return highest * E / (s + E)


@given(rates_of_learning)
def test_the_fit_recovers_the_slowness_of_an_exact_curve(s):
    """To 1e-6: the fit stops at steps of 1e-12, and squares of the order of eps^2 leave s open to about sqrt(eps) of it."""
    assert fitted(curve(s, 0.9, 20), 0.9) == pytest.approx(s, rel=1e-6)


@given(rates_of_learning)
def test_no_other_slowness_fits_better(s):
    accuracies = curve(s, 0.9, 20) + 0.02 * np.cos(np.arange(20))
    found, highest = slowness(accuracies.tolist())

    def squares(s):
        return ((curve(s, highest, 20) - accuracies) ** 2).sum()

    assert highest == accuracies.max()
    assert all(squares(found) <= squares(found * factor) for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2))


def test_a_faster_learner_has_a_smaller_slowness():
    fast, slow = (slowness(curve(s, 0.95, 40).tolist())[0] for s in (0.1, 0.5))
    assert fast < slow


@pytest.mark.parametrize("accuracies", [[], [0.9]])
def test_slowness_needs_two_epochs(accuracies):
    with pytest.raises(UserError, match=f"at least 2 epochs, not {len(accuracies)}"):
        slowness(accuracies)


def test_only_epochs_before_the_first_change_of_rate_count():
    history = {"epochs": [{"rate_factor": f, "val_error": e} for f, e in [(1, 0.5), (1, 0.25), (0.1, 0.125), (1, 0.0)]]}
    assert at_first_rate(history) == [0.5, 0.75]


def test_at_a_constant_rate_all_epochs_count():
    history = train(recipe(epochs=3), dataset()).history
    assert at_first_rate(history) == [1 - e["val_error"] for e in history["epochs"]]


# ----- memory: float32 unless said, batch 100 -----

SIZES = (64, 50, 40, 30, 10)
TOLD = (Backprop(), FeedbackAlignment(), DirectFeedback(), PEPITA(), AdaptiveFeedback())
FF = replace(PRESETS["ff-small"].rule, label="overlay")


@pytest.mark.parametrize("rule", TOLD, ids=lambda rule: type(rule).__name__)
def test_with_an_error_from_the_output_all_activity_is_counted(rule):
    assert activation_memory(rule, SIZES, 100)["published"] == 4 * 100 * (64 + 50 + 40 + 30 + 10)


@pytest.mark.parametrize("rule", [FF, MonoForward()], ids=["forward-forward", "mono-forward"])
def test_with_local_losses_two_neighbours_and_the_input_are_counted(rule):
    assert activation_memory(rule, SIZES, 100)["published"] == 4 * 100 * (64 + (64 + 50))
    assert activation_memory(rule, (20, 50, 40, 30, 10), 100)["published"] == 4 * 100 * (20 + (50 + 40))


def test_appended_labels_are_input_too():
    rule = replace(FF, label="append")
    assert activation_memory(rule, SIZES, 100)["published"] == 4 * 100 * (74 + (74 + 50))


def test_by_the_formulas_depth_costs_backprop_memory_and_forward_forward_none():
    deeper = (*SIZES[:-1], 30, 30, 10)
    assert activation_memory(FF, deeper, 100)["published"] == activation_memory(FF, SIZES, 100)["published"]
    more = activation_memory(Backprop(), deeper, 100)["published"] - activation_memory(Backprop(), SIZES, 100)["published"]
    assert more == 4 * 100 * 60


BATCH = 400  # at this size arrays outweigh the few kB of Python objects


@pytest.mark.parametrize("rule", TOLD, ids=lambda rule: type(rule).__name__)
def test_measured_is_at_least_what_must_be_kept(rule):
    """The hidden activity and every layer's error; and at most four times that, for what a kernel holds for a moment."""
    kept = 4 * BATCH * (2 * (50 + 40 + 30) + 10)
    assert kept <= activation_memory(rule, SIZES, BATCH)["measured"] <= 4 * kept


def test_our_forward_forward_keeps_both_passes_of_every_layer():
    """What each layer receives and is sent, positive and negative: much more than the formula's one pass."""
    found = activation_memory(FF, SIZES, BATCH)
    kept = 4 * 2 * BATCH * ((64 + 50 + 40) + (50 + 40 + 30))
    assert found["published"] < kept <= found["measured"] <= 3 * kept


@pytest.mark.parametrize("rule", [Backprop(), FF, MonoForward()], ids=["backprop", "forward-forward", "mono-forward"])
def test_measured_memory_grows_with_depth(rule):
    """By at least a buffer and an error of each of the two new layers."""
    shallow, deep = (activation_memory(rule, sizes, BATCH)["measured"] for sizes in (SIZES, (*SIZES[:-1], 30, 30, 10)))
    assert deep - shallow >= 4 * BATCH * 2 * 60


@pytest.mark.parametrize("rule", [*TOLD, FF, MonoForward()], ids=lambda rule: type(rule).__name__)
def test_float64_takes_twice_the_memory(rule):
    """Of what is measured, but for what is drawn in any case and Python's own objects: a fifth."""
    single, double = (activation_memory(rule, SIZES, BATCH, dtype) for dtype in ("float32", "float64"))
    assert double["published"] == 2 * single["published"]
    assert double["measured"] == pytest.approx(2 * single["measured"], rel=0.2)


def test_a_rule_that_first_mirrors_is_measured_while_it_learns():
    rule = PEPITA(feedback="product", pre_mirror=3)
    late, early = (activation_memory(r, SIZES, BATCH)["measured"] for r in (rule, replace(rule, pre_mirror=0)))
    assert late == pytest.approx(early, rel=0.01)
