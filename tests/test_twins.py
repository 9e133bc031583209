"""The torch twins and the rules agree beyond the presets: any settings, any optimiser, every kind of epoch; in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from networks import KERNELS, each_backend
from strategies import any_rules, seeds
from tiny import recipe

from ffnp.backend import threads
from ffnp.kernels import reference
from ffnp.net import Dense
from ffnp.optim import VELOCITIES, Optimiser, Optimisers
from ffnp.rules import PEPITA, RULES, Backprop, FeedbackAlignment, ForwardForward
from ffnp.rules.rule import Moment
from ffnp.verify import check
from ffnp.verify.forward_forward import hybrids, wrong_labels
from ffnp.verify.twin import Watch, dropout_mask, gradient, leaves
from ffnp.verify.twins import TWINS

STEP = Optimiser("sgd", 0.01)
EVERYWHERE = Optimisers(STEP, STEP, STEP)
BOUND = 1e-10  # what the check asks of one update in float64


def differences(k, preset, moment, seed=0):
    """Of the first update, and of the weights after four steps; and whether the twin met a kink, or the difference of
    equal numbers: those of a layer with one unit left, normalised, are 1 and 1."""
    with threads(1, "numpy"):
        case = check.drawn(preset, "random", moment, seed)
        case = case._replace(batches=case.batches[:4])
        twin, ours = check.twin_course(case), check.our_course(case, k, "float64")
    pairs = (ours.updates, twin.course.updates), (ours.weights, twin.course.weights)
    return max(check.difference(*pair) for pair in pairs), twin.clearance < 1e-12 or twin.worst > 1e5


def test_every_rule_has_a_twin():
    assert set(TWINS) == set(RULES.values())


@each_backend
@settings(max_examples=60)
@given(rule=any_rules, seed=seeds)
def test_a_rule_of_any_settings_moves_the_weights_as_its_twin_does(k, rule, seed):
    preset = recipe(rule, hidden=(7, 5), bias="fan_in_uniform")
    difference, degenerate = differences(k, replace(preset, optimisers=EVERYWHERE), Moment(), seed)
    assume(not degenerate)
    assert difference <= BOUND


SYMBA = {"loss": "symba", "norm_input": False, "tiny": 1e-4, "dropout": 0.9, "softmax_from": 1}
ALL_ROUNDING = {  # found by the test above
    "one unit is left, its weights have one sign, and the sum of e is 0": (
        FeedbackAlignment(dropout=0.9, matrices="sign", scale=0.1), 94940),
    "so in the first layer": (FeedbackAlignment(dropout=0.9, matrices="sign", scale=0.1), 101183),
    "1 - p of the one positive that counts": (
        ForwardForward(**SYMBA, alpha=4.0, goodness="mean", theta=0.5, theta_per_unit=False, label="append", strength=2.5,
                       neutral=0.0, goodness_from=1), 880),
}


@each_backend
@pytest.mark.parametrize(("rule", "seed"), ALL_ROUNDING.values(), ids=ALL_ROUNDING)
def test_a_difference_that_is_all_rounding_is_noticed(k, rule, seed):
    preset = recipe(rule, hidden=(7, 5), bias="fan_in_uniform")
    difference, degenerate = differences(k, replace(preset, optimisers=EVERYWHERE), Moment(), seed)
    assert difference > BOUND and degenerate


MOMENTS = {
    "a mirror alone": (PEPITA(feedback="product", pre_mirror=2, dropout=0.2), Moment(epoch=2)),
    "a linear top": (PEPITA(feedback="product", pre_mirror=2, mirror_top="linear", activation="tanh"), Moment(epoch=1)),
    "mirror and learn": (PEPITA(feedback="product", pre_mirror=2, mirror_every=3), Moment(epoch=3)),
    "learn between mirrors": (PEPITA(feedback="product", pre_mirror=2, mirror_every=3), Moment(epoch=4)),
    "mirrors of feedback alone": (FeedbackAlignment(matrices="mirror", pre_mirror=1), Moment(epoch=1)),
    "and while learning": (FeedbackAlignment(matrices="mirror", pre_mirror=1, dropout=0.2), Moment(epoch=2)),
    "the second layer's turn": (ForwardForward(negatives="permuted", schedule="layerwise", peer=0.1), Moment(stage=1)),
    "the head's turn": (ForwardForward(negatives="permuted once", schedule="layerwise"), Moment(stage=2)),
}


@each_backend
@pytest.mark.parametrize(("rule", "moment"), MOMENTS.values(), ids=MOMENTS)
def test_in_every_kind_of_epoch(k, rule, moment):
    difference, _ = differences(k, replace(recipe(rule, hidden=(7, 5)), optimisers=EVERYWHERE), moment)
    assert difference <= BOUND


@pytest.mark.parametrize("decay_biases", [False, True])
@pytest.mark.parametrize("decay_kind", ["decoupled", "l2"])
@pytest.mark.parametrize("kind", [*VELOCITIES, "adam"])
def test_every_optimiser_is_torchs(kind, decay_kind, decay_biases):
    step = Optimiser(kind, 0.05, 0.8, decay=0.1, decay_kind=decay_kind, decay_biases=decay_biases)
    difference, _ = differences(KERNELS["numpy"], replace(recipe(Backprop("tanh")), optimisers=Optimisers(step)), Moment())
    assert difference <= BOUND


# ----- the twins themselves -----


def test_a_twins_head_does_not_move_the_layers_nor_the_layers_each_other():
    """A change of the second layer changes no gradient of the first, as one of the first does of the second."""
    rule = ForwardForward(negatives="uniform")
    case = check.drawn(recipe(rule, hidden=(7, 5)), "random", Moment(), 0)
    changed = case._replace(net=case.net._replace(layers=(case.net.layers[0], Dense(-case.net.layers[1].W, None))))
    first, second = (check.twin_course(c).course.updates for c in (case, changed))
    np.testing.assert_array_equal(first["0.layers.0.W"], second["0.layers.0.W"])
    assert (first["0.layers.1.W"] != second["0.layers.1.W"]).any()


def test_gradient_passes_over_missing_biases():
    layer, = leaves([Dense(torch.ones(2, 3, dtype=torch.float64), None)])
    found, = gradient((2 * layer.W).sum(), [layer])
    assert found.b is None and (found.W == 2).all()


def test_leaves_are_copies():
    W = torch.ones(2, 3)
    layer, = leaves([Dense(W, None)])
    assert layer.W.requires_grad and layer.W.data_ptr() != W.data_ptr() and not W.requires_grad


@given(seed=seeds)
def test_a_twins_mask_is_the_contracts(seed):
    h = np.random.default_rng(seed).standard_normal((5, 7))
    np.testing.assert_array_equal((dropout_mask(0.4, (5, 7), seed) * torch.from_numpy(h)).numpy() != 0,
                                  reference.dropout(h, 0.4, seed) != 0)


@pytest.mark.parametrize("negatives", ["hard", "uniform"])
def test_a_twins_wrong_labels_are_never_right(negatives):
    rng, y = np.random.default_rng(0), torch.arange(400) % 4
    rule = ForwardForward(negatives=negatives)
    wrong = wrong_labels(rule, y, torch.from_numpy(rng.standard_normal((400, 4))), 4, rng, Watch())
    assert (wrong != y).all() and set(wrong.tolist()) == {0, 1, 2, 3}


def test_a_twins_hybrids_take_every_pixel_from_one_of_two_images():
    rule = RULES["unsupervised-forward-forward"](shape=(4, 5, 2))
    x = torch.arange(3 * 40).reshape(3, 40).to(torch.float64)
    mixed = hybrids(rule, x, np.random.default_rng(0)).remainder(40)
    assert (mixed == x.remainder(40)).all()
