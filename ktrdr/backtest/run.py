"""Backtest a strategy's out-of-sample probabilities: check what comes in, trade it, measure it."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from ktrdr.backtest.baselines import measure_baselines
from ktrdr.backtest.metrics import measure_backtest
from ktrdr.backtest.outcome import INITIAL_EQUITY, BacktestOutcome, EquityCurve, Trades
from ktrdr.backtest.portfolio import (
    Portfolio,
    Share,
    TradedSeries,
    hold_market,
    prepare_portfolio,
    require_days,
    trade_strategy,
)
from ktrdr.backtest.report import BacktestReport, CostReport, SymbolReport, WindowReport
from ktrdr.market.bars import Bars
from ktrdr.market.costs import CostModel
from ktrdr.market.snapshot import name_snapshots
from ktrdr.statistics.returns import FloatArray, calendar_years
from ktrdr.strategy.specification import StrategySpecification

LapCallback = Callable[[str, dict[str, int]], None]


def run_backtest(
    specification: StrategySpecification,
    bars: Bars,
    predictions_by_bar: FloatArray,
    fold_by_bar: NDArray[np.int8],
    costs: CostModel,
    *,
    seed: int = 0,
    on_lap: LapCallback = lambda name, attributes: None,
) -> BacktestOutcome:
    """Trade a strategy of one symbol over the test blocks and measure the result.

    Pure: equal inputs give equal outcomes.

    Args:
        specification: Whose `decision` and `risk` are followed.
        bars: Bars before the first test block too: the ATR of the stops needs them.
        predictions_by_bar: (n_bars,) probability of class 1, known at the bar's close; NaN outside the folds.
        fold_by_bar: (n_bars,) number of the fold that a bar is a test bar of, 0 for none.
        costs: What each fill and holding cost.
        seed: What the interval's and the baselines' draws derive from; >= 0.
        on_lap: Called with the name of each part and its figures when it ends.

    Raises:
        OperationFailed: `no_test_bars`, `prediction_missing` (NaN or outside 0..1 inside a fold),
            `price_unusable`, `half_spread_missing`, `indicator_not_finite` (no ATR where a stop needs one),
            `too_few_bars` (no volatility where the sizing needs one), `too_few_days` (fewer than two session days).
        ValueError: Arrays of unequal length, or a fold that is not one run of bars, in order.
    """
    traded = TradedSeries(bars, predictions_by_bar, fold_by_bar, costs)
    return run_portfolio(specification, [traded], seed=seed, on_lap=on_lap)


def run_portfolio(
    specification: StrategySpecification,
    series: Sequence[TradedSeries],
    *,
    seed: int = 0,
    on_lap: LapCallback = lambda name, attributes: None,
) -> BacktestOutcome:
    """Do what `run_backtest` does with one symbol or several, each with an equal share of one account.

    The order of the series means nothing. A share that is ruined stays ruined; where the whole account is, everything
    ends.
    """
    portfolio = prepare_portfolio(specification, series)
    require_days(portfolio)
    traded = trade_strategy(portfolio)
    n_bars = sum(len(share.inputs.window) for share in portfolio.shares)
    on_lap("backtest.trade", {"bars": n_bars, "folds": portfolio.n_folds})
    trades, curve = traded.trades(), traded.curve()
    held = hold_market(portfolio).curve()
    metrics = measure_backtest(trades, curve, seed=seed)
    on_lap("backtest.measure", {"trades": len(trades)})
    baselines = measure_baselines(portfolio, held, metrics, seed=seed)
    on_lap("backtest.baselines", {"random_entries": baselines.random_entry.n if baselines.random_entry else 0})
    symbols = [_symbol_report(share, trades) for share in portfolio.shares]
    report = BacktestReport(
        metrics=metrics,
        baselines=baselines,
        costs=_mean_costs([each.costs for each in symbols]),
        window=_window_report(portfolio, curve),
        symbols=symbols,
    )
    return BacktestOutcome(report=report, trades=trades, equity=curve, buy_and_hold=held)


def _symbol_report(share: Share, trades: Trades) -> SymbolReport:
    series, window, is_own = share.series, share.inputs.window, trades.symbol == share.symbol
    return SymbolReport(
        symbol=share.symbol,
        snapshot=series.bars.snapshot,
        n_bars=len(window),
        n_trades=int(is_own.sum()),
        net=float(trades.net[is_own].sum()) / INITIAL_EQUITY,
        costs=_cost_report(series.costs, series.bars, window),
    )


def _mean_costs(costs: Sequence[CostReport]) -> CostReport:
    if len(costs) == 1:
        return costs[0]
    means = {
        name: float(np.mean([getattr(each, name) for each in costs]))
        for name in CostReport.model_fields
        if name != "half_spread_from"
    }
    is_of_bars = any(each.half_spread_from == "bars" for each in costs)
    return CostReport(half_spread_from="bars" if is_of_bars else "instrument", **means)


def _cost_report(costs: CostModel, bars: Bars, window: NDArray[np.intp]) -> CostReport:
    per_bar = bars.half_spread_bps
    return CostReport(
        commission_bps=costs.commission_bps,
        half_spread_bps=costs.half_spread_bps if per_bar is None else float(per_bar[window].mean()),
        half_spread_from="instrument" if per_bar is None else "bars",
        slippage_bps=costs.slippage_bps,
        financing_long=costs.financing_long,
        financing_short=costs.financing_short,
    )


def _window_report(portfolio: Portfolio, curve: EquityCurve) -> WindowReport:
    snapshots = {bars.symbol: bars.snapshot for bars in portfolio.bars}
    return WindowReport(
        symbol=", ".join(snapshots),
        timeframe=portfolio.bars[0].timeframe.value,
        snapshot=name_snapshots(snapshots),
        first=_instant(int(curve.timestamp[0])),
        last=_instant(int(curve.timestamp[-1])),
        n_bars=len(curve),
        n_session_days=len(curve.daily_returns()),
        n_folds=portfolio.n_folds,
        years=calendar_years(int(curve.timestamp[0]), int(curve.known_at[-1])),
        initial_equity=INITIAL_EQUITY,
        snapshots=snapshots,
    )


def _instant(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)
