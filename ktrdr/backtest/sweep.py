"""Many variants of a strategy over the same bars, each traded as by `run_portfolio`; what is shared is done once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ktrdr.backtest.engine import Rules
from ktrdr.backtest.engine_inputs import rules_of
from ktrdr.backtest.market_beta import FittedSeries, market_beta, prepare_fitted
from ktrdr.backtest.metrics import mean_holding_days, measure_days, measure_trades
from ktrdr.backtest.outcome import INITIAL_EQUITY
from ktrdr.backtest.portfolio import Portfolio, TradedSeries, hold_market, prepare_portfolio, require_days
from ktrdr.backtest.report import BacktestMetrics
from ktrdr.statistics.returns import FloatArray, calendar_years, ends_of_days, returns_of_closes
from ktrdr.strategy.specification import FixedSizing, StrategySpecification

ProgressCallback = Callable[[float], None]


@dataclass(frozen=True, slots=True, eq=False)
class SweepOutcome:
    """What every variant came to; arrays have a row per variant.

    Attributes:
        session_day: int32 (n_days,).
        fold_of_day: int8 (n_days,), the fold that a day's last bar belongs to.
        held: (n_days,) net returns of buy-and-hold.
        net_return: (n_variants, n_days).
        market_betas: (n_variants, n_folds), as `measure_market_betas`.
        metrics: Of each variant, without an interval of the Sharpe ratio.
        mean_holding_days: (n_variants,), 0 without trades.
        days_per_year: Session days of the window per calendar year.
        years: Calendar years of the window.
    """

    session_day: NDArray[np.int32]
    fold_of_day: NDArray[np.int8]
    held: FloatArray
    net_return: FloatArray
    market_betas: FloatArray
    metrics: list[BacktestMetrics]
    mean_holding_days: FloatArray
    days_per_year: float
    years: float


def run_sweep(
    specifications: Sequence[StrategySpecification],
    traded: Sequence[TradedSeries],
    fitted: Sequence[FittedSeries],
    *,
    on_progress: ProgressCallback = lambda share: None,
) -> SweepOutcome:
    """Trade variants of one strategy, which differ in `decision` and `risk` alone. Pure: equal inputs, equal outcomes.

    Args:
        specifications: At least one.
        traded: The test blocks, one per symbol.
        fitted: Where the networks learned, one per symbol, with as many folds.
        on_progress: Called now and then with the share that is done, 0..1.

    Raises:
        OperationFailed: As `run_portfolio`; what one variant cannot be traded with ends them all.
    """
    tests = prepare_portfolio(specifications[0], traded)
    require_days(tests)
    closes, years = ends_of_days(tests.session_day), calendar_years(int(tests.timestamp[0]), int(tests.known_at[-1]))
    n_variants, n_days, n_folds = len(specifications), len(closes), len(fitted[0].probability)
    net_return, market_betas = np.empty((n_variants, n_days)), np.zeros((n_variants, n_folds))
    metrics: list[BacktestMetrics | None] = [None] * n_variants
    holding = np.zeros(n_variants)
    progress = _Progress(on_progress, n_variants * (1 + n_folds))
    for group in _alike(specifications):
        variants = [specifications[place] for place in group]
        rules = [rules_of(each) for each in variants]
        for place, run in zip(group, prepare_portfolio(variants[0], traded).simulate_many(rules), strict=True):
            equity, trades = run.equity, run.trades()
            net_return[place] = returns_of_closes(equity[closes], initial_equity=INITIAL_EQUITY)
            figures = measure_days(net_return[place], equity, years=years)
            metrics[place] = measure_trades(trades, figures, interval=None)
            holding[place] = mean_holding_days(trades, n_days=n_days)
            progress.step()
        for fold in range(n_folds):
            learned = prepare_fitted(variants[0], fitted, fold)
            if learned is not None:
                market_betas[group, fold] = _betas(learned, rules, progress)
    return SweepOutcome(
        session_day=tests.session_day[closes],
        fold_of_day=tests.fold[closes],
        held=hold_market(tests).curve().daily_returns().net_return,
        net_return=net_return,
        market_betas=market_betas,
        metrics=[each for each in metrics if each is not None],
        mean_holding_days=holding,
        days_per_year=n_days / years,
        years=years,
    )


class _Progress:
    def __init__(self, on_progress: ProgressCallback, total: int) -> None:
        self._on_progress, self._total, self._done = on_progress, total, 0

    def step(self) -> None:
        self._done += 1
        if self._done % 100 == 0:
            self._on_progress(self._done / self._total)


def _alike(specifications: Sequence[StrategySpecification]) -> list[list[int]]:
    """Return the places of variants that read the same arrays: volatility and range depend on no other field."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, each in enumerate(specifications):
        sizing, risk = each.risk.sizing, each.risk
        volatility = None if isinstance(sizing, FixedSizing) else (sizing.annual_volatility, sizing.lookback)
        needs_range = risk.stop_loss is not None or risk.take_profit is not None
        groups.setdefault((volatility, needs_range), []).append(place)
    return list(groups.values())


def _betas(learned: Portfolio, rules: Sequence[Rules], progress: _Progress) -> list[float]:
    held, closes = hold_market(learned).curve().daily_returns().net_return, ends_of_days(learned.session_day)
    betas = []
    for run in learned.simulate_many(rules):
        betas.append(market_beta(returns_of_closes(run.equity[closes], initial_equity=INITIAL_EQUITY), held))
        progress.step()
    return betas
