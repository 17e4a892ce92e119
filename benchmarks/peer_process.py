"""The peers' side, run by their interpreter: `peer_process.py WAY FOLDER`, one run per line of standard input.

Only numpy and the peers are here. vectorbt is timed for its simulation alone: it makes equity and trades later, when
asked, while ours come with every run; its figures are therefore at their best.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def read(folder: Path) -> dict[str, np.ndarray]:
    """Return the arrays of the folder by name."""
    return {path.stem: np.load(path) for path in sorted(folder.glob("*.npy"))}


def follow_signals(arrays: dict[str, np.ndarray]) -> Callable[[], Callable[[], float]]:
    """Follow signals that fill at the next open with vectorbt; its simulation alone."""
    simulation = simulation_of(arrays)

    def run() -> Callable[[], float]:
        portfolio = simulation()
        return lambda: float(np.sum(portfolio.trades.count()))

    return run


def follow_to_results(arrays: dict[str, np.ndarray]) -> Callable[[], Callable[[], float]]:
    """Follow signals, and make the trades and the equity of every bar, which ours come with."""
    simulation = simulation_of(arrays)

    def run() -> Callable[[], float]:
        portfolio = simulation()
        results = {"trades": portfolio.trades.values, "equity": portfolio.value().to_numpy()}

        def write() -> float:
            for name, values in results.items():
                np.save(Path(sys.argv[2]) / f"found_{name}.npy", values)
            return float(len(results["trades"]))

        return write

    return run


def simulation_of(arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
    """Return vectorbt's simulation of the folder, with exits, stops and targets where it has them."""
    import vectorbt as vbt
    from vectorbt.portfolio.enums import StopEntryPrice

    chosen = {name: arrays[name] for name in ("exits", "short_exits", "sl_stop", "tp_stop") if name in arrays}
    if "sl_stop" in arrays:
        chosen |= {name: arrays[name] for name in ("open", "high", "low")}
        chosen["stop_entry_price"] = StopEntryPrice.FillPrice
    # One column of prices for as many columns of signals as there are, where they have one only.
    n_axes = arrays["entries"].ndim
    close, price = (
        each if each.ndim == n_axes else each.reshape(-1, *[1] * (n_axes - 1))
        for each in (arrays["close"], arrays["open"])
    )
    return lambda: vbt.Portfolio.from_signals(
        close,
        entries=arrays["entries"],
        short_entries=arrays["short_entries"],
        price=price,
        fees=float(arrays["fees"]),
        init_cash=1e5,
        **chosen,
    )


def fuzzify(arrays: dict[str, np.ndarray]) -> Callable[[], Callable[[], float]]:
    """Fuzzify with scikit-fuzzy: every input through its three triangles."""
    from skfuzzy import trimf

    columns = [np.ascontiguousarray(column) for column in arrays["values"].T]
    triangles = arrays["triangles"]

    def run() -> Callable[[], float]:
        total = 0.0
        for x, three in zip(columns, triangles, strict=True):
            for abc in three:
                total += trimf(x, abc).sum()
        return lambda: total

    return run


WAYS = {"vectorbt": follow_signals, "vectorbt-results": follow_to_results, "skfuzzy": fuzzify}


def peak_bytes() -> int:
    """Return this program's largest resident size; getrusage would count what started it, too."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def main(way: str, folder: Path) -> None:
    """Answer every line with one run."""
    run = WAYS[way](read(folder))
    for _ in sys.stdin:
        began = time.process_time()
        count = run()
        seconds = time.process_time() - began
        peak = peak_bytes()
        print(json.dumps({"seconds": seconds, "counted": count(), "peak_bytes": peak}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
