import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktrdr.statistics.performance import (
    RATIO_CAP,
    annual_growth,
    calmar_ratio,
    capped_ratio,
    max_drawdown,
    profit_factor,
    sharpe_ratio,
    sortino_ratio,
    win_rate,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # empyrical's own imports are not ours to mend
    import empyrical


@given(st.integers(0, 2**32 - 1), st.floats(50.0, 366.0))
@settings(max_examples=50, deadline=None)
def test_ratios_agree_with_empyrical_at_the_same_days_per_year(seed, days_per_year):
    rng = np.random.default_rng(seed)
    returns = rng.normal(rng.normal(0, 0.002), 0.01, 400)
    equity = 5000.0 * np.cumprod(1 + returns)
    years = len(returns) / days_per_year
    growth = annual_growth(equity[-1] / 5000.0 - 1, years=years)
    drawdown = max_drawdown(equity, initial_equity=5000.0)

    assert sharpe_ratio(returns, days_per_year=days_per_year) == pytest.approx(
        empyrical.sharpe_ratio(returns, annualization=days_per_year), rel=1e-9
    )
    assert sortino_ratio(returns, days_per_year=days_per_year) == pytest.approx(
        empyrical.sortino_ratio(returns, annualization=days_per_year), rel=1e-9
    )
    assert drawdown == pytest.approx(-empyrical.max_drawdown(returns), rel=1e-9)
    assert growth == pytest.approx(empyrical.cagr(returns, annualization=days_per_year), rel=1e-9)
    assert calmar_ratio(growth, drawdown) == pytest.approx(
        empyrical.calmar_ratio(returns, annualization=days_per_year), rel=1e-9
    )


def test_figures_of_a_small_account_are_those_worked_out_by_hand():
    returns = np.array([0.02, -0.01, 0.03, -0.02])  # mean 0.005, squared deviations 17e-4 in all
    assert sharpe_ratio(returns, days_per_year=256.0) == pytest.approx(0.005 / math.sqrt(17e-4 / 3) * 16)
    assert sortino_ratio(returns, days_per_year=256.0) == pytest.approx(0.005 / math.sqrt(5e-4 / 4) * 16)
    assert max_drawdown(np.array([90.0, 120.0, 84.0, 130.0]), initial_equity=100.0) == pytest.approx(0.3)
    assert max_drawdown(np.array([80.0, 90.0]), initial_equity=100.0) == pytest.approx(0.2)
    assert annual_growth(0.21, years=2.0) == pytest.approx(0.10)
    profits = np.array([30.0, -10.0, 0.0, 20.0, -15.0])
    assert win_rate(profits) == pytest.approx(0.4)
    assert profit_factor(profits) == pytest.approx(2.0)


def test_a_ratio_without_a_denominator_is_the_cap_with_the_sign_of_its_numerator():
    rising, falling = np.full(5, 0.01), np.full(5, -0.01)
    assert sharpe_ratio(rising, days_per_year=252.0) == RATIO_CAP
    assert sharpe_ratio(falling, days_per_year=252.0) == -RATIO_CAP
    assert sortino_ratio(rising, days_per_year=252.0) == RATIO_CAP
    assert calmar_ratio(0.1, 0.0) == RATIO_CAP
    assert profit_factor(np.array([1.0, 2.0])) == RATIO_CAP
    assert profit_factor(np.array([-1.0, -2.0])) == 0.0
    assert capped_ratio(0.0, 0.0) == 0.0


@given(st.floats(-1e12, 1e12), st.floats(0.0, 1e12))
@settings(max_examples=200, deadline=None)
def test_a_capped_ratio_is_finite_and_the_true_one_clipped(numerator, denominator):
    ratio = capped_ratio(numerator, denominator)
    assert abs(ratio) <= RATIO_CAP
    if denominator > 1e-300:
        assert ratio == pytest.approx(np.clip(numerator / denominator, -RATIO_CAP, RATIO_CAP))


def test_ruin_is_a_total_loss_and_debt_is_more_than_one():
    assert annual_growth(-1.3, years=0.5) == -1.0
    assert max_drawdown(np.array([200.0, -20.0]), initial_equity=100.0) == pytest.approx(1.1)


def test_growth_over_a_moment_is_capped_rather_than_infinite():
    assert annual_growth(0.5, years=1e-6) == RATIO_CAP
    assert annual_growth(-0.5, years=1e-6) == pytest.approx(-1.0)


@pytest.mark.parametrize(
    "figure",
    [
        lambda: sharpe_ratio(np.array([0.01]), days_per_year=252.0),
        lambda: sortino_ratio(np.array([0.01, np.nan]), days_per_year=252.0),
        lambda: sharpe_ratio(np.array([0.01, 0.02]), days_per_year=0.0),
        lambda: max_drawdown(np.array([]), initial_equity=100.0),
        lambda: annual_growth(math.inf, years=1.0),
        lambda: win_rate(np.array([])),
        lambda: profit_factor(np.array([math.nan])),
        lambda: capped_ratio(math.nan, 1.0),
        lambda: capped_ratio(1.0, -1.0),
    ],
)
def test_a_figure_that_does_not_exist_is_an_error_and_never_a_zero(figure):
    with pytest.raises(ValueError, match="need"):
        figure()
