"""Overfitting and superior ability against two other libraries and simulated noise."""

import math
import warnings

import numpy as np
import pytest

from ktrdr.statistics.bootstrap import resampling_counts
from ktrdr.statistics.selection import N_BLOCKS, overfitting_probability, superior_ability_p_value

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the peers' own imports are not ours to mend
    import purgedcv
    from arch.bootstrap import SPA


def noise(seed, n_days=503, n_strategies=12, edge=0.0):
    returns = np.random.default_rng(seed).normal(0, 0.01, (n_days, n_strategies))
    returns[:, 0] += edge * 0.01
    return returns


@pytest.mark.parametrize("edge", [0.0, 0.05, 0.15])
def test_the_probability_of_overfitting_is_that_of_purgedcv(edge):
    for seed in range(3):
        returns = noise(seed, edge=edge)
        peer = purgedcv.probability_of_backtest_overfitting(returns.T, n_splits=N_BLOCKS)
        assert overfitting_probability(returns) == pytest.approx(peer.pbo, abs=1e-9)


def test_noise_is_overfitted_half_of_the_time_and_a_planted_edge_is_not():
    assert np.mean([overfitting_probability(noise(seed)) for seed in range(40)]) == pytest.approx(0.5, abs=0.08)
    assert overfitting_probability(noise(1, n_days=2000, edge=0.2)) < 0.02


def test_superior_ability_agrees_with_arch_where_all_strategies_are_equally_volatile():
    for seed, edge in ((1, 0.0), (2, 0.1), (3, 0.15), (4, 0.05)):
        returns = noise(seed, edge=edge)
        peer = SPA(np.zeros(len(returns)), -returns, block_size=5, reps=1000, seed=seed)
        peer.compute()
        assert superior_ability_p_value(returns, block=5.0, seed=seed) == pytest.approx(
            peer.pvalues["consistent"], abs=0.06
        )


def test_without_any_edge_superior_ability_is_found_in_about_one_of_twenty_cases():
    found = [superior_ability_p_value(noise(seed, n_days=250), block=2.0, seed=seed) <= 0.05 for seed in range(100)]
    assert 0.01 <= np.mean(found) <= 0.11


def test_counts_of_a_resample_add_up_and_agree_with_the_length_of_its_blocks():
    counts = resampling_counts(300, np.random.default_rng(1), 200, 1 / 10)
    assert (counts.sum(axis=1) == 300).all()
    series = np.sin(np.arange(300) / 3)
    spread = (counts @ series / 300).std() * math.sqrt(300)
    independent = (resampling_counts(300, np.random.default_rng(1), 200, 1.0) @ series / 300).std() * math.sqrt(300)
    assert spread > 1.3 * independent


@pytest.mark.parametrize("shape", [(49, 5), (200, 1)])
def test_too_little_to_choose_from_is_refused(shape):
    for measure in (overfitting_probability, lambda returns: superior_ability_p_value(returns, block=1.0, seed=1)):
        with pytest.raises(ValueError, match="50 days of 2 strategies"):
            measure(np.ones(shape))
