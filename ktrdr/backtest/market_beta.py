"""How much of the market a strategy holds, measured where its networks were fitted and never where it is judged."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ktrdr.backtest.engine_inputs import ATR_TIMEPERIOD, wanted_exposure
from ktrdr.backtest.portfolio import Portfolio, TradedSeries, hold_market, prepare_portfolio, trade_strategy
from ktrdr.indicators.compute import average_true_range
from ktrdr.market.bars import Bars
from ktrdr.market.costs import CostModel
from ktrdr.statistics.returns import FloatArray
from ktrdr.strategy.specification import StrategySpecification

_FEWEST_DAYS = 3


@dataclass(frozen=True, slots=True, eq=False)
class FittedSeries:
    """One symbol where the networks learned.

    Attributes:
        bars: The research bars.
        probability: Per fold (n_bars,) the probability of class 1 by the fold's own networks at every bar from the
            first fitted one to the last, NaN elsewhere.
        costs: What each fill and holding cost.
    """

    bars: Bars
    probability: Sequence[FloatArray]
    costs: CostModel


def measure_market_betas(
    specification: StrategySpecification,
    bars: Bars,
    fitted_probability: Sequence[FloatArray],
    costs: CostModel,
) -> list[float]:
    """Return what `measure_portfolio_betas` does of a strategy of one symbol."""
    return measure_portfolio_betas(specification, [FittedSeries(bars, fitted_probability, costs)])


def measure_portfolio_betas(specification: StrategySpecification, series: Sequence[FittedSeries]) -> list[float]:
    """Return per fold the slope of the strategy's daily net returns on those of buy-and-hold, on its fitted rows.

    Args:
        specification: Whose `decision` and `risk` are followed.
        series: One per symbol.

    Returns:
        One slope per fold; 0.0 where the strategy did not trade, the market did not move, or the rows on which the
        range of the stops and the sizing are defined span fewer than three session days.
    """
    return [_beta(specification, series, fold) for fold in range(len(series[0].probability))]


def _beta(specification: StrategySpecification, series: Sequence[FittedSeries], fold: int) -> float:
    portfolio = prepare_fitted(specification, series, fold)
    if portfolio is None:
        return 0.0
    strategy, market = (trade(portfolio).curve().daily_returns() for trade in (trade_strategy, hold_market))
    return market_beta(strategy.net_return, market.net_return)


def prepare_fitted(specification: StrategySpecification, series: Sequence[FittedSeries], fold: int) -> Portfolio | None:
    """Return the rows that a fold's networks were fitted on, ready to be traded; None where too few for a beta."""
    fitted = [_fitted_series(specification, each, fold) for each in series]
    fitted = [each for each in fitted if each.fold.any()]
    if not fitted:
        return None
    portfolio = prepare_portfolio(specification, fitted)
    return portfolio if len(np.unique(portfolio.session_day)) >= _FEWEST_DAYS else None


def market_beta(strategy: FloatArray, market: FloatArray) -> float:
    """Return the slope of a strategy's returns on the market's of the same days; 0.0 where the market did not move."""
    centred = market - market.mean()
    squares = float(centred @ centred)
    return float(centred @ strategy) / squares if squares > 0 else 0.0


def _fitted_series(specification: StrategySpecification, series: FittedSeries, fold: int) -> TradedSeries:
    bars, probability = series.bars, series.probability[fold]
    # No stop can be set before the range has settled, whether this strategy has one or not.
    is_fitted = np.isfinite(probability) & np.isfinite(average_true_range(bars.prices(), ATR_TIMEPERIOD))
    exposure = wanted_exposure(specification, bars)
    if len(exposure) > 0:
        is_fitted &= ~np.isnan(exposure)
    return TradedSeries(bars, probability, is_fitted.astype(np.int8), series.costs)
