"""A line of the table of faithfulness: its interval, and the table itself."""

import numpy as np
import pytest
from hypothesis import given
from strategies import vectors

from ffnp.saliency.rows import Row, beats, interval, row, table


@given(vectors)
def test_the_interval_holds_the_mean(values):
    mean, low, high = interval(values)
    assert mean == values.mean() and low <= mean <= high


@given(vectors)
def test_the_interval_lies_within_the_values(values):
    """But for the rounding of a mean of at most 6 values."""
    _, low, high = interval(values)
    slack = 6 * np.finfo(float).eps * np.abs(values).max()
    assert values.min() - slack <= low and high <= values.max() + slack


@given(vectors)
def test_the_same_values_have_the_same_interval(values):
    assert interval(values) == interval(values.copy())


def test_of_normal_values_it_is_the_one_of_theory():
    """Mean +- 1.96 s / sqrt(n). Each end is a quantile of 1000 draws, whose error is 0.085 s / sqrt(n) (the root of p (1 - p) /
    1000 over the density there): four of them allowed."""
    values = np.random.default_rng(0).standard_normal(400)
    mean, low, high = interval(values)
    error = values.std() / 20
    np.testing.assert_allclose([low, high], [mean - 1.96 * error, mean + 1.96 * error], atol=4 * 0.085 * error)


def test_it_holds_the_true_mean_95_times_in_100():
    """Of 300 samples about 285: 4 deviations of such a count are 15."""
    rng = np.random.default_rng(0)
    low, high = np.transpose([interval(rng.random(50))[1:] for _ in range(300)])
    assert np.sum((low <= 0.5) & (high >= 0.5)) == pytest.approx(285, abs=15)


def test_it_shrinks_with_the_root_of_the_number_of_values():
    """Four times as many values halve it. The width of either is known to a tenth or so, as in the test above."""
    values = np.random.default_rng(0).random(100)
    widths = [high - low for _, low, high in map(interval, (values, np.tile(values, 4)))]
    assert widths[1] == pytest.approx(widths[0] / 2, rel=0.2)


def test_one_value_is_its_own_interval():
    assert interval(np.array([0.1])) == (0.1, 0.1, 0.1)


def test_no_value_has_none():
    assert np.isnan(interval(np.array([]))).all()


def test_images_without_a_value_are_left_out():
    values = np.array([0.5, np.nan, 0.25, np.nan])
    assert row("net", "ig", "area", values, "lower") == row("net", "ig", "area", values[::2], "lower")


def test_the_mean_of_single_precision_is_computed_in_double():
    values = np.random.default_rng(0).random(999).astype(np.float32)
    assert interval(values) == interval(values.astype(float))


def test_a_table_has_for_each_net_a_line_for_each_method_and_a_column_for_each_measure():
    rows = [Row(net, method, metric, 0.5, 0.25, 0.75, better)
            for metric, better in (("area (zero)", "lower"), ("corr", "higher")) for net in "ab" for method in ("ig", "grad")]
    below = ["      (zero)", "      lower   higher", "ig    0.500   0.500", "grad  0.500   0.500"]
    assert table(rows).splitlines() == ["a     area    corr", *below, "", "b     area    corr", *below]


def test_a_measure_that_a_method_lacks_is_left_empty():
    rows = [Row("ff", "ig", "area", 1, 1, 1, "lower"), Row("ff", "grad", "corr", 1, 1, 1, "higher")]
    assert table(rows).splitlines()[-2:] == ["ig    1.000", "grad         1.000"]


def test_a_net_has_no_column_for_a_measure_of_another():
    rows = [Row("ff", "ig", "area", 1, 1, 1, "lower"), Row("bp", "ig", "corr", 1, 1, 1, "higher")]
    assert ["area" in part for part in table(rows).split("\n\n")] == [True, False]


CONTROL = Row("ff", "random", "area", 0.5, 0.4, 0.6, "lower")


@pytest.mark.parametrize("low, high, better, beaten", [
    (0.1, 0.3, "lower", True), (0.1, 0.45, "lower", False), (0.7, 0.9, "lower", False),
    (0.7, 0.9, "higher", True), (0.55, 0.9, "higher", False), (0.1, 0.3, "higher", False), (np.nan, np.nan, "lower", False),
])
def test_a_method_beats_controls_if_its_interval_lies_beyond_theirs(low, high, better, beaten):
    own = Row("ff", "ig", "area", 0.2, low, high, better)
    assert beats(own, [CONTROL]) == beaten
    assert not beats(own, [CONTROL, own]) and not beats(own, [])


def test_what_beats_the_controls_of_its_net_and_measure_has_a_star():
    rows = [Row("ff", "ig", "area", 0.2, 0.1, 0.3, "lower"), CONTROL, Row("bp", "ig", "area", 0.2, 0.1, 0.3, "lower"),
            Row("bp", "random", "area", 0.1, 0.1, 0.1, "lower"), Row("ff", "ig", "corr", 0.2, 0.1, 0.3, "lower")]
    ff, bp, meaning = table(rows, ["random"]).split("\n\n")
    assert ff.splitlines()[-2:] == ["ig      0.200*  0.200", "random  0.500"] and "*" not in bp
    assert meaning == "* better than random: 95 % intervals apart"
    assert "*" not in table(rows)
