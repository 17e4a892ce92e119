"""What would have come of no skill: holding the market, and the strategy's own trades at other times."""

import numpy as np
from numpy.typing import NDArray

from ktrdr.backtest.engine import simulate_turned
from ktrdr.backtest.metrics import measure_curve
from ktrdr.backtest.outcome import INITIAL_EQUITY, EquityCurve
from ktrdr.backtest.portfolio import Portfolio
from ktrdr.backtest.report import BacktestMetrics, Baselines, BuyAndHold, RandomEntries
from ktrdr.statistics.performance import sharpe_ratio
from ktrdr.statistics.returns import FloatArray, daily_returns, ends_of_days

N_RANDOM_ENTRIES = 1000
_STREAM = 1  # apart from other draws of the same seed


def measure_baselines(
    portfolio: Portfolio, buy_and_hold: EquityCurve, metrics: BacktestMetrics, *, seed: int
) -> Baselines:
    """Return both baselines of a backtest with these metrics; there are no random entries where nothing was traded."""
    held = measure_curve(buy_and_hold)
    random_entries = None
    if metrics.sharpe_ratio is not None:
        random_entries = _random_entries(portfolio, metrics, seed)
    return Baselines(
        buy_and_hold=BuyAndHold(
            sharpe_ratio=held.sharpe_ratio,
            total_return=held.total_return,
            cagr=held.cagr,
            max_drawdown=held.max_drawdown,
        ),
        random_entry=random_entries,
    )


def _random_entries(portfolio: Portfolio, metrics: BacktestMetrics, seed: int) -> RandomEntries:
    assert metrics.sharpe_ratio is not None
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_STREAM,))))
    session_day = portfolio.session_day
    last_of_day = ends_of_days(session_day)
    closes = trade_at_random_times(portfolio, N_RANDOM_ENTRIES, generator, last_of_day)
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
    portfolio: Portfolio, n_draws: int, generator: np.random.Generator, rows: NDArray[np.intp]
) -> FloatArray:
    """Trade the strategy's own signal at random times; return the equity (n_draws, n_rows) at rows of the timeline.

    In each draw the signal of every fold is turned around its block by an offset of its own, all offsets equally
    likely. So a draw keeps the fold's mix of directions, the lengths of its signals and how they cluster; stops,
    holding limits and costs are the strategy's, and only the relation to the prices is lost. Entries drawn one by
    one would lose the clustering too, and any signal that trades in bursts would look significant. All symbols are
    turned by the same part of the block, so that what their signals have in common stays.
    """
    folds, sizes = np.unique(portfolio.fold, return_counts=True)
    offsets = generator.integers(0, sizes, size=(n_draws, len(sizes)))
    account = np.zeros((n_draws, len(rows)))
    for share in portfolio.shares:
        inputs = share.inputs
        own = np.searchsorted(folds, share.series.fold[inputs.folds[:, 0]])
        own_sizes = inputs.folds[:, 1] - inputs.folds[:, 0]
        last_bar = share.last_bar[rows]
        closes = simulate_turned(
            inputs.market,
            inputs.rules,
            inputs.charges,
            inputs.folds,
            offsets=offsets[:, own] * own_sizes // sizes[own],
            marks=inputs.window[last_bar],
            wanted_exposure=inputs.wanted_exposure,
            initial_equity=portfolio.share_equity,
        )
        closes[:, last_bar < 0] = portfolio.share_equity
        account += closes
    for draw in np.flatnonzero((account <= 0.0).any(axis=1)):  # the ruin of the whole ends everything
        ruined = int(np.argmax(account[draw] <= 0.0))
        account[draw, ruined:] = account[draw, ruined]
    return account
