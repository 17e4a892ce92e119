"""The measurement of the laboratory's honesty, small: it counts what it tries, sees an edge, and is not fooled."""

import json

import numpy as np
import pytest

from benchmarks.honesty.laboratory import Laboratory
from benchmarks.honesty.noise import undone_moves
from benchmarks.honesty.power import best_power, critical_value, planted_strategy
from benchmarks.honesty.search import near, run_search
from benchmarks.honesty.summary import clopper_pearson
from benchmarks.honesty.unskilled import count_near_copies, count_with_losers
from ktrdr.backtest.report import VerdictReport


def test_an_adaptive_search_on_noise_counts_every_trial_and_proves_nothing():
    record = run_search(1, 2, n_designs=2, fewest=8, most=8)  # the second kind: a real series with shuffled phases
    assert record.n_counted == record.n_trials == 8 + len(record.failures)
    assert record.n_designs == 2
    assert record.faults == []
    assert not record.is_proven
    assert record.best_sharpe > 0  # the best of a search looks good
    json.dumps(record.document(), allow_nan=False)


def test_a_planted_edge_becomes_a_candidate_and_is_proven_once(tmp_path):
    market = undone_moves(np.random.default_rng(3), sharpe_annual=8.0, n_bars=1800)
    laboratory = Laboratory(tmp_path, market)
    trial = laboratory.try_design(laboratory.add(planted_strategy()), seed=1)
    assert (trial.verdict.value, trial.verdict.n_trials, trial.alone) == ("candidate", 1, "candidate")
    exam = laboratory.examine(trial)
    assert exam.outcome.passed
    assert (exam.look, exam.window.n_bars) == (1, 365)
    assert laboratory.examine(trial) is None  # sealed bars are not asked twice
    variant = laboratory.try_variant(
        trial.trained, near(trial.trained.specification, np.random.default_rng(1), "other_rules")
    )
    assert variant.verdict.n_trials == laboratory.ledger.count() == 2
    assert variant.verdict.expected_best_sharpe > trial.verdict.expected_best_sharpe == 0
    kept = laboratory.ledger.outcome(variant.trial_id)["verdict"]
    assert VerdictReport.model_validate(kept) == variant.verdict
    assert laboratory.faults() == []
    if variant.verdict.value == "candidate":
        assert laboratory.examine(variant).look == 2
    laboratory.close()


def test_near_copies_of_a_lucky_trial_and_losers_among_the_trials_change_nothing():
    copies = count_near_copies(1, n_searches=4)
    assert copies["candidates"] == 0
    assert copies["deflated_by_their_own_variance"] >= 1  # what a threshold by the trials' own variance would say
    losers = count_with_losers(1, n_draws=8, years=3, sharpe_annual=3.0)
    assert losers["with_losers"]["candidates"] == losers["without_losers"]["candidates"] > 2
    assert losers["with_losers"]["dsr"] < losers["without_losers"]["dsr"]


def test_the_bounds_are_those_of_the_textbook():
    # Clopper & Pearson's interval of none among n is 1 - (alpha/2)^(1/n).
    assert clopper_pearson(0, 500) == (0.0, pytest.approx(1 - 0.025 ** (1 / 500)))
    assert best_power(0.0, 7, critical_value(1)) == pytest.approx(0.05)
    draws = np.random.default_rng(1).standard_normal(200_000) + 1.5 * np.sqrt(5)
    assert best_power(1.5, 5, critical_value(20)) == pytest.approx((draws > critical_value(20)).mean(), abs=0.004)
