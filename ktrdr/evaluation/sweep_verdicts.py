"""The verdicts of a sweep's variants: what `reach_verdict` would say of each, without what is only reported."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ktrdr.backtest.report import VerdictValue
from ktrdr.backtest.sweep import SweepOutcome
from ktrdr.evaluation.verdict import MINIMUM_TRADES, decide_verdict, less_market
from ktrdr.statistics.bootstrap import FEWEST_DAYS, intervals_below_zero
from ktrdr.statistics.luck import estimate_sharpe, expected_maximum_normal, probabilistic_sharpe
from ktrdr.statistics.returns import FloatArray

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class VariantVerdict:
    """`value`, `reason` and `psr` of the verdict on one variant, as a `VerdictReport` has them."""

    value: VerdictValue
    reason: str
    psr: float | None


def reach_sweep_verdicts(outcome: SweepOutcome, *, n_trials: int, seed: int) -> list[VariantVerdict]:
    """Return the verdict on every variant, `value`, `reason` and `psr` equal to those of `reach_verdict`.

    The estimates are made by the same functions. Of the intervals of the Sharpe ratios only it matters whether one lies
    below zero, and only with trades enough to say more than `inconclusive`; `intervals_below_zero` tells that.

    Args:
        outcome: The sweep.
        n_trials: All trials of the workspace after every variant was counted.
        seed: As of the backtest.
    """
    n_days = len(outcome.held)
    benchmark = expected_maximum_normal(n_trials) / math.sqrt(n_days - 1)
    adjusted = _less_market(outcome, n_trials)
    is_disproven = _disproven(outcome, adjusted, seed)
    verdicts = []
    for number, metrics in enumerate(outcome.metrics):
        series = (outcome.net_return[number], adjusted[number])
        estimates = [estimate_sharpe(each) if metrics.n_trades > 0 and n_days >= 3 else None for each in series]
        ratios = [probabilistic_sharpe(each, benchmark) for each in estimates if each is not None]
        psr = min(ratios) if len(ratios) == len(estimates) else None
        value, reason = decide_verdict(
            n_trades=metrics.n_trades,
            is_disproven=bool(is_disproven[number]),
            psr=psr,
            has_edge=all(each is not None and each.sharpe > 0 for each in estimates),
        )
        verdicts.append(VariantVerdict(value, reason, psr))
    return verdicts


def _less_market(outcome: SweepOutcome, n_trials: int) -> FloatArray:
    """Return (n_variants, n_days) the net returns less those of the market that each variant holds."""
    adjusted = np.empty_like(outcome.net_return)
    for number, betas in enumerate(outcome.market_betas):
        adjusted[number] = less_market(
            outcome.net_return[number], [*betas], outcome.held, outcome.fold_of_day, n_trials=n_trials
        )
    return adjusted


def _disproven(outcome: SweepOutcome, adjusted: FloatArray, seed: int) -> NDArray[np.bool_]:
    """Return whether the interval of a variant lies below zero, net or adjusted; False where it does not matter."""
    found = np.zeros(len(outcome.metrics), dtype=np.bool_)
    if len(outcome.held) < FEWEST_DAYS:
        return found
    is_tested = np.array([each.n_trades >= MINIMUM_TRADES for each in outcome.metrics])
    for returns in (outcome.net_return, adjusted):
        tested = np.flatnonzero(is_tested & ~found)
        for first in range(0, len(tested), _AT_ONCE):  # bounds the memory
            some = tested[first : first + _AT_ONCE]
            some = some[[estimate_sharpe(returns[each]) is not None for each in some]]
            if len(some):
                found[some] = intervals_below_zero(
                    returns[some],
                    days_per_year=outcome.days_per_year,
                    shortest_blocks=outcome.mean_holding_days[some],
                    seed=seed,
                )
    return found
