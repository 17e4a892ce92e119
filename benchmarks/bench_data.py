"""Import of five million rows of CSV beside pandas and polars, and reading of half a million stored bars.

    python benchmarks/bench_data.py [ROWS]

The peers parse the same file into columns of numbers and times, and check nothing; the import also checks every row,
clocks the bars, seals their end, measures their quality and writes them. Each runs in a process of its own, so that
peaks of memory can be compared.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

ROWS = 5_000_000
STORED = 500_000
REPEATS = 5


def write_csv(path: Path, n_rows: int) -> None:
    """Write minute bars of a market that never closes."""
    generator = np.random.default_rng(1)
    close = np.exp(np.cumsum(generator.normal(0, 1e-4, n_rows)))
    opens = np.concatenate([[1.0], close[:-1]])
    reach = 1 + np.abs(generator.normal(0, 5e-5, n_rows))
    minutes = pl.Series(np.arange(n_rows, dtype=np.int64) * 60_000 + 1_262_304_000_000).cast(pl.Datetime("ms"))
    pl.DataFrame(
        {
            "timestamp": minutes.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "open": opens.round(5),
            "high": (np.maximum(opens, close) * reach + 1e-5).round(5),
            "low": (np.minimum(opens, close) / reach - 1e-5).round(5),
            "close": close.round(5),
            "volume": generator.integers(1, 1000, n_rows),
        }
    ).write_csv(path)


def import_with_ktrdr(path: Path, folder: Path) -> None:
    """Import a file as users do."""
    from ktrdr.market.importer import import_file
    from ktrdr.market.request import ImportOptions
    from ktrdr.market.store import BarStore

    import_file(BarStore(folder), path, ImportOptions(symbol="BTCUSD", timeframe="1m", calendar="24x7"))


def parse_with_pandas(path: Path, _: Path) -> None:
    """Parse with pandas."""
    import pandas as pd

    pd.read_csv(path, parse_dates=["timestamp"])


def parse_with_polars(path: Path, _: Path) -> None:
    """Parse with polars."""
    pl.read_csv(path, try_parse_dates=True)


WAYS = {"ktrdr": import_with_ktrdr, "pandas": parse_with_pandas, "polars": parse_with_polars}


def run_alone(way: str, path: Path, folder: Path) -> dict[str, float]:
    """Run one way in a process of its own and return its seconds, processor seconds and peak gigabytes."""
    command = [sys.executable, __file__, "--way", way, str(path), str(folder)]
    answer: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer


def measure(way: str, path: Path, folder: Path) -> None:
    """Print what one way took, as JSON."""
    start = time.perf_counter()
    WAYS[way](path, folder)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    # On a machine that does other things too, the processor's time says more than the clock's.
    print(json.dumps({"seconds": seconds, "cpu_s": used.ru_utime + used.ru_stime, "peak_gb": used.ru_maxrss / 1e6}))


def bench_reading(folder: Path) -> None:
    """Print how long stored bars take to read, beside polars reading the same columns without checking their hash."""
    from ktrdr.market.store import BarStore

    store = BarStore(folder)
    path = folder / "BTCUSD" / "1m" / f"{store.series('BTCUSD', '1m').snapshot}.parquet"
    best = {"ktrdr": 1e9, "polars": 1e9}
    for _ in range(REPEATS):
        for name, read in (
            ("ktrdr", lambda: store.load_research("BTCUSD", "1m")),
            ("polars", lambda: pl.read_parquet(path)),
        ):
            start = time.perf_counter()
            read()
            best[name] = min(best[name], time.perf_counter() - start)
    n_bars = store.series("BTCUSD", "1m").n_bars
    print(
        f"reading {n_bars:,} bars: ktrdr {best['ktrdr'] * 1000:.0f} ms (hash checked), polars"
        f" {best['polars'] * 1000:.0f} ms, ratio {best['ktrdr'] / best['polars']:.1f}"
    )


def main() -> None:
    """Print the comparison."""
    n_rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large, small = folder / "large.csv", folder / "small.csv"
        write_csv(large, n_rows)
        took = {way: run_alone(way, large, folder / "large") for way in WAYS}
        print(f"{n_rows:,} rows of CSV ({large.stat().st_size / 1e6:.0f} MB)")
        for way, found in took.items():
            ratio = took["ktrdr"]["seconds"] / found["seconds"]
            figures = f"{found['seconds']:6.1f} s  {found['cpu_s']:6.1f} s of CPU  {found['peak_gb']:.2f} GB peak"
            print(f"  {way:7} {figures}  (ktrdr takes {ratio:.1f} times)")
        write_csv(small, int(STORED / 0.8))  # a fifth is sealed
        import_with_ktrdr(small, folder / "small")
        bench_reading(folder / "small")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--way"]:
        measure(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main()
