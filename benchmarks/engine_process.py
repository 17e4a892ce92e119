"""Ours in a process of its own, for its peak memory: `python -m benchmarks.engine_process FOLDER`, a run per line.

It loads what a simulation needs and nothing else, as the peers' process does.
"""

import json
import math
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.peer_process import peak_bytes
from ktrdr.backtest.engine import BOTH, NO_MAX_HOLDING, Charges, Market, Rules, simulate

CHARGES = Charges(1.2, 0.0, 0.0)
LIGHT = CHARGES._replace(fill_bps=0.01)
"""For long series: whoever pays more some hundred thousand times has nothing left, and vectorbt then stops trading."""
PLAIN = Rules(0.55, 0.5, BOTH, 0.99, math.inf, math.inf, NO_MAX_HOLDING, 0)
STOPPED = PLAIN._replace(stop_loss_atr=2.0, take_profit_atr=4.0)


def our_run(market: Market, rules: Rules, charges: Charges = CHARGES) -> int:
    """Return our number of trades; equity and trades are made on the way."""
    folds = np.array([[0, len(market.close)]], dtype=np.int64)
    return len(simulate(market, rules, charges, folds, initial_equity=100_000.0).trades)


def main(folder: Path) -> None:
    """Answer every line with one run over the market of the folder."""
    market = Market(**{name: np.load(folder / f"market_{name}.npy") for name in Market._fields})
    for _ in sys.stdin:
        began = time.process_time()
        n_trades = our_run(market, STOPPED, LIGHT)
        seconds = time.process_time() - began
        print(json.dumps({"seconds": seconds, "counted": n_trades, "peak_bytes": peak_bytes()}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
