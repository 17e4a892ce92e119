"""The engine beside backtesting.py and vectorbt: `python -m benchmarks.bench_backtest [ROUNDS]`.

All follow the same probabilities over the same bars, with costs. Ours returns trades, equity and positions from every
run, a sweep of many sets trades and equity; vectorbt is timed for its simulation alone.
"""

import math
import resource
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
from numpy.typing import NDArray

from benchmarks.engine_process import CHARGES, LIGHT, PLAIN, STOPPED, our_run
from benchmarks.peers import ABSENT, PeerProcess, is_installed, peer_command
from benchmarks.side_by_side import ROUNDS, Row, cheaper, faster, not_measured, of_limit, show, take_turns, timed
from ktrdr.backtest.engine import Charges, Market, Rules, simulate_many

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pandas as pd
    from backtesting import Backtest, Strategy

N_BARS, N_LARGE, N_SETS = 50_000, 5_000_000, 1_000
HOUR = 3_600_000
COLD_START = """
import numpy as np
from ktrdr.backtest.engine import *
n = 100
flat, times = np.ones(n), np.arange(n, dtype=np.int64)
market = Market(times, times + 1, flat, flat, flat, flat, flat, flat, np.empty(0))
rules = Rules(0.55, 0.5, BOTH, 1.0, 2.0, 4.0, 48, 0)
simulate(market, rules, Charges(1.0, 0.0, 0.0), np.array([[0, n]]), initial_equity=1e5)
"""
STOP_ROW, SETS_ROW = "backtest, stop and target, 50k bars", "backtest, 1,000 parameter sets"
MEMORY_ROW, COLD_ROW = "backtest, 5 M bars, peak memory", "cold start of a backtest, cached"


def make_market(n_bars: int) -> Market:
    """Return a seeded random walk; the probability is a crossing of averages: a trade every few dozen bars."""
    rng = np.random.default_rng(11)
    close = 1.1 * np.exp(np.cumsum(rng.normal(0, 0.001, n_bars)))
    open_ = np.concatenate(([1.1], close[:-1]))
    spread = np.exp(rng.exponential(0.0004, (2, n_bars)))
    high, low = np.maximum(open_, close) * spread[0], np.minimum(open_, close) / spread[1]
    opened = np.arange(n_bars, dtype=np.int64) * HOUR
    fast, slow = (np.convolve(close, np.ones(n) / n, "full")[:n_bars] for n in (10, 40))
    probability = np.where(np.arange(n_bars) < 40, 0.5, np.where(fast > slow, 0.6, 0.4))
    atr = np.convolve(high - low, np.ones(14) / 14, "full")[:n_bars]
    return Market(opened, opened + HOUR, open_, high, low, close, probability, atr, np.empty(0))


def sweep(market: Market, thresholds: NDArray[np.float64]) -> int:
    """Run one parameter set after the other, as a sweep does; return the number of all trades."""
    folds = np.array([[0, len(market.close)]], dtype=np.int64)
    sets = (PLAIN._replace(enter=float(enter)) for enter in thresholds)
    return sum(len(each.trades) for each in simulate_many(market, sets, CHARGES, folds, initial_equity=100_000.0))


def signals(probability: NDArray[np.float64], enter: NDArray[np.float64] | float) -> dict[str, NDArray[np.bool_]]:
    """Return vectorbt's entries: what a close decides fills at the next open."""
    known = np.concatenate(([0.5], probability[:-1]))
    known = known[:, None] if np.ndim(enter) else known
    return {"entries": known >= enter, "short_entries": 1 - known >= enter}


def write_for_vectorbt(
    folder: Path, market: Market, entries: dict[str, NDArray[np.bool_]], rules: Rules, charges: Charges = CHARGES
) -> Path:
    """Write what the peer reads; return the folder."""
    folder.mkdir()
    arrays: dict[str, NDArray[np.generic]] = {**entries, "open": market.open, "close": market.close}
    arrays["fees"] = np.array(charges.fill_bps / 10_000)
    if rules.stop_loss_atr < math.inf:
        reach = np.concatenate(([market.atr[0]], market.atr[:-1])) / market.open
        arrays |= {"high": market.high, "low": market.low}
        arrays |= {"sl_stop": rules.stop_loss_atr * reach, "tp_stop": rules.take_profit_atr * reach}
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    return folder


def backtesting_run(market: Market, frame: pd.DataFrame, rules: Rules) -> int:
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
            levels = {"sl": close - rules.stop_loss_atr * reach, "tp": close + rules.take_profit_atr * reach}
            (self.buy if side > 0 else self.sell)(size=rules.exposure, **levels)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = Backtest(frame, Follow, cash=1e8, commission=CHARGES.fill_bps / 10_000)
        return len(peer.run()["_trades"])


def backtesting_frame(market: Market) -> pd.DataFrame:
    """Return the bars as backtesting.py takes them."""
    columns = {name.title(): getattr(market, name) for name in ("open", "high", "low", "close")}
    return pd.DataFrame({**columns, "Volume": 1.0}, index=pd.to_datetime(market.timestamp, unit="ms"))


@numba.njit(cache=True)
def stream(
    open_: NDArray[np.float64],
    high: NDArray[np.float64],
    low: NDArray[np.float64],
    close: NDArray[np.float64],
    probability: NDArray[np.float64],
    equity: NDArray[np.float64],
) -> None:
    """Move what a backtest of bars cannot but move, and do nothing else: the limit that memory sets."""
    for bar in range(len(close)):
        equity[bar] = open_[bar] + high[bar] + low[bar] + close[bar] + probability[bar]


def bench_stop_and_target(rounds: int, folder: Path, has_vectorbt: bool) -> list[Row]:
    """50,000 bars with stop and target beside both peers."""
    market = make_market(N_BARS)
    frame = backtesting_frame(market)
    equity = np.empty(N_BARS)
    turns = {
        "ours": timed(lambda: our_run(market, STOPPED), 50),
        "limit": timed(lambda: stream(*market[2:7], equity), 50),
        "backtesting.py": timed(lambda: backtesting_run(market, frame, STOPPED)),
    }
    entries = signals(market.probability, STOPPED.enter)
    peer = None
    if has_vectorbt:
        peer = PeerProcess(peer_command("vectorbt", write_for_vectorbt(folder / "stops", market, entries, STOPPED)))
        turns["vectorbt"] = peer.turn()
    taken = take_turns(turns, rounds)
    rows = [not_measured(STOP_ROW, 20, f"vectorbt: {ABSENT}")]
    amounts, unit, limit = (N_BARS / 1e3, N_BARS / 1e3), "bars", taken["limit"]
    if peer is not None:
        n_theirs, n_ours = peer.ask()["counted"], our_run(market, STOPPED)
        assert abs(n_theirs / n_ours - 1) < 0.05, f"vectorbt traded {n_theirs} times, ours {n_ours}"
        peer.close()
        ours, theirs = taken["ours"], taken["vectorbt"]
        rows = [faster(STOP_ROW, ours, theirs, at_least=20, amounts=amounts, unit=unit, name="vectorbt", limit=limit)]
    ours, theirs, name = taken["ours"], taken["backtesting.py"], "backtesting.py"
    return [*rows, faster(STOP_ROW, ours, theirs, at_least=500, amounts=amounts, unit=unit, name=name, limit=limit)]


def bench_parameter_sets(rounds: int, folder: Path) -> Row:
    """A thousand thresholds of entry over the same bars; vectorbt is handed their signals ready-made."""
    market = make_market(N_BARS)
    noise = np.random.default_rng(5).uniform(-0.05, 0.05, N_BARS)
    market = market._replace(probability=market.probability + noise)
    thresholds = np.linspace(0.551, 0.649, N_SETS)
    path = write_for_vectorbt(folder / "sets", market, signals(market.probability, thresholds), PLAIN)
    peer = PeerProcess(peer_command("vectorbt", path))
    taken = take_turns({"ours": timed(lambda: sweep(market, thresholds)), "vectorbt": peer.turn()}, rounds)
    peer.close()
    amount = N_BARS * N_SETS / 1e3
    ours, theirs = taken["ours"], taken["vectorbt"]
    return faster(SETS_ROW, ours, theirs, at_least=40, amounts=(amount, amount), unit="bars", name="vectorbt")


def bench_large(rounds: int) -> Row:
    """Five million bars beside moving their memory once, in the same process."""
    market = make_market(N_LARGE)
    equity = np.empty(N_LARGE)
    taken = take_turns(
        {
            "ours": timed(lambda: our_run(market, STOPPED, LIGHT), 3),
            "limit": timed(lambda: stream(*market[2:7], equity), 3),
        },
        rounds,
    )
    rates = [[N_LARGE / seconds / 1e6 for seconds in taken[name]] for name in ("ours", "limit")]
    what, name = "backtest, stop and target, 5 M bars", "memory traffic"
    return of_limit(what, *rates, at_least=0.15, unit="M bars/s", name=name)


def bench_memory(rounds: int, folder: Path) -> Row:
    """The largest resident size of a process that reads five million bars and makes trades and equity, once.

    Both read what they need: no times of bars, since holding costs nothing.
    """
    untimed = np.empty(0, dtype=np.int64)
    market = make_market(N_LARGE)._replace(timestamp=untimed, known_at=untimed)
    entries = signals(market.probability, STOPPED.enter)
    theirs = write_for_vectorbt(folder / "large", market, entries, STOPPED, LIGHT)
    for name, values in market._asdict().items():
        np.save(folder / f"market_{name}.npy", values)

    def peak(command: list[str]) -> float:
        process = PeerProcess(command)
        found = float(process.ask()["peak_bytes"])
        process.close()
        return found

    own_command = [sys.executable, "-m", "benchmarks.engine_process", str(folder)]
    peer = peer_command("vectorbt-results", theirs)
    taken = take_turns({"ours": lambda: peak(own_command), "vectorbt": lambda: peak(peer)}, rounds)
    ours, peers = taken["ours"], taken["vectorbt"]
    return cheaper(MEMORY_ROW, ours, peers, at_most=0.35, unit="GB", name="vectorbt", scale=1e-9)


def child_seconds(run: Callable[[], None]) -> float:
    """Return the processor seconds of the child process that `run` starts and waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def bench_cold_start(rounds: int, folder: Path) -> Row:
    """A fresh process until its first backtest, what is compiled on disk."""
    market = make_market(100)
    path = write_for_vectorbt(folder / "cold", market, signals(market.probability, STOPPED.enter), STOPPED)

    def theirs() -> None:
        process = PeerProcess(peer_command("vectorbt", path))
        process.ask()
        process.close()

    def ours() -> None:
        subprocess.run([sys.executable, "-c", COLD_START], check=True)

    taken = take_turns({"ours": lambda: child_seconds(ours), "vectorbt": lambda: child_seconds(theirs)}, rounds)
    return cheaper(COLD_ROW, taken["ours"], taken["vectorbt"], at_most=0.25, unit="s", name="vectorbt")


def rows(rounds: int = ROUNDS) -> list[Row]:
    """Measure every row of this layer."""
    has_vectorbt = is_installed("vectorbt")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = bench_stop_and_target(rounds, folder, has_vectorbt)
        if has_vectorbt:
            found.append(bench_parameter_sets(rounds, folder))
        else:
            found.append(not_measured(SETS_ROW, 40, f"vectorbt: {ABSENT}"))
        found.append(bench_large(rounds))
        if has_vectorbt:
            found += [bench_memory(rounds, folder), bench_cold_start(rounds, folder)]
        else:
            absent = f"vectorbt: {ABSENT}"
            found.append(not_measured(MEMORY_ROW, 0.35, absent, is_at_most=True))
            found.append(not_measured(COLD_ROW, 0.25, absent, is_at_most=True))
    return found


if __name__ == "__main__":
    sys.exit(show(rows(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)))
