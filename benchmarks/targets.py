"""Every target of speed in one table, measured now: `python -m benchmarks.targets [ROUNDS] [--into FILE]`.

`--into` replaces what stands between the two marks of a Markdown file by the table and how it was measured.

It fails where a ratio is on the wrong side of its target by more than the noise of its own rounds. A target whose peer
is not installed is shown as not measured, counted, and does not fail.
"""

import argparse
import os
import platform
import sys
from datetime import date
from pathlib import Path

from benchmarks import bench_backtest, bench_features, bench_statistics, bench_training
from benchmarks.side_by_side import ROUNDS, Row, table

BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
LAYERS = (bench_backtest, bench_features, bench_training, bench_statistics)


def main(rounds: int, into: Path | None) -> int:
    """Measure layer after layer, print the table; return 1 where a target is missed."""
    if into is not None:
        replace_measured(into, None)
    before = os.getloadavg()[0]
    rows: list[Row] = []
    for layer in LAYERS:
        print(f"measuring {layer.__name__.rpartition('bench_')[2]} ...", file=sys.stderr, flush=True)
        rows += layer.rows(rounds)
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in sorted({r.verdict for r in rows})}
    said = (
        f"{date.today():%-d %B %Y}, {os.cpu_count()} cores, Python {platform.python_version()}, medians of {rounds}\n"
        f"rounds taken in turns, load {before:.1f} before and {os.getloadavg()[0]:.1f} after.\n\n{table(rows)}\n\n"
        f"{len(rows)} targets: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) + "."
    )
    print(said)
    if into is not None:
        replace_measured(into, said)
    return 1 if any(row.is_missed for row in rows) else 0


def replace_measured(file: Path, said: str | None) -> None:
    """Write what was measured between the marks of a file; with None only see that they are there.

    Raises:
        ValueError: The file lacks them.
    """
    text = file.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"need the lines {BEGIN} and {END} in {file}, was without")
    if said is not None:
        file.write_text(f"{before}{BEGIN}\n{said}\n{END}{after}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Every target of speed in one table, measured now.")
    parser.add_argument("rounds", nargs="?", type=int, default=ROUNDS)
    parser.add_argument("--into", type=Path, metavar="FILE", help="a Markdown file with the two marks")
    asked = parser.parse_args()
    sys.exit(main(asked.rounds, asked.into))
