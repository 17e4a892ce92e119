"""Which trials stand beside one another."""

import numpy as np
import polars as pl
import pytest

from ktrdr.backtest.artifacts import write_variant_returns
from ktrdr.evaluation.selection import compare_with_trials
from ktrdr.statistics.returns import DailyReturns
from ktrdr.statistics.selection import overfitting_probability

DAYS = np.arange(17_000, 17_300, dtype=np.int32)


@pytest.fixture
def keep(tmp_path):
    def keep(name, days, returns):
        path = tmp_path / f"{name}.parquet"
        frame = pl.DataFrame({"session_day": days, "net_return": returns})
        frame.with_columns(pl.col("session_day").cast(pl.Date)).write_parquet(path)
        return path

    return keep


def test_trials_of_the_same_days_are_compared_and_others_left_out(keep, tmp_path):
    rng = np.random.default_rng(3)
    own, first, second = rng.normal(0, 0.01, (3, 300))
    files = [
        keep("same", DAYS, first),
        keep("later_by_five", DAYS[5:], second[5:]),
        keep("idle", DAYS, np.zeros(300)),
        keep("elsewhen", DAYS + 200, first),
        tmp_path / "gone.parquet",
    ]
    report = compare_with_trials(DailyReturns(DAYS, own), files, seed=1)
    assert (report.n_trials, report.n_days) == (3, 295)
    expected = overfitting_probability(np.stack([own, second, first], axis=1)[5:])
    assert report.pbo == pytest.approx(expected)
    assert 0 < report.spa_p_value <= 1
    assert compare_with_trials(DailyReturns(DAYS, own), files[::-1], seed=1) == report


def test_one_trial_alone_or_without_a_trade_has_nothing_beside_it(keep):
    own = np.random.default_rng(1).normal(0, 0.01, 300)
    other = keep("other", DAYS, own[::-1])
    assert compare_with_trials(DailyReturns(DAYS, own), [], seed=1) is None
    assert compare_with_trials(DailyReturns(DAYS, np.zeros(300)), [other], seed=1) is None
    short = DailyReturns(DAYS[:30], own[:30])
    assert compare_with_trials(short, [other], seed=1) is None


def test_a_sweep_stands_beside_a_trial_with_all_its_variants_or_evenly_thinned(keep, tmp_path):
    rng = np.random.default_rng(5)
    own, single, winner = rng.normal(0, 0.01, (3, 300))
    copies = winner + rng.normal(0, 0.0005, (400, 300))
    copies[3] = own
    sweep = tmp_path / "sweep.parquet"
    write_variant_returns(sweep, DAYS, {number: column for number, column in enumerate(copies, 1)})
    files = [keep("single", DAYS, single), sweep]
    report = compare_with_trials(DailyReturns(DAYS, own), files, seed=1)
    assert report.n_trials == 401  # the own trial, the single one, and 400 without the repetition of the own one
    assert report.pbo == overfitting_probability(np.stack([own, single, *copies[:3], *copies[4:]], axis=1))
    thinned = compare_with_trials(DailyReturns(DAYS, own), files, seed=1, most_trials=42)
    assert thinned.n_trials == 42
    assert thinned.pbo == overfitting_probability(np.stack([own, single, *copies[::10]], axis=1))
    assert abs(thinned.spa_p_value - report.spa_p_value) < 0.1
