"""What would have come of no skill: holding the market, and the strategy's own trades at other times."""

import numpy as np
from numpy.typing import NDArray

from ktrdr.backtest.engine import LONG_ONLY, NO_MAX_HOLDING, Rules, Simulation, simulate, simulate_turned
from ktrdr.backtest.engine_inputs import EngineInputs
from ktrdr.backtest.metrics import measure_curve
from ktrdr.backtest.outcome import INITIAL_EQUITY, EquityCurve
from ktrdr.backtest.report import BacktestMetrics, Baselines, BuyAndHold, RandomEntries
from ktrdr.statistics.performance import sharpe_ratio
from ktrdr.statistics.returns import FloatArray, daily_returns

N_RANDOM_ENTRIES = 1000
_STREAM = 1  # apart from other draws of the same seed

_HOLD_THE_MARKET = Rules(
    enter=0.0,
    exit=0.0,
    direction=LONG_ONLY,
    exposure=1.0,
    stop_loss_atr=np.inf,
    take_profit_atr=np.inf,
    max_holding_bars=NO_MAX_HOLDING,
    min_bars_between_trades=0,
)


def simulate_buy_and_hold(inputs: EngineInputs) -> Simulation:
    """Hold the market with the whole equity, from the second bar of each fold to its end, with all costs."""
    return simulate(inputs.market, _HOLD_THE_MARKET, inputs.charges, inputs.folds, initial_equity=INITIAL_EQUITY)


def simulate_strategy(inputs: EngineInputs) -> Simulation:
    """Trade the strategy's own rules and sizing; the baselines are held against it."""
    return simulate(
        inputs.market,
        inputs.rules,
        inputs.charges,
        inputs.folds,
        wanted_exposure=inputs.wanted_exposure,
        initial_equity=INITIAL_EQUITY,
    )


def measure_baselines(
    inputs: EngineInputs, buy_and_hold: EquityCurve, metrics: BacktestMetrics, *, seed: int
) -> Baselines:
    """Return both baselines of a backtest with these metrics; there are no random entries where nothing was traded."""
    held = measure_curve(buy_and_hold)
    random_entries = None
    if metrics.sharpe_ratio is not None:
        random_entries = _random_entries(inputs, buy_and_hold.session_day, metrics, seed)
    return Baselines(
        buy_and_hold=BuyAndHold(
            sharpe_ratio=held.sharpe_ratio,
            total_return=held.total_return,
            cagr=held.cagr,
            max_drawdown=held.max_drawdown,
        ),
        random_entry=random_entries,
    )


def _random_entries(
    inputs: EngineInputs, session_day: NDArray[np.int32], metrics: BacktestMetrics, seed: int
) -> RandomEntries:
    assert metrics.sharpe_ratio is not None
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_STREAM,))))
    last_of_day = np.append(np.flatnonzero(np.diff(session_day)), len(session_day) - 1)
    closes = trade_at_random_times(inputs, N_RANDOM_ENTRIES, generator, inputs.window[last_of_day])
    ratios = np.array(
        [
            sharpe_ratio(
                daily_returns(equity, session_day[last_of_day], initial_equity=INITIAL_EQUITY).net_return,
                days_per_year=metrics.days_per_year,
            )
            for equity in closes
        ]
    )
    return RandomEntries(
        n=len(ratios),
        sharpe_mean=float(ratios.mean()),
        sharpe_p95=float(np.quantile(ratios, 0.95)),
        total_return_mean=float(closes[:, -1].mean()) / INITIAL_EQUITY - 1.0,
        p_value=(1 + int((ratios >= metrics.sharpe_ratio).sum())) / (1 + len(ratios)),
    )


def trade_at_random_times(
    inputs: EngineInputs, n_draws: int, generator: np.random.Generator, marks: NDArray[np.intp]
) -> FloatArray:
    """Trade the strategy's own signal at random times; return the equity (n_draws, n_marks) at those bars.

    In each draw the signal of every fold is turned around its block by an offset of its own, all offsets equally
    likely. So a draw keeps the fold's mix of directions, the lengths of its signals and how they cluster; stops,
    holding limits and costs are the strategy's, and only the relation to the prices is lost. Entries drawn one by
    one would lose the clustering too, and any signal that trades in bursts would look significant.
    """
    sizes = inputs.folds[:, 1] - inputs.folds[:, 0]
    return simulate_turned(
        inputs.market,
        inputs.rules,
        inputs.charges,
        inputs.folds,
        offsets=generator.integers(0, sizes, size=(n_draws, len(sizes))),
        marks=marks,
        wanted_exposure=inputs.wanted_exposure,
        initial_equity=INITIAL_EQUITY,
    )
