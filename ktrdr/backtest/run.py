"""Backtest a strategy's out-of-sample probabilities: check what comes in, trade it, measure it."""

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from ktrdr.backtest.baselines import measure_baselines, simulate_buy_and_hold, simulate_strategy
from ktrdr.backtest.engine import Simulation
from ktrdr.backtest.engine_inputs import prepare_engine
from ktrdr.backtest.metrics import measure_backtest
from ktrdr.backtest.outcome import INITIAL_EQUITY, BacktestOutcome, EquityCurve, Trades
from ktrdr.backtest.report import BacktestReport, CostReport, WindowReport
from ktrdr.errors import OperationFailed
from ktrdr.market.bars import Bars
from ktrdr.market.costs import CostModel
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
    """Trade a strategy over the test blocks and measure the result. Pure: equal inputs give equal outcomes.

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
    if not len(bars) == len(predictions_by_bar) == len(fold_by_bar):
        lengths = (len(bars), len(predictions_by_bar), len(fold_by_bar))
        raise ValueError(f"need one prediction and one fold per bar, was bars, predictions, folds {lengths}")
    inputs = prepare_engine(specification, bars, predictions_by_bar, fold_by_bar, costs)
    window = inputs.window
    if len(np.unique(bars.session_day[window])) < 2:
        raise OperationFailed(
            f"the test blocks span {len(window)} bars on fewer than two session days; a Sharpe ratio needs more: "
            "import a longer history",
            reason="too_few_days",
        )
    simulation = simulate_strategy(inputs)
    on_lap("backtest.trade", {"bars": len(window), "folds": len(inputs.folds)})
    trades = _trades(simulation, bars, fold_by_bar)
    curve = _curve(simulation, bars, fold_by_bar, window)
    held = _curve(simulate_buy_and_hold(inputs), bars, fold_by_bar, window)
    metrics = measure_backtest(trades, curve, seed=seed)
    on_lap("backtest.measure", {"trades": len(trades)})
    baselines = measure_baselines(inputs, held, metrics, seed=seed)
    on_lap("backtest.baselines", {"random_entries": baselines.random_entry.n if baselines.random_entry else 0})
    report = BacktestReport(
        metrics=metrics,
        baselines=baselines,
        costs=_cost_report(costs, bars, window),
        window=_window_report(bars, curve, n_folds=len(inputs.folds)),
    )
    return BacktestOutcome(report=report, trades=trades, equity=curve, buy_and_hold=held)


def _curve(simulation: Simulation, bars: Bars, fold_by_bar: NDArray[np.int8], window: NDArray[np.intp]) -> EquityCurve:
    return EquityCurve(
        timestamp=bars.timestamp[window],
        known_at=bars.known_at[window],
        session_day=bars.session_day[window],
        fold=fold_by_bar[window].astype(np.int8),
        position=simulation.position[window],
        equity=simulation.equity[window],
    )


def _trades(simulation: Simulation, bars: Bars, fold_by_bar: NDArray[np.int8]) -> Trades:
    # Contiguous copies: the records interleave the columns.
    records = {name: simulation.trades[name].copy() for name in simulation.trades.dtype.names or ()}
    entry_bar, exit_bar = records["entry_bar"], records["exit_bar"]
    return Trades(
        fold=fold_by_bar[entry_bar].astype(np.int8),
        side=records["side"],
        entry_time=bars.timestamp[entry_bar],
        exit_time=np.where(records["exit_at_open"], bars.timestamp[exit_bar], bars.known_at[exit_bar]),
        entry_price=records["entry_price"],
        exit_price=records["exit_price"],
        quantity=records["quantity"],
        entry_equity=records["entry_equity"],
        reason=records["reason"],
        bars_held=records["bars_held"],
        gross=records["gross"],
        costs=records["costs"],
        financing=records["financing"],
        net=records["net"],
    )


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


def _window_report(bars: Bars, curve: EquityCurve, *, n_folds: int) -> WindowReport:
    return WindowReport(
        symbol=bars.symbol,
        timeframe=bars.timeframe.value,
        snapshot=bars.snapshot,
        first=_instant(int(curve.timestamp[0])),
        last=_instant(int(curve.timestamp[-1])),
        n_bars=len(curve),
        n_session_days=len(curve.daily_returns()),
        n_folds=n_folds,
        years=calendar_years(int(curve.timestamp[0]), int(curve.known_at[-1])),
        initial_equity=INITIAL_EQUITY,
    )


def _instant(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)
