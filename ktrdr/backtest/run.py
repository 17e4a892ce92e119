"""Backtest a strategy's out-of-sample probabilities: check what comes in, trade it, measure it."""

import math
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from ktrdr.backtest.engine import (
    BOTH,
    LONG_ONLY,
    NO_MAX_HOLDING,
    SHORT_ONLY,
    Charges,
    Market,
    Rules,
    Simulation,
    simulate,
)
from ktrdr.backtest.metrics import measure_backtest
from ktrdr.backtest.outcome import INITIAL_EQUITY, BacktestOutcome, EquityCurve, Trades
from ktrdr.backtest.report import BacktestReport, CostReport, WindowReport
from ktrdr.errors import OperationFailed
from ktrdr.indicators.compute import average_true_range
from ktrdr.market.bars import Bars
from ktrdr.market.costs import CostModel
from ktrdr.statistics.returns import FloatArray, calendar_years
from ktrdr.strategy.specification import StrategySpecification

ATR_TIMEPERIOD = 14

_DIRECTIONS = {"both": BOTH, "long": LONG_ONLY, "short": SHORT_ONLY}
_NOTHING: FloatArray = np.empty(0)


def run_backtest(
    specification: StrategySpecification,
    bars: Bars,
    predictions_by_bar: FloatArray,
    fold_by_bar: NDArray[np.int8],
    costs: CostModel,
) -> BacktestOutcome:
    """Trade a strategy over the test blocks and measure the result. Pure: equal inputs give equal outcomes.

    Args:
        specification: Whose `decision` and `risk` are followed.
        bars: Bars before the first test block too: the ATR of the stops needs them.
        predictions_by_bar: (n_bars,) probability of class 1, known at the bar's close; NaN outside the folds.
        fold_by_bar: (n_bars,) number of the fold that a bar is a test bar of, 0 for none.
        costs: What each fill and holding cost.

    Raises:
        OperationFailed: `no_test_bars`, `prediction_missing` (NaN or outside 0..1 inside a fold),
            `price_unusable`, `half_spread_missing`, `indicator_not_finite` (no ATR where a stop needs one),
            `too_few_days` (fewer than two session days).
        ValueError: Arrays of unequal length, or a fold that is not one run of bars, in order.
    """
    if not len(bars) == len(predictions_by_bar) == len(fold_by_bar):
        lengths = (len(bars), len(predictions_by_bar), len(fold_by_bar))
        raise ValueError(f"need one prediction and one fold per bar, was bars, predictions, folds {lengths}")
    folds = _fold_bounds(fold_by_bar)
    window = np.flatnonzero(fold_by_bar)
    if len(np.unique(bars.session_day[window])) < 2:
        raise OperationFailed(
            f"the test blocks span {len(window)} bars on fewer than two session days; a Sharpe ratio needs more: "
            "import a longer history",
            reason="too_few_days",
        )
    market = _market(specification, bars, predictions_by_bar, window)
    fill_bps = costs.commission_bps + costs.slippage_bps
    if bars.half_spread_bps is None:
        fill_bps += costs.half_spread_bps
    simulation = simulate(
        market,
        _rules(specification),
        Charges(fill_bps, costs.financing_long, costs.financing_short),
        folds,
        initial_equity=INITIAL_EQUITY,
    )
    trades = _trades(simulation, bars, fold_by_bar)
    curve = EquityCurve(
        timestamp=bars.timestamp[window],
        known_at=bars.known_at[window],
        session_day=bars.session_day[window],
        fold=fold_by_bar[window].astype(np.int8),
        position=simulation.position[window],
        equity=simulation.equity[window],
    )
    report = BacktestReport(
        metrics=measure_backtest(trades, curve),
        costs=_cost_report(costs, bars, window),
        window=_window_report(bars, curve, n_folds=len(folds)),
    )
    return BacktestOutcome(report=report, trades=trades, equity=curve)


def _fold_bounds(fold_by_bar: NDArray[np.int8]) -> NDArray[np.int64]:
    # (n_folds, 2): first bar and one past the last bar of each run of equal, non-zero numbers.
    edges = np.flatnonzero(np.diff(fold_by_bar)) + 1
    starts = np.concatenate(([0], edges)).astype(np.int64)
    stops = np.concatenate((edges, [len(fold_by_bar)])).astype(np.int64)
    numbers = fold_by_bar[starts] if len(fold_by_bar) else fold_by_bar
    is_fold = numbers != 0
    if not is_fold.any():
        raise OperationFailed("no bar belongs to a test block; train the strategy again", reason="no_test_bars")
    if (np.diff(numbers[is_fold].astype(np.int64)) <= 0).any() or numbers.min() < 0:
        raise ValueError(f"need each fold as one run of bars, in order, was {numbers.tolist()}")
    return np.stack((starts[is_fold], stops[is_fold]), axis=1)


def _market(
    specification: StrategySpecification, bars: Bars, probability: FloatArray, window: NDArray[np.intp]
) -> Market:
    inside = probability[window]
    missing = ~((inside >= 0.0) & (inside <= 1.0))  # NaN fails both
    _refuse_if_any(missing, window, bars, "prediction_missing", "have no probability from 0 to 1; train again")
    for name in ("open", "high", "low", "close"):
        values = bars.prices()[name][window]
        unusable = ~(np.isfinite(values) & (values > 0.0))
        _refuse_if_any(unusable, window, bars, "price_unusable", f"have no {name} above 0; import clean bars")
    spread = _NOTHING
    if bars.half_spread_bps is not None:
        spread = bars.half_spread_bps
        absent = ~(np.isfinite(spread[window]) & (spread[window] >= 0.0))
        _refuse_if_any(absent, window, bars, "half_spread_missing", "have no half spread >= 0; import clean bars")
    atr = _NOTHING
    if specification.risk.stop_loss is not None or specification.risk.take_profit is not None:
        atr = average_true_range(bars.prices(), ATR_TIMEPERIOD)
        undefined = ~np.isfinite(atr[window])
        _refuse_if_any(
            undefined,
            window,
            bars,
            "indicator_not_finite",
            f"come before ATR({ATR_TIMEPERIOD}) has settled; import a longer history",
        )
    return Market(
        timestamp=bars.timestamp,
        known_at=bars.known_at,
        open=bars.open,
        high=bars.high,
        low=bars.low,
        close=bars.close,
        probability=probability,
        atr=atr,
        half_spread_bps=spread,
    )


def _refuse_if_any(is_bad: NDArray[np.bool_], window: NDArray[np.intp], bars: Bars, reason: str, what: str) -> None:
    if is_bad.any():
        first = _instant(int(bars.timestamp[window[np.argmax(is_bad)]])).isoformat()
        count = int(is_bad.sum())
        raise OperationFailed(f"{count} of {len(window)} test bars {what} (the first: {first})", reason=reason)


def _rules(specification: StrategySpecification) -> Rules:
    decision, risk = specification.decision, specification.risk
    return Rules(
        enter=float(decision.enter),
        exit=float(decision.exit),
        direction=_DIRECTIONS[decision.direction],
        exposure=float(risk.sizing.exposure),
        stop_loss_atr=math.inf if risk.stop_loss is None else float(risk.stop_loss),
        take_profit_atr=math.inf if risk.take_profit is None else float(risk.take_profit),
        max_holding_bars=NO_MAX_HOLDING if risk.max_holding_bars is None else risk.max_holding_bars,
        min_bars_between_trades=decision.min_bars_between_trades,
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
