"""How the time of a backtest grows with bars, symbols and variants: `python -m benchmarks.growth [--plot FILE]`.

Every size is run in every round, seconds are the processor's, and the exponent is the slope of the medians on two
logarithmic axes: 1 is linear. It fails where one is above 1.05.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from benchmarks.bench_backtest import make_market, our_run, sweep
from benchmarks.engine_process import LIGHT, STOPPED
from benchmarks.side_by_side import ROUNDS, take_turns, timed
from ktrdr.backtest.engine import Market

MOST = 1.05
BARS = (5_000, 15_000, 50_000, 150_000, 500_000, 1_500_000, 5_000_000)
SYMBOLS = (1, 3, 10, 30, 100)
VARIANTS = (1, 10, 100, 1_000, 10_000)
N_BARS_OF_SYMBOL, N_BARS_OF_VARIANT = 50_000, 5_000


@dataclass(frozen=True, slots=True)
class Growth:
    """Median seconds at each size of one thing."""

    what: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def exponent(self) -> float:
        """Slope of log seconds on log size."""
        return float(np.polyfit(np.log(self.sizes), np.log(self.seconds), 1)[0])


def measure(what: str, runs: dict[int, Callable[[], object]], rounds: int) -> Growth:
    """Time the run of every size in turns; short ones many times a turn."""
    largest = max(runs)
    turns = {str(size): timed(run, min(50, max(1, largest // size))) for size, run in runs.items()}
    taken = take_turns(turns, rounds)
    return Growth(what, tuple(runs), tuple(statistics.median(taken[str(size)]) for size in runs))


def trade_next(markets: Iterator[Market], n: int) -> int:
    """Trade the next `n` markets, one after the other; return the number of all trades."""
    return sum(our_run(market, STOPPED, LIGHT) for market in islice(markets, n))


def growths(rounds: int) -> list[Growth]:
    """Measure all three."""
    bars = {n: partial(our_run, make_market(n), STOPPED, LIGHT) for n in BARS}
    # Each symbol has arrays of its own, as real ones do, and comes round after all the others: none is in the cache.
    symbols = cycle([make_market(N_BARS_OF_SYMBOL) for _ in range(max(SYMBOLS))])
    market = make_market(N_BARS_OF_VARIANT)
    noise = np.random.default_rng(5).uniform(-0.05, 0.05, N_BARS_OF_VARIANT)
    market = market._replace(probability=market.probability + noise)

    def thresholds(n: int) -> NDArray[np.float64]:
        return np.linspace(0.551, 0.649, n) if n > 1 else np.array([0.6])

    return [
        measure("bars", dict(bars), rounds),
        measure(f"symbols of {N_BARS_OF_SYMBOL:,} bars", {n: partial(trade_next, symbols, n) for n in SYMBOLS}, rounds),
        measure(
            f"variants on {N_BARS_OF_VARIANT:,} bars",
            {n: partial(sweep, market, thresholds(n)) for n in VARIANTS},
            rounds,
        ),
    ]


def plot(found: list[Growth], file: Path) -> None:
    """Draw each growth beside a line of exponent 1."""
    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams |= {"svg.hashsalt": "growth", "svg.fonttype": "none"}
    figure, axes = plt.subplots(1, len(found), figsize=(9, 2.8), layout="constrained")
    for axis, each in zip(axes, found, strict=True):
        linear = [each.seconds[-1] * size / each.sizes[-1] for size in each.sizes]
        axis.loglog(each.sizes, linear, color="0.7", linestyle="--", label="linear")
        axis.loglog(each.sizes, each.seconds, marker="o", markersize=3, label=f"exponent {each.exponent:.2f}")
        axis.set_xlabel(each.what)
        axis.legend(frameon=False, fontsize="small")
    axes[0].set_ylabel("seconds")
    figure.savefig(file, metadata={"Date": None})


def main(rounds: int, file: Path | None) -> int:
    """Measure, print, plot where asked to; return 1 where a growth is worse than linear."""
    before = os.getloadavg()[0]
    found = growths(rounds)
    print(f"medians of {rounds} rounds, load {before:.1f} before and {os.getloadavg()[0]:.1f} after\n")
    print("| grows with | exponent | seconds |\n|---|---|---|")
    for each in found:
        points = ", ".join(f"{size:,}: {s:.2g}" for size, s in zip(each.sizes, each.seconds, strict=True))
        print(f"| {each.what} | {each.exponent:.2f} | {points} |")
    if file is not None:
        plot(found, file)
    return 1 if any(each.exponent > MOST for each in found) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="How the time of a backtest grows.")
    parser.add_argument("rounds", nargs="?", type=int, default=ROUNDS)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="an SVG file")
    asked = parser.parse_args()
    sys.exit(main(asked.rounds, asked.plot))
