"""How much of the market a strategy holds, measured where its networks were fitted and never where it is judged."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ktrdr.backtest.baselines import simulate_buy_and_hold, simulate_strategy
from ktrdr.backtest.engine import Simulation
from ktrdr.backtest.engine_inputs import ATR_TIMEPERIOD, EngineInputs, prepare_engine, wanted_exposure
from ktrdr.backtest.outcome import INITIAL_EQUITY
from ktrdr.indicators.compute import average_true_range
from ktrdr.market.bars import Bars
from ktrdr.market.costs import CostModel
from ktrdr.statistics.returns import FloatArray, daily_returns
from ktrdr.strategy.specification import StrategySpecification

FEWEST_DAYS_OF_BETA = 3


def measure_market_betas(
    specification: StrategySpecification,
    bars: Bars,
    fitted_probability: Sequence[FloatArray],
    costs: CostModel,
) -> list[float]:
    """Return per fold the slope of the strategy's daily net returns on those of buy-and-hold, on its fitted rows.

    Args:
        specification: Whose `decision` and `risk` are followed.
        bars: The research bars.
        fitted_probability: Per fold (n_bars,) the probability of class 1 by the fold's own networks at every bar
            from the first fitted one to the last, NaN elsewhere.
        costs: What each fill and holding cost.

    Returns:
        One slope per fold; 0.0 where the strategy did not trade, the market did not move, or the rows on which the
        range of the stops and the sizing are defined span fewer than three session days.
    """
    return [_beta(specification, bars, probability, costs) for probability in fitted_probability]


def _beta(specification: StrategySpecification, bars: Bars, probability: FloatArray, costs: CostModel) -> float:
    # No stop can be set before the range has settled, whether this strategy has one or not.
    is_fitted = np.isfinite(probability) & np.isfinite(average_true_range(bars.prices(), ATR_TIMEPERIOD))
    exposure = wanted_exposure(specification, bars)
    if len(exposure) > 0:
        is_fitted &= ~np.isnan(exposure)
    if len(np.unique(bars.session_day[is_fitted])) < FEWEST_DAYS_OF_BETA:
        return 0.0
    inputs = prepare_engine(specification, bars, probability, is_fitted.astype(np.int8), costs)
    strategy, market = (
        _net_returns(simulation, inputs, bars.session_day)
        for simulation in (simulate_strategy(inputs), simulate_buy_and_hold(inputs))
    )
    return market_beta(strategy, market)


def market_beta(strategy: FloatArray, market: FloatArray) -> float:
    """Return the slope of a strategy's returns on the market's of the same days; 0.0 where the market did not move."""
    centred = market - market.mean()
    squares = float(centred @ centred)
    return float(centred @ strategy) / squares if squares > 0 else 0.0


def _net_returns(simulation: Simulation, inputs: EngineInputs, session_day: NDArray[np.int32]) -> FloatArray:
    equity = simulation.equity[inputs.window]
    return daily_returns(equity, session_day[inputs.window], initial_equity=INITIAL_EQUITY).net_return
