"""The interval against arch's bootstrap, and its coverage by simulation."""

import math
import warnings

import numpy as np
import pytest
import scipy.stats

from ktrdr.statistics.bootstrap import intervals_below_zero, optimal_block_length, resampled_ratios, sharpe_interval

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # arch's own imports are not ours to mend
    from arch.bootstrap import StationaryBootstrap
    from arch.bootstrap import optimal_block_length as arch_block_length


def autocorrelated(seed, n, persistence, mean=0.0):
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(n + 100)
    values = np.zeros(n + 100)
    for place in range(1, n + 100):
        values[place] = persistence * values[place - 1] + noise[place]
    return mean + values[100:]


@pytest.mark.parametrize(("n", "persistence"), [(60, 0.0), (400, 0.0), (400, 0.3), (1500, 0.7), (1500, -0.4)])
def test_the_block_length_is_that_of_arch(n, persistence):
    for seed in range(5):
        series = autocorrelated(seed, n, persistence)
        assert optimal_block_length(series) == pytest.approx(arch_block_length(series)["stationary"].iloc[0], rel=1e-9)


def test_the_draws_have_the_distribution_of_archs_stationary_bootstrap():
    returns, block = autocorrelated(3, 500, 0.4, mean=0.1), 12.0
    reference = StationaryBootstrap(block, returns, seed=5).apply(lambda x: x.mean() / x.std(ddof=1), 4000)[:, 0]
    ours = resampled_ratios(returns, np.random.default_rng(5), 4000, 1 / block)
    assert scipy.stats.ks_2samp(ours, reference).pvalue > 0.05


@pytest.mark.parametrize(
    ("n_records", "persistence", "least"),
    [
        (100, 0.0, 0.88),
        pytest.param(1000, 0.0, 0.93, marks=pytest.mark.slow),
        pytest.param(1000, 0.3, 0.90, marks=pytest.mark.slow),
    ],
)
def test_the_interval_covers_the_true_ratio_about_as_often_as_it_says(n_records, persistence, least):
    mean, n, covered = 0.06, 750, []
    truth = mean * math.sqrt(1 - persistence**2) * math.sqrt(252)
    for seed in range(n_records):
        returns = autocorrelated(seed, n, persistence, mean)
        low, high = sharpe_interval(returns, days_per_year=252.0, shortest_block=1.0, seed=seed)
        covered.append(low <= truth <= high)
    assert least <= np.mean(covered) <= 0.99


def test_longer_blocks_widen_the_interval_of_a_position_held_for_long():
    returns = autocorrelated(8, 600, 0.9)
    drawn = [resampled_ratios(returns, np.random.default_rng(1), 2000, 1 / block).std() for block in (1.0, 30.0)]
    assert drawn[1] > 2 * drawn[0]
    chosen = optimal_block_length(returns)
    widths = [
        np.ptp(sharpe_interval(returns, days_per_year=252.0, shortest_block=block, seed=1))
        for block in (1.0, chosen, chosen / 2, 4 * chosen)
    ]
    assert widths[0] == widths[1] == widths[2] != widths[3]


def test_equal_arguments_give_equal_intervals_and_degenerate_returns_stay_finite():
    returns = autocorrelated(1, 300, 0.1)
    first, again, other = (
        sharpe_interval(returns, days_per_year=252.0, shortest_block=2.0, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert sharpe_interval(np.zeros(50), days_per_year=252.0, shortest_block=1.0, seed=0) == (0.0, 0.0)
    single = np.concatenate([np.zeros(99), [0.01]])  # most resamples that hold it hold nothing else
    low, high = sharpe_interval(single, days_per_year=252.0, shortest_block=1.0, seed=0)
    assert 0.0 <= low < high < 10
    with pytest.raises(ValueError, match="10 finite"):
        sharpe_interval(np.ones(4), days_per_year=252.0, shortest_block=1.0, seed=0)


def test_which_of_many_intervals_lie_below_zero_is_what_each_says_by_itself():
    rng = np.random.default_rng(8)
    drifts = np.linspace(-2.6, -1.4, 40)  # around where the upper end crosses zero
    series = rng.normal(0, 0.01, (40, 300))
    series += (drifts * series.std(axis=1) / np.sqrt(300) - series.mean(axis=1))[:, None]
    blocks = rng.uniform(0, 4, 40)
    highs = [
        sharpe_interval(each, days_per_year=250.0, shortest_block=block, seed=4)[1]
        for each, block in zip(series, blocks, strict=True)
    ]
    found = intervals_below_zero(series, days_per_year=250.0, shortest_blocks=blocks, seed=4)
    assert found.tolist() == [high <= 0 for high in highs]
    assert 5 < found.sum() < 35
