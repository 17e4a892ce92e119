"""The verdict: what statistics alone allow to be said of a backtest, whoever designed it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ktrdr.backtest.market_beta import market_beta
from ktrdr.backtest.metrics import mean_holding_days
from ktrdr.backtest.outcome import BacktestOutcome
from ktrdr.backtest.report import SelectionReport, SharpeTest, TrialHistory, VerdictReport, VerdictValue
from ktrdr.statistics.bootstrap import FEWEST_DAYS, sharpe_interval
from ktrdr.statistics.luck import (
    SharpeEstimate,
    estimate_sharpe,
    expected_maximum_normal,
    probabilistic_sharpe,
    years_to_confidence,
)
from ktrdr.statistics.performance import sharpe_ratio
from ktrdr.statistics.returns import FloatArray, ends_of_days

CONFIDENCE = 0.95
MINIMUM_TRADES = 30
POWER = 0.5  # of `years_needed`


def reach_verdict(
    outcome: BacktestOutcome,
    market_betas: list[float],
    history: TrialHistory,
    *,
    seed: int,
    selection: SelectionReport | None = None,
) -> VerdictReport:
    """Test a backtest against luck and against the market. Pure: equal arguments give equal verdicts.

    The net returns are tested, and the net returns less beta times buy-and-hold; the worse of the two counts. An edge
    must survive the subtraction with the betas given and with the one that the judged days themselves show.

    Args:
        outcome: The backtest; its report's own verdict is not looked at.
        market_betas: Per fold, from the rows that its networks were fitted on.
        history: What the trial ledger knows.
        seed: What the intervals' draws derive from, as for the backtest.
        selection: Of all trials of the same bars, to be reported beside; it decides nothing.

    Raises:
        ValueError: Not one beta per fold, or `n_trials` below 1.
    """
    metrics, curve = outcome.report.metrics, outcome.equity
    if len(market_betas) != outcome.report.window.n_folds:
        raise ValueError(f"need one beta per fold, was {len(market_betas)} for {outcome.report.window.n_folds}")
    net, held = curve.daily_returns().net_return, outcome.buy_and_hold.daily_returns().net_return
    fold_of_day = curve.fold[ends_of_days(curve.session_day)]
    tests = _Tests(
        history=history,
        days_per_year=metrics.days_per_year,
        years=outcome.report.window.years,
        shortest_block=mean_holding_days(outcome.trades, n_days=len(net)),
        seed=seed,
        is_traded=metrics.n_trades > 0,
        own_sharpe=estimate_sharpe(net) if len(net) >= 3 else None,
    )
    adjusted_returns = less_market(net, market_betas, held, fold_of_day, n_trials=history.n_trials)
    on_net, adjusted = tests.run(net), tests.run(adjusted_returns)
    value, reason = _decide(on_net, adjusted, metrics.n_trades)
    return VerdictReport(
        value=value,
        reason=reason,
        n_trials=history.n_trials,
        psr=_worse(min, on_net.psr, adjusted.psr),
        dsr=_worse(min, on_net.dsr, adjusted.dsr),
        years_needed=_worse(max, on_net.years_needed, adjusted.years_needed),
        power=POWER,
        n_trades=metrics.n_trades,
        expected_best_sharpe=expected_best_sharpe(history.n_trials, len(net), days_per_year=metrics.days_per_year),
        net=on_net,
        market_adjusted=adjusted,
        market_betas=market_betas,
        hindsight_beta=market_beta(net, held),
        history=history,
        selection=selection,
    )


@dataclass(frozen=True, slots=True)
class _Tests:
    """What the two tests of a verdict share."""

    history: TrialHistory
    days_per_year: float
    years: float
    shortest_block: float
    seed: int
    is_traded: bool
    own_sharpe: SharpeEstimate | None

    def run(self, daily: FloatArray) -> SharpeTest:
        """Test one series of returns per session day."""
        estimate = estimate_sharpe(daily) if self.is_traded and len(daily) >= 3 else None
        if estimate is None:
            return SharpeTest(sharpe_ratio=None, sharpe_ci95=None, psr=None, dsr=None, years_needed=None)
        n_trials = self.history.n_trials
        interval = None
        if len(daily) >= FEWEST_DAYS:
            interval = sharpe_interval(
                daily, days_per_year=self.days_per_year, shortest_block=self.shortest_block, seed=self.seed
            )
        years = years_to_confidence(
            estimate, days_per_year=self.days_per_year, n_trials=n_trials, confidence=CONFIDENCE
        )
        return SharpeTest(
            sharpe_ratio=sharpe_ratio(daily, days_per_year=self.days_per_year),
            sharpe_ci95=interval,
            psr=probabilistic_sharpe(estimate, expected_maximum_normal(n_trials) / math.sqrt(estimate.n - 1)),
            dsr=self._deflated(estimate),
            years_needed=None if years is None else max(0.0, years - self.years),
        )

    def _deflated(self, estimate: SharpeEstimate) -> float | None:
        # Bailey and Lopez de Prado (2014): the threshold from the variance of the trials' own ratios.
        if self.history.n_trials == 1:
            return probabilistic_sharpe(estimate, 0.0)
        others, own = self.history.other_sharpes, self.own_sharpe
        if others.count == 0 or own is None:
            return None
        squares = others.squares + (own.sharpe - others.mean) ** 2 * others.count / (others.count + 1)
        deviation = math.sqrt(squares / others.count)  # ddof 1 of count + 1 ratios
        return probabilistic_sharpe(estimate, deviation * expected_maximum_normal(self.history.n_trials))


def expected_best_sharpe(n_trials: int, n_days: int, *, days_per_year: float) -> float:
    """Return the annualised Sharpe ratio that the best of so many trials without skill would show in so many days."""
    return expected_maximum_normal(n_trials) * math.sqrt(days_per_year / (n_days - 1))


def less_market(
    net: FloatArray,
    market_betas: Sequence[float],
    held: FloatArray,
    fold_of_day: NDArray[np.int8],
    *,
    n_trials: int,
) -> FloatArray:
    """Return (n_days,) the net returns less beta times those of buy-and-hold, by whichever beta leaves less of an edge.

    The betas are those given, each for its fold's days, and the one that the judged days themselves show: a beta fitted
    elsewhere is off by chance, and what is left of a market that rose passes for an edge.
    """
    by_day = np.array(market_betas)[np.searchsorted(np.unique(fold_of_day), fold_of_day)]
    return min(net - by_day * held, net - market_beta(net, held) * held, key=lambda daily: _merit(daily, n_trials))


def _merit(daily: FloatArray, n_trials: int) -> float:
    """Return a number that is lower the less of an edge the test sees in a series of returns."""
    estimate = estimate_sharpe(daily) if len(daily) >= 3 else None
    if estimate is None:
        return -math.inf
    # Of the probability that is tested, before its distribution: that one is 1.0 for whatever is strong enough.
    return (estimate.sharpe * math.sqrt(estimate.n - 1) - expected_maximum_normal(n_trials)) / estimate.error_factor


def _decide(net: SharpeTest, adjusted: SharpeTest, n_trades: int) -> tuple[VerdictValue, str]:
    return decide_verdict(
        n_trades=n_trades,
        is_disproven=any(test.sharpe_ci95[1] <= 0 for test in (net, adjusted) if test.sharpe_ci95),
        psr=_worse(min, net.psr, adjusted.psr),
        has_edge=_worse(max, net.years_needed, adjusted.years_needed) is not None,
    )


def decide_verdict(*, n_trades: int, is_disproven: bool, psr: float | None, has_edge: bool) -> tuple[VerdictValue, str]:
    """Return a verdict's word and the slug of the rule that decided.

    Args:
        n_trades: Of the backtest.
        is_disproven: Whether one of the intervals lies below zero.
        psr: The smaller of the two tests', None where one could not be made.
        has_edge: Whether both tests' Sharpe ratios are above zero.
    """
    if n_trades == 0:
        return "inconclusive", "no_trades"
    if n_trades < MINIMUM_TRADES:
        return "inconclusive", "too_few_trades"
    if is_disproven:
        return "disproven", "interval_below_zero"
    if psr is not None and psr >= CONFIDENCE:
        return "candidate", "above_luck"
    return "inconclusive", "not_above_luck" if has_edge else "no_positive_edge"


def _worse(choose: Callable[[float, float], float], one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else choose(one, other)
