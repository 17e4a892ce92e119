"""Our engine beside backtesting.py, interleaved in one run: `python -m benchmarks.bench_backtest [ROUNDS]`.

Both follow the same probabilities over the same 50,000 hourly bars, with costs. Absolute times are the machine's
business; the ratios are what the targets speak of (at least 500x, with stop and target).
"""

import math
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ktrdr.backtest.engine import BOTH, NO_MAX_HOLDING, Charges, Market, Rules, simulate

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pandas as pd
    from backtesting import Backtest, Strategy

N_BARS = 50_000
HOUR = 3_600_000
FILL_BPS = 1.2
TARGET_RATIO = 500.0
COLD_START = """
import numpy as np
from ktrdr.backtest.engine import *
n = 100
flat, times = np.ones(n), np.arange(n, dtype=np.int64)
market = Market(times, times + 1, flat, flat, flat, flat, flat, flat, np.empty(0))
rules = Rules(0.55, 0.5, BOTH, 1.0, 2.0, 4.0, 48, 0)
simulate(market, rules, Charges(1.0, 0.0, 0.0), np.array([[0, n]]), initial_equity=1e5)
"""


@dataclass(frozen=True)
class Case:
    """One parameter set, and what to call it."""

    name: str
    rules: Rules


CASES = (
    Case("plain signals", Rules(0.55, 0.45, BOTH, 0.99, math.inf, math.inf, NO_MAX_HOLDING, 0)),
    Case("stop and target", Rules(0.55, 0.45, BOTH, 0.99, 2.0, 4.0, NO_MAX_HOLDING, 0)),
)


def make_market() -> Market:
    """Return a seeded random walk with a persistent signal."""
    rng = np.random.default_rng(11)
    close = 1.1 * np.exp(np.cumsum(rng.normal(0, 0.001, N_BARS)))
    open_ = np.concatenate(([1.1], close[:-1]))
    spread = np.exp(rng.exponential(0.0004, (2, N_BARS)))
    high, low = np.maximum(open_, close) * spread[0], np.minimum(open_, close) / spread[1]
    opened = np.arange(N_BARS, dtype=np.int64) * HOUR
    # A moving-average crossing, as a probability: a trade every few dozen bars.
    fast, slow = (np.convolve(close, np.ones(n) / n, "full")[:N_BARS] for n in (10, 40))
    probability = np.where(np.arange(N_BARS) < 40, 0.5, np.where(fast > slow, 0.6, 0.4))
    atr = np.convolve(high - low, np.ones(14) / 14, "full")[:N_BARS]
    return Market(opened, opened + HOUR, open_, high, low, close, probability, atr, np.empty(0))


def our_run(market: Market, rules: Rules) -> int:
    """Return our number of trades."""
    folds = np.array([[0, N_BARS]], dtype=np.int64)
    return len(simulate(market, rules, Charges(FILL_BPS, 0.0, 0.0), folds, initial_equity=100_000.0).trades)


def peer_run(market: Market, frame: pd.DataFrame, rules: Rules) -> int:
    """Return backtesting.py's number of trades; its stops are set from the signal's close."""

    class Follow(Strategy):
        def init(self) -> None:
            self.probability = market.probability
            self.atr = market.atr

        def next(self) -> None:
            bar = len(self.data) - 1
            p, held = self.probability[bar], self.position.size
            if held and (p if held > 0 else 1 - p) < rules.exit:
                self.position.close()
            side = 1 if p >= rules.enter else -1
            if (1 - p < rules.enter and side < 0) or side * held > 0:
                return
            close, reach = self.data.Close[-1], side * self.atr[bar]
            levels = {}
            if rules.stop_loss_atr < math.inf:
                levels = {"sl": close - rules.stop_loss_atr * reach, "tp": close + rules.take_profit_atr * reach}
            (self.buy if side > 0 else self.sell)(size=rules.exposure, **levels)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = Backtest(frame, Follow, cash=1e8, commission=FILL_BPS / 10_000)
        return len(peer.run()["_trades"])


def peer_frame(market: Market) -> pd.DataFrame:
    """Return the bars as backtesting.py takes them."""
    columns = {name.title(): getattr(market, name) for name in ("open", "high", "low", "close")}
    return pd.DataFrame({**columns, "Volume": 1.0}, index=pd.to_datetime(market.timestamp, unit="ms"))


def seconds(run: Callable[[], int]) -> float:
    """Return the wall time of one call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def cold_start_seconds() -> float:
    """Return a fresh process's import and first backtest, the compiled kernel on disk."""
    return seconds(lambda: subprocess.run([sys.executable, "-c", COLD_START], check=True).returncode)


def main(rounds: int) -> int:
    """Print one line per case; return 1 where a target is missed."""
    market = make_market()
    frame = peer_frame(market)
    is_met = True
    for case in CASES:
        n_ours, n_theirs = our_run(market, case.rules), peer_run(market, frame, case.rules)
        ours, theirs = [], []
        for _ in range(rounds):
            theirs.append(seconds(lambda case=case: peer_run(market, frame, case.rules)))
            ours.extend(seconds(lambda case=case: our_run(market, case.rules)) for _ in range(20))
        our_rate, their_rate = N_BARS / statistics.median(ours), N_BARS / statistics.median(theirs)
        ratio = our_rate / their_rate
        is_met = is_met and ratio >= TARGET_RATIO
        print(
            f"backtest, {case.name}, {N_BARS} bars: ktrdr {our_rate / 1e6:.0f} M bars/s ({n_ours} trades), "
            f"backtesting.py {their_rate / 1e3:.0f} k bars/s ({n_theirs} trades): {ratio:.0f}x "
            f"(target {TARGET_RATIO:.0f}x)"
        )
    cold = statistics.median(cold_start_seconds() for _ in range(3))
    print(f"backtest, cold start with a cached kernel: {cold:.2f} s")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
