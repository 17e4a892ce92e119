"""Reduce trades and an equity curve to the figures of backtest.json."""

from ktrdr.backtest.outcome import INITIAL_EQUITY, EquityCurve, Trades
from ktrdr.backtest.report import BacktestMetrics
from ktrdr.statistics.performance import (
    annual_growth,
    calmar_ratio,
    max_drawdown,
    profit_factor,
    sharpe_ratio,
    sortino_ratio,
    win_rate,
)
from ktrdr.statistics.returns import calendar_years


def measure_backtest(trades: Trades, curve: EquityCurve) -> BacktestMetrics:
    """Return every figure of a backtest, from nothing but its trades and its equity curve.

    Raises:
        ValueError: The curve spans fewer than two session days.
    """
    daily = curve.daily_returns()
    years = calendar_years(int(curve.timestamp[0]), int(curve.known_at[-1]))
    days_per_year = len(daily) / years
    total_return = float(curve.equity[-1]) / INITIAL_EQUITY - 1.0
    growth = annual_growth(total_return, years=years)
    drawdown = max_drawdown(curve.equity, initial_equity=INITIAL_EQUITY)
    entry_notional = trades.quantity * trades.entry_price
    exit_notional = trades.quantity * trades.exit_price
    is_traded = len(trades) > 0
    return BacktestMetrics(
        sharpe_ratio=sharpe_ratio(daily.net_return, days_per_year=days_per_year) if is_traded else None,
        sortino_ratio=sortino_ratio(daily.net_return, days_per_year=days_per_year) if is_traded else None,
        max_drawdown=drawdown,
        total_return=total_return,
        cagr=growth,
        calmar_ratio=calmar_ratio(growth, drawdown) if is_traded else None,
        win_rate=win_rate(trades.net) if is_traded else None,
        profit_factor=profit_factor(trades.net) if is_traded else None,
        n_trades=len(trades),
        exposure=float((entry_notional / trades.entry_equity * trades.bars_held).sum()) / len(curve),
        # Over equity at entry, not over mean equity: that may be zero or less after a ruin.
        turnover=float(((entry_notional + exit_notional) / trades.entry_equity).sum()) / years,
        costs_paid=float((trades.costs + trades.financing).sum()) / INITIAL_EQUITY,
        days_per_year=days_per_year,
    )
