"""Statistics, the interval and the baselines beside named peers: `python -m benchmarks.bench_statistics [ROUNDS]`.

Interleaved in one run; absolute times are the machine's business, the ratios are what the targets speak of.
"""

import statistics
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np

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
METRICS_TARGET = 5.0
BASELINE_TARGET_S = 1.0
HOUR = 3_600_000


def median_seconds(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median wall time of each run, one after the other in every round; the first round is not counted."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if number > 0:
                found[name].append(time.perf_counter() - began)
    return {name: statistics.median(each) for name, each in found.items()}


def bench_metrics(rounds: int) -> bool:
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
    took = median_seconds({"ours": ours, "theirs": theirs}, 20 * rounds)
    ratio = took["theirs"] / took["ours"]
    print(
        f"statistics, four metrics of {N_POINTS} points: ktrdr {took['ours'] * 1e3:.2f} ms, empyrical-reloaded "
        f"{took['theirs'] * 1e3:.2f} ms: {ratio:.1f}x (target {METRICS_TARGET:.0f}x)"
    )
    return ratio >= METRICS_TARGET


def bench_interval(rounds: int) -> bool:
    """The stationary bootstrap of the Sharpe ratio of six years of days."""
    returns = np.random.default_rng(2).normal(0.0003, 0.01, N_DAYS)
    took = median_seconds(
        {
            "ours": lambda: resampled_ratios(returns, np.random.default_rng(3), N_DRAWS, 1 / BLOCK),
            "theirs": lambda: StationaryBootstrap(BLOCK, returns, seed=3).apply(
                lambda sample: sample.mean() / sample.std(ddof=1), N_DRAWS
            ),
        },
        rounds,
    )
    print(
        f"interval, {N_DRAWS} stationary resamples of {N_DAYS} days: ktrdr {took['ours'] * 1e3:.0f} ms, arch "
        f"{took['theirs'] * 1e3:.0f} ms: {took['theirs'] / took['ours']:.1f}x (target 1x)"
    )
    return took["theirs"] >= took["ours"]


def bench_baselines(rounds: int) -> bool:
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

    took = median_seconds({"ours": ours}, rounds)["ours"]
    rate = N_ENTRY_DRAWS * (N_BARS - int(edges[0])) / took
    print(
        f"baselines, {N_ENTRY_DRAWS} random entries on the test blocks of {N_BARS} bars: {took:.2f} s, "
        f"{rate / 1e6:.0f} M bars/s (target {BASELINE_TARGET_S:.0f} s)"
    )
    return took <= BASELINE_TARGET_S


def main(rounds: int) -> int:
    """Print one line per row; return 1 where a target is missed."""
    met = [bench(rounds) for bench in (bench_metrics, bench_interval, bench_baselines)]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
