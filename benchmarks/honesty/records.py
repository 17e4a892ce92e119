"""Backtests made of daily returns alone, for the statistics of the verdict over many years and many draws."""

import numpy as np
from numpy.typing import NDArray

from ktrdr.backtest.metrics import measure_backtest
from ktrdr.backtest.outcome import BacktestOutcome, EquityCurve, Trades
from ktrdr.backtest.report import BacktestReport, Baselines, BuyAndHold, CostReport, WindowReport
from ktrdr.clock import from_epoch_ms

FloatArray = NDArray[np.float64]

DAYS_PER_YEAR = 252
_DAY_MS = 86_400_000
_NOTHING_HELD = BuyAndHold(sharpe_ratio=0, total_return=0, cagr=0, max_drawdown=0)
_FREE = CostReport(
    commission_bps=0,
    half_spread_bps=0,
    half_spread_from="instrument",
    slippage_bps=0,
    financing_long=0,
    financing_short=0,
)


def record_of(net: FloatArray, held: FloatArray, *, n_folds: int = 5) -> BacktestOutcome:
    """Return a backtest whose daily net returns are `net` beside those of the market, with a trade every other day."""
    curve, market = _curve(net, n_folds), _curve(held, n_folds)
    trades = _trades(len(net) // 2)
    first, last = int(curve.timestamp[0]), int(curve.known_at[-1])
    window = WindowReport(
        symbol="X",
        timeframe="1d",
        snapshot="0" * 64,
        first=from_epoch_ms(first),
        last=from_epoch_ms(int(curve.timestamp[-1])),
        n_bars=len(net),
        n_session_days=len(net),
        n_folds=n_folds,
        years=(last - first) / _DAY_MS / 365.25,
        initial_equity=1e5,
    )
    report = BacktestReport(
        metrics=measure_backtest(trades, curve, seed=1),
        baselines=Baselines(buy_and_hold=_NOTHING_HELD, random_entry=None),
        costs=_FREE,
        window=window,
    )
    return BacktestOutcome(report=report, trades=trades, equity=curve, buy_and_hold=market)


def _curve(net: FloatArray, n_folds: int) -> EquityCurve:
    n_days = len(net)
    # 252 session days a year, spread evenly.
    opened = (np.arange(n_days) * 365.25 / DAYS_PER_YEAR * _DAY_MS).astype(np.int64)
    return EquityCurve(
        timestamp=opened,
        known_at=opened + round(365.25 / DAYS_PER_YEAR * _DAY_MS),
        session_day=np.arange(n_days, dtype=np.int32),
        fold=(1 + n_folds * np.arange(n_days) // n_days).astype(np.int8),
        position=np.zeros(n_days),
        equity=1e5 * np.cumprod(1 + net),
    )


def _trades(n_trades: int) -> Trades:
    ones = np.ones(n_trades)
    columns = {name: ones for name in Trades.__dataclass_fields__}
    return Trades(**{**columns, "net": np.where(np.arange(n_trades) % 2, -1.0, 2.0)})
