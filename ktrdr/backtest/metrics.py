"""Reduce trades and an equity curve to the figures of backtest.json."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ktrdr.backtest.outcome import INITIAL_EQUITY, EquityCurve, Trades
from ktrdr.backtest.report import BacktestMetrics
from ktrdr.statistics.bootstrap import FEWEST_DAYS, sharpe_interval
from ktrdr.statistics.performance import (
    annual_growth,
    calmar_ratio,
    max_drawdown,
    profit_factor,
    sharpe_ratio,
    sortino_ratio,
    win_rate,
)
from ktrdr.statistics.returns import FloatArray, calendar_years


@dataclass(frozen=True, slots=True, eq=False)
class CurveFigures:
    """What an equity curve shows by itself; fractions, ratios annualised by `days_per_year`."""

    net_return: FloatArray  # (n_days,) per session day
    days_per_year: float
    years: float
    sharpe_ratio: float
    max_drawdown: float
    total_return: float
    cagr: float


def measure_curve(curve: EquityCurve) -> CurveFigures:
    """Return the figures of an equity curve.

    Raises:
        ValueError: The curve spans fewer than two session days.
    """
    years = calendar_years(int(curve.timestamp[0]), int(curve.known_at[-1]))
    return measure_days(curve.daily_returns().net_return, curve.equity, years=years)


def measure_days(net_return: FloatArray, equity: FloatArray, *, years: float) -> CurveFigures:
    """Return the figures of (n_days,) returns and the (n_bars,) equities behind them; raises as `measure_curve`."""
    days_per_year = len(net_return) / years
    total_return = float(equity[-1]) / INITIAL_EQUITY - 1.0
    return CurveFigures(
        net_return=net_return,
        days_per_year=days_per_year,
        years=years,
        sharpe_ratio=sharpe_ratio(net_return, days_per_year=days_per_year),
        max_drawdown=max_drawdown(equity, initial_equity=INITIAL_EQUITY),
        total_return=total_return,
        cagr=annual_growth(total_return, years=years),
    )


def mean_holding_days(trades: Trades, *, n_days: int) -> float:
    """Return how many session days of a window a position was held on average; 0 without trades."""
    days = 0.0
    for window_bars, is_one in _by_calendar(trades):  # the symbols may have more or fewer bars a day
        share = float(is_one.sum()) / len(trades)
        days += float(trades.bars_held[is_one].mean()) / (window_bars / n_days) * share
    return days


def _by_calendar(trades: Trades) -> list[tuple[int, NDArray[np.bool_]]]:
    """Return the trades of symbols with equally many bars in the window, for each such number."""
    return [(int(count), trades.window_bars == count) for count in np.unique(trades.window_bars)]


def measure_backtest(trades: Trades, curve: EquityCurve, *, seed: int) -> BacktestMetrics:
    """Return every figure of a backtest, from nothing but its trades, its equity curve and the interval's seed.

    Raises:
        ValueError: The curve spans fewer than two session days.
    """
    figures = measure_curve(curve)
    interval = None
    if len(trades) > 0 and len(figures.net_return) >= FEWEST_DAYS:
        interval = sharpe_interval(
            figures.net_return,
            days_per_year=figures.days_per_year,
            shortest_block=mean_holding_days(trades, n_days=len(figures.net_return)),
            seed=seed,
        )
    return measure_trades(trades, figures, interval=interval)


def measure_trades(trades: Trades, figures: CurveFigures, *, interval: tuple[float, float] | None) -> BacktestMetrics:
    """Return every figure of the trades that made a curve, with the interval of its Sharpe ratio."""
    daily, days_per_year = figures.net_return, figures.days_per_year
    invested_bars = trades.quantity * trades.entry_price / trades.account_equity * trades.bars_held
    entry_notional = trades.quantity * trades.entry_price
    exit_notional = trades.quantity * trades.exit_price
    is_traded = len(trades) > 0
    return BacktestMetrics(
        sharpe_ratio=figures.sharpe_ratio if is_traded else None,
        sharpe_ci95=interval,
        sortino_ratio=sortino_ratio(daily, days_per_year=days_per_year) if is_traded else None,
        max_drawdown=figures.max_drawdown,
        total_return=figures.total_return,
        cagr=figures.cagr,
        calmar_ratio=calmar_ratio(figures.cagr, figures.max_drawdown) if is_traded else None,
        win_rate=win_rate(trades.net) if is_traded else None,
        profit_factor=profit_factor(trades.net) if is_traded else None,
        n_trades=len(trades),
        exposure=sum((float(invested_bars[is_one].sum()) / count for count, is_one in _by_calendar(trades)), 0.0),
        # Over equity at entry, not over mean equity: that may be zero or less after a ruin.
        turnover=float(((entry_notional + exit_notional) / trades.account_equity).sum()) / figures.years,
        costs_paid=float((trades.costs + trades.financing).sum()) / INITIAL_EQUITY,
        days_per_year=days_per_year,
    )
