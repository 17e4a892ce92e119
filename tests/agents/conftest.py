from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from agent_desk import Desk

from ktrdr.market.importer import import_file
from ktrdr.market.request import ImportOptions
from ktrdr.market.samples import install_samples
from ktrdr.market.store import BarStore


@pytest.fixture(scope="session")
def bars_folder(tmp_path_factory):
    """The data folder that `sample_bars` fills."""
    return tmp_path_factory.mktemp("bars") / "data"


@pytest.fixture(scope="session")
def sample_bars(bars_folder):
    """The bundled samples, and one series without volume."""
    folder = bars_folder.parent
    store = BarStore(bars_folder)
    install_samples(store)
    rng = np.random.default_rng(3)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, 4000)))
    opened = np.r_[100.0, close[:-1]]
    frame = pl.DataFrame(
        {
            "timestamp": pl.datetime_range(
                datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 6, 15, 15, tzinfo=UTC), "1h", eager=True
            ),
            "open": opened,
            "high": np.maximum(opened, close) * 1.001,
            "low": np.minimum(opened, close) * 0.999,
            "close": close,
        }
    )
    frame.write_parquet(folder / "quiet.parquet")
    import_file(store, folder / "quiet.parquet", ImportOptions(symbol="NOVOLUME", timeframe="1h", calendar="24x7"))
    return store


@pytest.fixture
def desk(tmp_path, sample_bars):
    return Desk(tmp_path, sample_bars)
