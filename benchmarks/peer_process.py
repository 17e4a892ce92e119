"""The peers' side, run by their interpreter: `peer_process.py WAY FOLDER`, one run per line of standard input.

Only numpy and the peers are here. vectorbt is timed for its simulation alone: it makes equity and trades later, when
asked, while ours come with every run; its figures are therefore at their best.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


def read(folder: Path) -> dict[str, np.ndarray]:
    """Return the arrays of the folder by name."""
    return {path.stem: np.load(path) for path in sorted(folder.glob("*.npy"))}


def follow_signals(arrays: dict[str, np.ndarray]) -> Callable[[], Callable[[], float]]:
    """Follow signals that fill at the next open with vectorbt, with stops and targets where the folder has them."""
    import vectorbt as vbt
    from vectorbt.portfolio.enums import StopEntryPrice

    stops = {name: arrays[name] for name in ("sl_stop", "tp_stop") if name in arrays}
    if stops:
        stops |= {name: arrays[name] for name in ("open", "high", "low")}
        stops["stop_entry_price"] = StopEntryPrice.FillPrice
    fees = float(arrays["fees"])
    # One column of prices for as many columns of signals as there are.
    close, price = (arrays[name].reshape(-1, *[1] * (arrays["entries"].ndim - 1)) for name in ("close", "open"))

    def run() -> Callable[[], float]:
        portfolio = vbt.Portfolio.from_signals(
            close,
            entries=arrays["entries"],
            short_entries=arrays["short_entries"],
            price=price,
            fees=fees,
            init_cash=1e5,
            **stops,
        )
        return lambda: float(np.sum(portfolio.trades.count()))

    return run


def fuzzify(arrays: dict[str, np.ndarray]) -> Callable[[], Callable[[], float]]:
    """Fuzzify with scikit-fuzzy: every input through its three triangles."""
    from skfuzzy import trimf

    columns = [np.ascontiguousarray(column) for column in arrays["values"].T]
    triangles = arrays["triangles"]

    def run() -> Callable[[], float]:
        found = [trimf(x, abc) for x, three in zip(columns, triangles, strict=True) for abc in three]
        return lambda: float(sum(each.sum() for each in found))

    return run


WAYS = {"vectorbt": follow_signals, "skfuzzy": fuzzify}


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
