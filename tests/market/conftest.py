"""Bars that are made up but possible, and stores to put them into."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from ktrdr.market.store import BarStore

MakeFrame = Callable[..., pl.DataFrame]
ReadTree = Callable[[], dict[str, bytes]]


@pytest.fixture
def store(tmp_path) -> BarStore:
    return BarStore(tmp_path / "workspace" / "data")


@pytest.fixture
def tree(store) -> ReadTree:
    """Every file of the store with its bytes; folders too, so that an empty one shows."""

    def read_tree() -> dict[str, bytes]:
        root = store.data_dir.parent
        return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else b"" for path in root.rglob("*")}

    return read_tree


def possible_prices(n_bars: int, seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    close = np.exp(np.cumsum(generator.normal(0, 1e-3, n_bars)))
    opens = np.concatenate([[1.0], close[:-1]])
    reach = 1 + np.abs(generator.normal(0, 5e-4, n_bars))
    return {
        "open": opens,
        "high": np.maximum(opens, close) * reach,
        "low": np.minimum(opens, close) / reach,
        "close": close,
        "volume": generator.integers(1, 1000, n_bars).astype(float),
    }


@pytest.fixture
def fx_hours() -> MakeFrame:
    """Hourly bars of a currency pair, walked hour by hour through the weeks of 2021."""

    def make(n_bars: int = 1200, seed: int = 1, start: datetime = datetime(2021, 1, 3, 22, tzinfo=UTC)) -> pl.DataFrame:
        new_york, hours, moment = ZoneInfo("America/New_York"), [], start
        while len(hours) < n_bars:
            local = moment.astimezone(new_york)
            week_hour = local.isoweekday() % 7 * 24 + local.hour  # Sunday 00:00 is hour 0
            if 17 <= week_hour < 5 * 24 + 17:
                hours.append(moment)
            moment += timedelta(hours=1)
        return pl.DataFrame({"timestamp": hours, **possible_prices(n_bars, seed)}).with_columns(
            pl.col("timestamp").cast(pl.Datetime("us", "UTC"))
        )

    return make


@pytest.fixture
def write(tmp_path) -> Callable[[str, pl.DataFrame | str | bytes], Path]:
    """Write a frame by the file's suffix, or text or bytes as they are."""

    def write_file(name: str, content: pl.DataFrame | str | bytes) -> Path:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content)
        elif path.suffix == ".csv":
            content.with_columns(pl.col("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).write_csv(path)
        else:
            content.write_parquet(path)
        return path

    return write_file
