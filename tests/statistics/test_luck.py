"""The Sharpe family against two other libraries, its authors' example and simulated luck."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktrdr.statistics.luck import (
    SharpeEstimate,
    estimate_sharpe,
    expected_maximum_normal,
    probabilistic_sharpe,
    years_to_confidence,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the peers' own imports are not ours to mend
    import purgedcv
    from skfolio.measures import deflated_sharpe_ratio, expected_max_sharpe_ratio, probabilistic_sharpe_ratio


def skewed_returns(seed, n=700):
    rng = np.random.default_rng(seed)
    return 0.01 * (rng.standard_t(5, n) + rng.normal(0.05, 0.05)) - 0.004 * rng.exponential(1, n)


@given(st.integers(0, 2**32 - 1), st.floats(-0.1, 0.2), st.integers(1, 10_000))
@settings(max_examples=60, deadline=None)
def test_the_family_agrees_with_skfolio_to_print_precision_and_with_purgedcv_nearly(seed, benchmark, n_trials):
    returns = skewed_returns(seed)
    estimate = estimate_sharpe(returns)
    ours = probabilistic_sharpe(estimate, benchmark)
    assert ours == pytest.approx(float(probabilistic_sharpe_ratio(returns, benchmark)), abs=1e-9)
    # Of the moments it takes the small-sample versions.
    assert ours == pytest.approx(purgedcv.probabilistic_sharpe_ratio(returns, benchmark), abs=5e-3)
    assert expected_maximum_normal(n_trials) == pytest.approx(expected_max_sharpe_ratio(n_trials, 1.0), abs=1e-9)


def test_deflation_by_the_trials_own_spread_agrees_with_skfolio():
    returns, sharpes = skewed_returns(4), np.random.default_rng(1).normal(0, 0.04, 60)
    threshold = float(sharpes.std(ddof=1)) * expected_maximum_normal(60)
    ours = probabilistic_sharpe(estimate_sharpe(returns), threshold)
    assert ours == pytest.approx(float(deflated_sharpe_ratio(returns, sharpes)), abs=1e-9)


def test_the_authors_own_example_comes_out():
    # Sharpe ratio 2.5 a year over five years of 250 days; 100 trials whose annual ratios have variance 1/2.
    threshold = math.sqrt(0.5 / 250) * expected_maximum_normal(100)
    estimate = SharpeEstimate(n=1250, sharpe=2.5 / math.sqrt(250), skewness=-3.0, kurtosis=10.0)
    assert threshold == pytest.approx(0.1132, abs=5e-5)
    assert probabilistic_sharpe(estimate, threshold) == pytest.approx(0.9004, abs=5e-5)


def test_the_expected_maximum_agrees_with_simulated_luck():
    luck = np.random.default_rng(7).standard_normal((20_000, 100)).max(axis=1)
    assert expected_maximum_normal(100) == pytest.approx(luck.mean(), rel=0.02)
    assert expected_maximum_normal(1) == 0.0


@pytest.mark.parametrize(("n_trials", "skewness", "kurtosis"), [(1, 0.0, 3.0), (60, -2.0, 12.0), (5000, 1.0, 6.0)])
def test_after_the_needed_years_of_the_same_moments_the_test_is_just_passed(n_trials, skewness, kurtosis):
    estimate = SharpeEstimate(n=900, sharpe=0.05, skewness=skewness, kurtosis=kurtosis)
    years = years_to_confidence(estimate, days_per_year=252.0, n_trials=n_trials, confidence=0.95)
    longer = SharpeEstimate(round(years * 252), estimate.sharpe, skewness, kurtosis)
    benchmark = expected_maximum_normal(n_trials) / math.sqrt(longer.n - 1)
    assert probabilistic_sharpe(longer, benchmark) == pytest.approx(0.95, abs=1e-3)


def test_the_needed_years_have_half_the_power_when_the_edge_is_what_it_seemed():
    daily, n_trials = 1.5 / math.sqrt(252), 20
    estimate = SharpeEstimate(n=900, sharpe=daily, skewness=0.0, kurtosis=3.0)
    n = round(252 * years_to_confidence(estimate, days_per_year=252.0, n_trials=n_trials, confidence=0.95))
    rng = np.random.default_rng(2)
    found = [estimate_sharpe(rng.normal(daily, 1.0, n)) for _ in range(1000)]
    benchmark = expected_maximum_normal(n_trials) / math.sqrt(n - 1)
    assert np.mean([probabilistic_sharpe(each, benchmark) >= 0.95 for each in found]) == pytest.approx(0.5, abs=0.05)


def test_without_an_edge_no_record_is_long_enough_and_without_variation_there_is_no_ratio():
    loser = estimate_sharpe(-np.abs(skewed_returns(1)))
    assert years_to_confidence(loser, days_per_year=252.0, n_trials=3, confidence=0.95) is None
    assert estimate_sharpe(np.full(50, 0.001)) is None
    for useless in (np.array([0.1, 0.2]), np.array([0.1, 0.2, np.nan])):
        with pytest.raises(ValueError, match="three finite returns"):
            estimate_sharpe(useless)
    with pytest.raises(ValueError, match="n_trials >= 1"):
        expected_maximum_normal(0)
