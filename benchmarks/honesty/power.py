"""How often a real edge is seen: through the verdict and the exam, beside the best that any test could do."""

from pathlib import Path
from statistics import NormalDist
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.honesty.laboratory import Laboratory
from benchmarks.honesty.noise import undone_moves
from benchmarks.honesty.records import DAYS_PER_YEAR, record_of
from ktrdr.backtest.outcome import BacktestOutcome
from ktrdr.backtest.report import TrialHistory
from ktrdr.evaluation.exam_power import required_psr
from ktrdr.evaluation.verdict import CONFIDENCE, reach_verdict
from ktrdr.statistics.luck import expected_maximum_normal

SHARPES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
YEARS = (2, 5, 10, 20)
TRIALS = (1, 20, 60)
WHOLE_MACHINE = ((2.0, 5), (3.0, 5), (3.0, 2))
"""Cells (planted ratio, out-of-sample years) that are also measured from bars on, training included."""

_DAILY_SD = 0.008
_SEALED_PER_TESTED = 0.3  # a fifth of all bars against five sixths of the rest
_NORMAL = NormalDist()
_STRATEGY = """
schema: 1
name: undone_moves
hypothesis: A day's move is undone by the next one.
market: {symbols: [NOISE], timeframe: 1d}
indicators: {change: {type: ROC, timeperiod: 1}}
fuzzy_sets: {change: {input: change, partition: [down, flat, up]}}
labels: {type: forward_return, horizon: 1}
model: {type: mlp, hidden: [8]}
training: {epochs: 20, batch_size: 64, learning_rate: 0.01, seeds: 1}
decision: {enter: 0.5, exit: 0.5}
"""


def planted_strategy() -> str:
    """Return the strategy that can learn what `undone_moves` plants."""
    return _STRATEGY


def best_power(sharpe_annual: float, years: float, z: float) -> float:
    """Return the power of the best one-sided test with critical value z: the spread known, returns normal.

    Source:
        Neyman & Pearson (1933): no test of this level detects a mean of known spread more often.
    """
    return _NORMAL.cdf(sharpe_annual * np.sqrt(years) - z)


def critical_value(n_trials: int) -> float:
    """Return the z at which a verdict with so many trials turns to `candidate`, for normal returns."""
    return _NORMAL.inv_cdf(CONFIDENCE) + expected_maximum_normal(n_trials)


def measure_cell(seed: int, sharpe_annual: float, years: int, *, n_draws: int) -> list[dict[str, object]]:
    """Draw records of a true ratio, of heavy-tailed days, and count verdicts and passed exams for each of `TRIALS`.

    `years` are out of sample; the sealed years are 0.3 of them, as a fifth of the bars is.
    """
    rng = np.random.default_rng([seed, round(100 * sharpe_annual), years])
    n_days, n_sealed = years * DAYS_PER_YEAR, round(years * _SEALED_PER_TESTED * DAYS_PER_YEAR)
    candidates, proven = dict.fromkeys(TRIALS, 0), dict.fromkeys(TRIALS, 0)
    for _ in range(n_draws):
        net, sealed = (_draw(rng, sharpe_annual, n) for n in (n_days, n_sealed))
        outcome = record_of(net, rng.normal(0.0003, 0.01, n_days))
        passed = _most_trials_passed(outcome, sharpe_annual, years)
        if passed == 0:
            continue
        of_sealed = record_of(sealed, rng.normal(0.0003, 0.01, n_sealed), n_folds=1)
        exam = reach_verdict(of_sealed, [0.0], TrialHistory(n_trials=1), seed=1).psr or 0.0
        for n_trials in TRIALS:
            candidates[n_trials] += n_trials <= passed
            proven[n_trials] += n_trials <= passed and exam >= required_psr(1)
    exam_z = _NORMAL.inv_cdf(required_psr(1))
    return [
        {
            "sharpe": sharpe_annual,
            "years": years,
            "n_trials": n_trials,
            "draws": n_draws,
            "candidates": candidates[n_trials],
            "proven": proven[n_trials],
            "best_power": best_power(sharpe_annual, years, critical_value(n_trials)),
            "best_power_proven": best_power(sharpe_annual, years, critical_value(n_trials))
            * best_power(sharpe_annual, years * _SEALED_PER_TESTED, exam_z),
        }
        for n_trials in TRIALS
    ]


def _most_trials_passed(outcome: BacktestOutcome, sharpe_annual: float, years: int) -> int:
    """Return with how many of `TRIALS` the record is still a candidate; 0 with none.

    More trials only raise the threshold, so one verdict often tells of all: the likely one is asked first.
    """

    def is_candidate(n_trials: int) -> bool:
        verdict = reach_verdict(outcome, [0.0] * 5, TrialHistory(n_trials=n_trials), seed=1)
        return verdict.value == "candidate"

    if best_power(sharpe_annual, years, critical_value(TRIALS[-1])) > 0.5:
        return next((n_trials for n_trials in reversed(TRIALS) if is_candidate(n_trials)), 0)
    passed = 0
    for n_trials in TRIALS:
        if not is_candidate(n_trials):
            break
        passed = n_trials
    return passed


def measure_whole_machine(seed: int, sharpe_annual: float, years: int, *, n_draws: int) -> dict[str, object]:
    """Plant the ratio in bars and let the laboratory find it, from import to exam, in one trial."""
    n_bars = round(years * 365.25 * 6 / 5 / 0.8)
    candidates = proven = 0
    for draw in range(n_draws):
        rng = np.random.default_rng([seed, 7, round(100 * sharpe_annual), years, draw])
        market = undone_moves(rng, sharpe_annual=sharpe_annual, n_bars=n_bars)
        with TemporaryDirectory() as folder:
            laboratory = Laboratory(Path(folder), market)
            trial = laboratory.try_design(laboratory.add(_STRATEGY), seed=draw)
            if trial is not None and trial.verdict.value == "candidate":
                candidates += 1
                exam = laboratory.examine(trial)
                proven += exam is not None and exam.outcome.passed
            laboratory.close()
    return {"sharpe": sharpe_annual, "years": years, "draws": n_draws, "candidates": candidates, "proven": proven}


def _draw(rng: np.random.Generator, sharpe_annual: float, n_days: int) -> np.ndarray:
    noise = rng.standard_t(5, n_days) * np.sqrt(3 / 5)
    return _DAILY_SD * (noise + sharpe_annual / np.sqrt(DAYS_PER_YEAR))
