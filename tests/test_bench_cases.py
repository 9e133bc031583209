"""The cases of `ffnp bench`: what the textbook computes in each, what contenders are given, and what we answer."""

from dataclasses import replace

import numpy as np
import pytest
from racers import TINY
from tqdm import tqdm

from ffnp.backend import load_backend
from ffnp.bench import in_blas
from ffnp.bench.cases import CASES, COLUMNS, INPUTS, SCALES, case_named, doubled, initial, products, rows
from ffnp.bench.in_ffnp import plain, training
from ffnp.data import load
from ffnp.errors import UserError
from ffnp.rules.rule import Moment
from ffnp.run import Run
from ffnp.training import Split, learn

each_case = pytest.mark.parametrize("case", [*CASES.values(), *(case for family in SCALES.values() for case in family)],
                                    ids=lambda case: case.name)
each_tiny_case = pytest.mark.parametrize("case", TINY.values(), ids=TINY)
each_training = pytest.mark.parametrize("case", [case for case in TINY.values() if case.kind == "training"],
                                        ids=lambda case: case.name)


@pytest.fixture(autouse=True)
def only_what_ships(monkeypatch, tmp_path):
    """No MNIST, whatever is at hand."""
    monkeypatch.setenv("FFNP_DATA", str(tmp_path / "data"))


# ----- the textbook's work -----


@pytest.mark.parametrize("name, multiply_adds", {
    "ff-hinton2022": 20 * 100 * (5 * (784_000 + 2 * 1_000_000) + 2 * 20_000),  # three passes, two updates; the head's
    "ff-2000x4": 5 * 100 * (5 * (1_568_000 + 3 * 4_000_000) + 2 * 60_000),
    "ff-mean-adam": 2 * 500 * 4 * (1_568_000 + 3 * 4_000_000),  # no head
    "pepita": 100 * 64 * (3 * (784 * 1024 + 10_240) + 7_840),  # two passes, an update, F e
    "bp": 100 * 64 * (3 * (784 * 1024 + 10_240) - 784 * 1024),  # nothing is brought back to the image
    "fa": 20 * 64 * (3 * (784 * 1024 + 4 * 1024**2 + 10_240) - 784 * 1024),
    "prediction": 10_000 * 10 * (784_000 + 2 * 1_000_000),
    "saliency-ads": 100 * 36 * 10 * (784_000 + 2 * 1_000_000),
}.items())
def test_the_work_is_two_operations_a_multiply_add_of_the_textbook(name, multiply_adds):
    assert CASES[name].work == 2 * multiply_adds


@each_tiny_case
def test_blas_multiplies_as_much_as_the_work_says(case, monkeypatch):
    done, matmul = [], np.matmul

    def counted(a, b, out):
        done.append(2 * a.shape[0] * a.shape[1] * b.shape[1])
        return matmul(a, b, out=out)
    monkeypatch.setattr(np, "matmul", counted)
    assert in_blas.products_only(case, initial(case), *rows(case), 1)() == []
    assert sum(done) == case.work


@each_tiny_case
def test_a_product_has_the_form_it_is_named_for(case):
    shapes = {"forward": lambda p: (p.rows, p.outputs), "back": lambda p: (p.rows, p.inputs),
              "update": lambda p: (p.inputs, p.outputs)}
    for p in products(case):
        product = in_blas.multiplication(p, lambda *shape: np.ones(shape), lambda *shape: np.empty(shape))()
        assert product.shape == shapes[p.form](p)


@pytest.mark.parametrize("name, numbers", {
    "tiny-bp": 8 * (784 + 12 + 10) + 2 * 12 * (784 + 10),  # input and answers, weights and their velocities
    "tiny-ff-mean-adam": 8 * (784 + 2 * 4 * 12) + 3 * 12 * (784 + 3 * 12),  # two passes; two moments
    "tiny-ff-hinton2022": 8 * (784 + 3 * 3 * 12 + 10) + 2 * (12 * (784 + 2 * 12) + 24 * 10),  # three passes, and the head
    "tiny-pepita": 8 * (784 + 2 * 22) + 2 * 12 * (784 + 10) + 7840,  # two passes; F stays
    "tiny-fa": 8 * (784 + 5 * 12 + 10) + 2 * 12 * (784 + 4 * 12 + 10) + 12 * (4 * 12 + 10),  # other matrices, which stay
    "tiny-prediction": 8 * (784 + 10 * 3 * 12) + 12 * (784 + 2 * 12),  # ten labels, no head; nothing is remembered
}.items())
def test_what_is_touched_is_counted_once_a_batch(name, numbers):
    assert TINY[name].touched == 4 * 4 * numbers


# ----- cases -----


@each_case
def test_all_contenders_can_do_what_a_case_asks(case):
    """Rows in the data's order and no masks; full batches."""
    assert not case.preset.shuffle and case.preset.shift == 0 and case.preset.rule.dropout == 0
    assert case.rows == case.steps * case.preset.batch


@each_case
def test_every_case_is_found_by_its_name(case):
    assert case_named(case.name) is case


def test_an_unknown_case_is_named():
    with pytest.raises(UserError, match="there is no case 'zebra'; choose one of ff-hinton2022, "):
        case_named("zebra")


@pytest.mark.parametrize("most", range(1, 20))
def test_a_family_of_threads_doubles_up_to_all_cores(most):
    steps = doubled(most)
    assert (steps[0], steps[-1]) == (1, most)
    assert all(a < b <= 2 * a for a, b in zip(steps, steps[1:], strict=False))


@pytest.mark.parametrize("what, told", {
    "width": lambda case: case.preset.hidden[0], "depth": lambda case: len(case.preset.hidden),
    "batch": lambda case: case.batch, "threads": lambda case: case.threads,
}.items())
def test_a_family_varies_one_thing(what, told):
    sizes = [told(case) for case in SCALES[what]]
    assert sizes == sorted(set(sizes))
    assert [case.name for case in SCALES[what]] == [f"ff-{what}-{n}" for n in sizes]
    assert {case.rows for case in SCALES[what]} == {2000}


# ----- rows -----


def test_rows_are_training_images_that_do_not_validate_in_order():
    x, y = rows(CASES["ff-hinton2022"])
    data = load("fashion-mini")
    learned = [i for i in range(2400) if i % 6 != 5]
    np.testing.assert_array_equal(x, data.x_train[learned])
    np.testing.assert_array_equal(y, data.y_train[learned])
    assert (x.dtype, y.dtype, x.flags.c_contiguous) == (np.float32, np.int64, True)


def test_too_few_rows_begin_again():
    x, y = rows(CASES["prediction"])
    n = len(load("fashion-mini").x_train) * 5 // 6 + 1  # 5,000 is not a multiple of 6
    assert len(x) == len(y) == 10_000
    np.testing.assert_array_equal(x[n : 2 * n], x[:n])
    np.testing.assert_array_equal(y[n : 2 * n], y[:n])


def test_rows_are_standardised_as_the_preset_wants():
    case = TINY["tiny-ff-mean-adam"]
    raw, _ = rows(case._replace(preset=replace(case.preset, standardise=None)))
    np.testing.assert_allclose(rows(case)[0], (raw - 0.1307) / 0.3081, rtol=1e-6, atol=1e-6)


def test_an_epoch_of_mnist_needs_mnist():
    with pytest.raises(UserError, match="ff-hinton2022-epoch is an epoch of MNIST, which is not here: ffnp data fetch mnist"):
        rows(CASES["ff-hinton2022-epoch"])


# ----- ourselves -----

@each_training
def test_a_run_is_an_epoch_of_training(case):
    """The same numbers, to the bit."""
    k, preset, (x, y) = load_backend("numpy"), case.preset, rows(case)
    net = initial(case)
    run = Run(net, preset.optimisers.init(k, net), preset, {"backend": "numpy", "seed": 0})
    _, metrics = learn(run, Split(x, y, x[:0], y[:0]), 1, Moment(), 1.0, tqdm(disable=True))
    expected = np.mean([np.hstack(list(m.values())) for m in metrics], axis=0)
    assert training("numpy", case, initial(case), x, y)() == expected.tolist()


@each_training
def test_runs_go_on_where_the_last_one_ended(case):
    x, y = rows(case._replace(steps=2 * case.steps))
    run = training("numpy", case, initial(case), *rows(case))
    same = x[: case.rows], y[: case.rows]
    twice = training("numpy", case, initial(case), *(np.concatenate([a, a]) for a in same))
    np.testing.assert_allclose(np.mean([run(), run()], axis=0), twice(), rtol=1e-12)


def test_a_contender_leaves_what_it_is_given():
    case = TINY["tiny-ff-hinton2022"]
    net, (x, y) = initial(case), rows(case)
    plain(case, net, x, y, 1)()
    assert (net.layers[0].W == initial(case).layers[0].W).all()
    assert (x == rows(case)[0]).all()


def test_prediction_answers_the_mean_goodness_of_every_label():
    case = TINY["tiny-prediction"]
    net, (x, y) = initial(case), rows(case)
    by_rule = case.preset.rule.by_goodness(load_backend("numpy"), net, x)
    np.testing.assert_allclose(plain(case, net, x, y, 1)(), by_rule.mean(axis=0), rtol=1e-5)  # 32 rows, sums of 12 squares


def test_saliency_answers_the_goodness_of_the_label_under_every_window():
    case = TINY["tiny-saliency-ads"]
    net, (x, y) = initial(case), rows(case)
    masked = x.copy()
    masked[:, COLUMNS[7]] = 0
    expected = case.preset.rule.by_goodness(load_backend("numpy"), net, masked)[np.arange(len(y)), y].mean()
    numbers = plain(case, net, x, y, 1)()
    assert len(numbers) == len(COLUMNS) and numbers[7] == pytest.approx(expected, rel=1e-5)


def test_the_windows_of_saliency_cover_every_input_once():
    np.testing.assert_array_equal(np.sort(np.concatenate(COLUMNS)), np.arange(INPUTS))
