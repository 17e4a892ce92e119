"""Figures of merit of an equity curve and of a list of trades.

A ratio is always finite: where its denominator is zero (no losing day, no losing trade, no drawdown), or so small
that the ratio exceeds `RATIO_CAP`, it is `RATIO_CAP` with the sign of its numerator, and 0.0 where that is zero
too. A figure that does not exist at all (a ratio of no trades) is an error here and null in a report.
"""

import math

import numpy as np
from numba import njit

from ktrdr.statistics.returns import FloatArray

RATIO_CAP = 1000.0


def capped_ratio(numerator: float, denominator: float) -> float:
    """Return numerator / denominator within +-`RATIO_CAP`; the denominator is a magnitude, >= 0.

    Raises:
        ValueError: An argument is not finite, or the denominator is negative.
    """
    if not (math.isfinite(numerator) and math.isfinite(denominator)) or denominator < 0:
        raise ValueError(f"need finite numbers and denominator >= 0, was {numerator!r} / {denominator!r}")
    if abs(numerator) > RATIO_CAP * denominator:
        return math.copysign(RATIO_CAP, numerator)
    return numerator / denominator if denominator > 0 else 0.0


def sharpe_ratio(net_returns: FloatArray, *, days_per_year: float) -> float:
    """Return the annualised Sharpe ratio: mean / standard deviation (ddof 1) x sqrt(days a year).

    Args:
        net_returns: (n_days,) net returns per session day, at least two.
        days_per_year: Measured session days a calendar year.

    Raises:
        ValueError: Fewer than two days, a non-finite return or `days_per_year` <= 0.
    """
    mean, deviation, _ = _measure_days(net_returns, days_per_year)
    return capped_ratio(mean * math.sqrt(days_per_year), deviation)


def sortino_ratio(net_returns: FloatArray, *, days_per_year: float) -> float:
    """Return the annualised Sortino ratio: mean / downside deviation x sqrt(days a year).

    The downside deviation is the root mean square of min(return, 0) over *all* days, target 0. Arguments and
    errors as for `sharpe_ratio`.
    """
    mean, _, downside = _measure_days(net_returns, days_per_year)
    return capped_ratio(mean * math.sqrt(days_per_year), downside)


def max_drawdown(equity: FloatArray, *, initial_equity: float) -> float:
    """Return the largest fall from a peak as a fraction of that peak; the initial equity is the first peak.

    Args:
        equity: (n_bars,) equity at each bar's close, at least one.
        initial_equity: Equity before the first bar; > 0.

    Returns:
        0.0 where equity never falls; 1.0 for a total loss, more where the account ended in debt.
    """
    deepest = _deepest_fall(np.ascontiguousarray(equity), float(initial_equity))
    if len(equity) == 0 or not initial_equity > 0 or not math.isfinite(deepest):
        raise ValueError(f"need at least one finite equity and a start above 0, was {initial_equity=}")
    return float(deepest)


def annual_growth(total_return: float, *, years: float) -> float:
    """Return the compound annual growth rate; -1.0 for a total loss, at most `RATIO_CAP`.

    Args:
        total_return: Fraction gained over the whole window.
        years: Calendar years of the window; > 0.
    """
    if not math.isfinite(total_return) or not years > 0:
        raise ValueError(f"need a finite return and years > 0, was {total_return=}, {years=}")
    if total_return <= -1.0:
        return -1.0
    log_growth = math.log1p(total_return) / years
    return math.expm1(log_growth) if log_growth < math.log1p(RATIO_CAP) else RATIO_CAP


def calmar_ratio(growth: float, drawdown: float) -> float:
    """Return the annual growth over the maximum drawdown, both fractions."""
    return capped_ratio(growth, drawdown)


def win_rate(net_profits: FloatArray) -> float:
    """Return the share of trades whose net profit is above zero; (n_trades,), at least one."""
    _require_trades(net_profits)
    return float(np.mean(net_profits > 0))


def profit_factor(net_profits: FloatArray) -> float:
    """Return the sum of net profits over the sum of net losses; (n_trades,), at least one."""
    _require_trades(net_profits)
    gained = float(net_profits[net_profits > 0].sum())
    lost = float(np.abs(net_profits[net_profits < 0]).sum())
    return capped_ratio(gained, lost)


def _measure_days(net_returns: FloatArray, days_per_year: float) -> tuple[float, float, float]:
    """Return mean, standard deviation (ddof 1) and downside deviation of at least two finite returns."""
    if len(net_returns) < 2:
        raise ValueError(f"need at least two finite daily returns, was {len(net_returns)} days")
    if not (days_per_year > 0 and math.isfinite(days_per_year)):
        raise ValueError(f"need days_per_year > 0, was {days_per_year!r}")
    mean, deviation, downside = _moments(np.ascontiguousarray(net_returns))
    if not math.isfinite(deviation):
        raise ValueError(f"need at least two finite daily returns, was {len(net_returns)} days, one not finite")
    return mean, deviation, downside


# The order of a sum may change (its vectors are as wide as the machine's), which moves only the last digits.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc"})
def _moments(returns: FloatArray) -> tuple[float, float, float]:
    n = len(returns)
    mean = returns.sum() / n
    squares, below = 0.0, 0.0
    for value in returns:
        squares += (value - mean) * (value - mean)
        fallen = min(value, 0.0)
        below += fallen * fallen
    return mean, math.sqrt(squares / (n - 1)), math.sqrt(below / n)


@njit(cache=True, nogil=True, error_model="numpy")
def _deepest_fall(equity: FloatArray, initial_equity: float) -> float:
    peak, deepest = initial_equity, 0.0
    for value in equity:
        if not math.isfinite(value):
            return math.nan
        if value > peak:
            peak = value
        elif peak - value > deepest * peak:
            deepest = (peak - value) / peak
    return deepest


def _require_trades(net_profits: FloatArray) -> None:
    if len(net_profits) == 0 or not np.isfinite(net_profits).all():
        raise ValueError(f"need at least one finite net profit, was {len(net_profits)} trades")
