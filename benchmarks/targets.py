"""Every target of speed in one table, measured now: `python -m benchmarks.targets [ROUNDS]`.

It fails where a ratio is on the wrong side of its target by more than the noise of its own rounds. A target whose peer
is not installed is shown as not measured, counted, and does not fail.
"""

import os
import platform
import sys

from benchmarks import bench_backtest, bench_features, bench_statistics, bench_training
from benchmarks.side_by_side import ROUNDS, show

LAYERS = (bench_backtest, bench_features, bench_training, bench_statistics)


def main(rounds: int) -> int:
    """Measure layer after layer, print the table; return 1 where a target is missed."""
    before = os.getloadavg()[0]
    rows = []
    for layer in LAYERS:
        print(f"measuring {layer.__name__.rpartition('bench_')[2]} ...", file=sys.stderr, flush=True)
        rows += layer.rows(rounds)
    print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}, medians of {rounds} "
        f"rounds taken in turns, load {before:.1f} before and {os.getloadavg()[0]:.1f} after\n"
    )
    failed = show(rows)
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in sorted({r.verdict for r in rows})}
    print(f"\n{len(rows)} targets: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return failed


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
