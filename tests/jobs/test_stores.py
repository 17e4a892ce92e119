"""Two workspaces that share a store: imports at once, what was there before, a store that went away."""

import shutil
import threading
from functools import partial

import numpy as np
import polars as pl
import pytest

from ktrdr.config import load_settings
from ktrdr.database.engine import open_database
from ktrdr.database.lock import exclusive_lock
from ktrdr.errors import ArtifactsUnavailable
from ktrdr.jobs.stores import open_stores
from ktrdr.market.importer import import_file
from ktrdr.market.request import ImportOptions
from ktrdr.market.samples import install_samples

OPTIONS = ImportOptions(
    symbol="BTCUSD", timeframe="1h", calendar="24x7", timezone="UTC", replace=True, accept_findings=True
)


def bars_file(folder, seed):
    close = 100 + np.cumsum(np.random.default_rng(seed).normal(0, 0.1, 1200))
    opens = np.concatenate([[100.0], close[:-1]])
    times = pl.datetime_range(pl.datetime(2020, 1, 1), pl.datetime(2020, 3, 1), "1h", eager=True)[:1200]
    frame = pl.DataFrame({"time": times, "open": opens, "high": np.maximum(opens, close) + 0.01})
    frame = frame.with_columns(low=np.minimum(opens, close) - 0.01, close=close, volume=np.ones(1200))
    frame.write_parquet(folder / f"bars{seed}.parquet")
    return folder / f"bars{seed}.parquet"


@pytest.fixture
def machines(tmp_path):
    (tmp_path / "store").mkdir()
    database = open_database(f"sqlite:///{tmp_path / 'state.sqlite'}")

    def open_machine(name):
        settings = load_settings(
            {"KTRDR_WORKSPACE": str(tmp_path / name), "KTRDR_ARTIFACTS_URL": f"file://{tmp_path / 'store'}"}
        )
        return open_stores(settings, partial(exclusive_lock, database))

    yield open_machine
    database.close()


def test_imports_on_two_machines_at_once_leave_one_series_on_both(machines, tmp_path):
    one, two = machines("one"), machines("two")
    paths = [bars_file(tmp_path, seed) for seed in range(3)]

    def import_all(store, order):
        for path in order:
            import_file(store, path, OPTIONS)

    threads = [
        threading.Thread(target=import_all, args=(one.bars, paths)),
        threading.Thread(target=import_all, args=(two.bars, paths[::-1])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one.bars.sidecar("BTCUSD", "1h") == two.bars.sidecar("BTCUSD", "1h")
    snapshots = set()
    for machine in (one, two):
        loaded = machine.bars.load_research("BTCUSD", "1h")
        snapshots.add(loaded.snapshot)
        listed = {path.stem for path in (machine.bars.data_dir / "BTCUSD" / "1h").glob("*.parquet")}
        for path in (machine.bars.data_dir / "BTCUSD" / "1h" / "sealed").glob("*.json"):
            machine.bars.load_research("BTCUSD", "1h", snapshot=path.stem)  # every earlier one is to be had, too
            snapshots.add(path.stem)
        assert loaded.snapshot in listed
    assert len(snapshots) == 3
    third = machines("three").bars
    assert [info.symbol for info in third.list_series()] == ["BTCUSD"]
    assert not list(third.data_dir.glob("BTCUSD/1h/*.parquet"))  # a list does not fetch bars
    assert third.load_research("BTCUSD", "1h").snapshot == one.bars.series("BTCUSD", "1h").snapshot


def test_a_workspace_that_joins_a_store_brings_its_series_and_says_when_the_store_is_gone(machines, tmp_path):
    settings = load_settings({"KTRDR_WORKSPACE": str(tmp_path / "one")})
    install_samples(open_stores(settings, lambda name: None).bars)
    assert not (tmp_path / "one" / ".ktrdr" / "shared").exists()
    plain = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one" / "data").rglob("*"))
    one = machines("one")
    two = machines("two")
    listed = two.bars.list_series()
    assert listed == one.bars.list_series()
    for info in listed:
        two.bars.load_research(info.symbol, info.timeframe)
    assert sorted(path.relative_to(tmp_path / "two") for path in (tmp_path / "two" / "data").rglob("*")) == plain
    accepted = one.bars.accept_findings("AAPL", "1d")
    assert two.bars.sidecar("AAPL", "1d") == accepted
    shutil.move(tmp_path / "store", tmp_path / "away")
    for read in (
        two.bars.list_series,
        two.strategies.names,
        lambda: import_file(two.bars, bars_file(tmp_path, 9), OPTIONS),
    ):
        with pytest.raises(ArtifactsUnavailable, match=r"there is no folder .*store: make it, or mount it"):
            read()
    (tmp_path / "store").mkdir()  # mounted, but another folder: never taken for an empty store
    with pytest.raises(ArtifactsUnavailable, match="is not there any more"):
        two.bars.list_series()
