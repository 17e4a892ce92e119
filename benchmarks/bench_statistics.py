"""Statistics, the interval and the baselines beside named peers: `python -m benchmarks.bench_statistics [ROUNDS]`.

Interleaved in one run; absolute times are the machine's business, the ratios are what the targets speak of.
"""

import sys
import warnings

import numpy as np

from benchmarks.side_by_side import ROUNDS, Row, cheaper, faster, show, take_turns, timed
from ktrdr.backtest.engine import BOTH, NO_MAX_HOLDING, Charges, Market, Rules, simulate_turned
from ktrdr.statistics.bootstrap import N_DRAWS, resampled_ratios
from ktrdr.statistics.performance import annual_growth, max_drawdown, sharpe_ratio, sortino_ratio

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import empyrical
    from arch.bootstrap import StationaryBootstrap

N_POINTS = 50_000
N_DAYS = 1_560
BLOCK = 5.0
N_BARS = 45_000
N_ENTRY_DRAWS = 1_000
HOUR = 3_600_000


def bench_metrics(rounds: int) -> Row:
    """Sharpe, Sortino, drawdown and growth of 50,000 points, from what each library is given."""
    returns = np.random.default_rng(1).normal(0.0001, 0.01, N_POINTS)
    equity = 1e5 * np.cumprod(1 + returns)

    def ours() -> tuple[float, ...]:
        return (
            sharpe_ratio(returns, days_per_year=252.0),
            sortino_ratio(returns, days_per_year=252.0),
            -max_drawdown(equity, initial_equity=1e5),
            annual_growth(equity[-1] / 1e5 - 1, years=N_POINTS / 252.0),
        )

    def theirs() -> tuple[float, ...]:
        return (
            empyrical.sharpe_ratio(returns, annualization=252),
            empyrical.sortino_ratio(returns, annualization=252),
            empyrical.max_drawdown(returns),
            empyrical.cagr(returns, annualization=252),
        )

    np.testing.assert_allclose(ours(), theirs(), rtol=1e-8)
    taken = take_turns({"ours": timed(ours, 20), "theirs": timed(theirs, 20)}, rounds)
    return faster(
        "statistics, four metrics, 50k points",
        taken["ours"],
        taken["theirs"],
        at_least=5,
        amounts=(N_POINTS / 1e3, N_POINTS / 1e3),
        unit="points",
        name="empyrical-reloaded",
    )


def bench_interval(rounds: int) -> Row:
    """The stationary bootstrap of the Sharpe ratio of six years of days."""
    returns = np.random.default_rng(2).normal(0.0003, 0.01, N_DAYS)

    def ours() -> object:
        return resampled_ratios(returns, np.random.default_rng(3), N_DRAWS, 1 / BLOCK)

    def theirs() -> object:
        bootstrap = StationaryBootstrap(BLOCK, returns, seed=3)
        return bootstrap.apply(lambda sample: sample.mean() / sample.std(ddof=1), N_DRAWS)

    taken = take_turns({"ours": timed(ours), "theirs": timed(theirs)}, rounds)
    return faster(
        f"interval, stationary resamples of {N_DAYS} days",
        taken["ours"],
        taken["theirs"],
        at_least=1,
        amounts=(N_DRAWS / 1e3, N_DRAWS / 1e3),
        unit="draws",
        name="arch",
    )


def bench_baselines(rounds: int) -> Row:
    """A thousand random-entry draws through the engine, stop and target on."""
    rng = np.random.default_rng(11)
    close = 1.1 * np.exp(np.cumsum(rng.normal(0, 0.001, N_BARS)))
    open_ = np.concatenate(([1.1], close[:-1]))
    spread = np.exp(rng.exponential(0.0004, (2, N_BARS)))
    high, low = np.maximum(open_, close) * spread[0], np.minimum(open_, close) / spread[1]
    opened = np.arange(N_BARS, dtype=np.int64) * HOUR
    probability = np.clip(0.5 + np.convolve(rng.normal(0, 0.3, N_BARS), np.ones(40) / 40, "same"), 0, 1)
    atr = np.convolve(high - low, np.ones(14) / 14, "full")[:N_BARS]
    market = Market(opened, opened + HOUR, open_, high, low, close, probability, atr, np.empty(0))
    edges = np.linspace(N_BARS // 6, N_BARS, 6).astype(np.int64)
    folds = np.stack((edges[:-1], edges[1:]), axis=1)
    offsets = rng.integers(0, folds[0, 1] - folds[0, 0], (N_ENTRY_DRAWS, 5))

    def ours() -> object:
        return simulate_turned(
            market,
            Rules(0.55, 0.45, BOTH, 1.0, 2.0, 4.0, NO_MAX_HOLDING, 0),
            Charges(1.2, 0.0, 0.0),
            folds,
            offsets=offsets,
            marks=np.arange(edges[0], N_BARS, 24),
            initial_equity=100_000.0,
        )

    taken = take_turns({"ours": timed(ours), "a second": lambda: 1.0}, rounds)
    what = f"baselines, {N_ENTRY_DRAWS} random entries on the test blocks of {N_BARS} bars"
    return cheaper(what, taken["ours"], taken["a second"], at_most=1, unit="s", name="a second")


def rows(rounds: int = ROUNDS) -> list[Row]:
    """Measure every row of this layer."""
    return [bench(rounds) for bench in (bench_metrics, bench_interval, bench_baselines)]


if __name__ == "__main__":
    sys.exit(show(rows(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)))
