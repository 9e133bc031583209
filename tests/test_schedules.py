"""The learning-rate schedules against their published values and formulas."""

import pytest
from hypothesis import given
from strategies import epochs_of

from ffnp.optim import SCHEDULES


@pytest.mark.parametrize(("name", "E", "factors"), [
    ("constant", 3, [1, 1, 1]),
    ("step", 10, [1, 1, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01]),
    ("cosine", 4, [1, 0.5 + 0.125**0.5, 0.5, 0.5 - 0.125**0.5]),
    ("hinton", 4, [1, 1, 3 / 4, 1 / 4]),
    ("hinton", 5, [1, 1, 1, 3 / 5, 1 / 5]),
    ("loewe", 4, [1, 1, 1, 4 / 4]),
    ("loewe", 8, [1, 1, 1, 1, 1, 8 / 8, 6 / 8, 4 / 8]),
    ("loewe", 1, [1]),
])
def test_schedules_have_their_published_values(name, E, factors):
    assert [SCHEDULES[name](e, E) for e in range(1, E + 1)] == pytest.approx(factors, rel=1e-14)


@given(epoch=epochs_of)
def test_every_factor_is_positive_and_finite(epoch):
    for name, schedule in SCHEDULES.items():
        assert 0 < schedule(*epoch) <= (1 + 1 / epoch[1] if name == "loewe" else 1)


@given(epoch=epochs_of)
def test_hintons_gain_is_one_for_half_and_then_falls_to_one_epochs_share(epoch):
    e, E = epoch
    assert SCHEDULES["hinton"](e, E) == (1 if e <= E / 2 else (1 + 2 * (E - e)) / E)
    assert SCHEDULES["hinton"](E, E) == 1 / E


@given(epoch=epochs_of)
def test_loewes_rate_cools_after_the_middle_and_ends_at_four_epochs_share(epoch):
    """His epochs count from 0: the rate is 2 (1 + E - epoch) / E once epoch > E // 2."""
    epoch, E = epoch[0] - 1, epoch[1]
    assert SCHEDULES["loewe"](epoch + 1, E) == (2 * (1 + E - epoch) / E if epoch > E // 2 else 1)
    assert E < 3 or SCHEDULES["loewe"](E, E) == 4 / E


@pytest.mark.parametrize("E", [10, 20, 50, 100, 1000])
def test_the_step_schedule_drops_tenfold_after_60_and_after_90_percent(E):
    rates = [SCHEDULES["step"](e, E) for e in range(1, E + 1)]
    drops = [e for e in range(1, E) if rates[e] != rates[e - 1]]  # epochs after which the rate drops
    assert drops == [6 * E // 10, 9 * E // 10]
    assert (rates[0], rates[-1]) == pytest.approx((1, 0.01))
