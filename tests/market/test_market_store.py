import json
import multiprocessing
import resource
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from importing import import_file

from ktrdr.errors import InvalidInput, NotFound, WorkspaceUnusable
from ktrdr.market.store import BarStore

EURUSD = {"symbol": "EURUSD", "timeframe": "1h"}


@pytest.fixture
def filled(store, fx_hours, write) -> BarStore:
    import_file(store, write("bars.parquet", fx_hours()), **EURUSD)
    return store


def test_reading_an_empty_store_creates_nothing_and_says_how_to_fill_it(store):
    assert store.list_series() == []
    with pytest.raises(NotFound, match="no market data yet; run `ktrdr data samples`") as error:
        store.load_research("EURUSD", "1h")
    assert error.value.reason == "unknown_market"
    assert not store.data_dir.exists()


def test_an_unknown_market_names_the_closest_and_all_that_exist(filled):
    with pytest.raises(NotFound, match=r"'EURUSX' 1h: did you mean 'EURUSD'\? there are EURUSD 1h"):
        filled.series("EURUSX", "1h")
    with pytest.raises(NotFound, match="'EURUSD' 4h: there are EURUSD 1h"):
        filled.series("EURUSD", "4h")
    with pytest.raises(NotFound, match=r"'\.\./EURUSD' 1h"):
        filled.series("../EURUSD", "1h")
    with pytest.raises(InvalidInput, match="need a timeframe"):
        filled.series("EURUSD", "1 hour")
    for snapshot in ("0" * 64, "../../x"):
        with pytest.raises(NotFound) as error:
            filled.load_research("EURUSD", "1h", snapshot=snapshot)
        assert error.value.reason == "unknown_snapshot"


def test_research_bars_load_in_milliseconds(filled):
    times = []
    for _ in range(5):
        start = time.perf_counter()
        filled.load_research("EURUSD", "1h")
        times.append(time.perf_counter() - start)
    assert min(times) < 0.02


def test_damaged_files_are_named_with_the_next_step(filled):
    folder = filled.data_dir / "EURUSD" / "1h"
    sidecar, snapshot = folder / "series.json", folder / f"{filled.series('EURUSD', '1h').snapshot}.parquet"
    good_sidecar, good_snapshot = sidecar.read_bytes(), snapshot.read_bytes()
    document = json.loads(good_sidecar)
    other = folder.parent.parent / "OTHER" / "1h"
    shutil.copytree(folder, other)
    [whole], [lost] = filled.list_all()
    assert (whole.symbol, lost.symbol) == ("EURUSD", "OTHER")
    assert "describes EURUSD 1h: move it back" in lost.message
    shutil.rmtree(other.parent)
    for damaged in (
        b"",
        b"{",
        json.dumps({**document, "n": 1}).encode(),
        json.dumps({**document, "schema": 2}).encode(),
    ):
        sidecar.write_bytes(damaged)
        with pytest.raises(WorkspaceUnusable, match=r"series\.json is damaged: .*import again"):
            filled.load_research("EURUSD", "1h")
        shutil.copytree(folder, other, dirs_exist_ok=True)  # two damaged ones hide nothing either
        assert filled.list_series() == []
        assert [damaged.symbol for damaged in filled.list_all()[1]] == ["EURUSD", "OTHER"]
        shutil.rmtree(other.parent)
    sidecar.write_bytes(good_sidecar)
    flipped = bytearray(good_snapshot)
    flipped[len(flipped) // 3] ^= 1
    for broken in (b"", good_snapshot[:-100], bytes(flipped)):
        snapshot.write_bytes(broken)
        with pytest.raises(WorkspaceUnusable, match=r"\.parquet: .*import again"):
            filled.load_research("EURUSD", "1h")
    snapshot.unlink()
    with pytest.raises(WorkspaceUnusable, match="import again"):
        filled.load_research("EURUSD", "1h")


def test_a_sidecar_that_is_a_folder_or_data_that_is_a_file_make_the_workspace_unusable(filled, fx_hours, write):
    sidecar = filled.data_dir / "EURUSD" / "1h" / "series.json"
    sidecar.unlink()
    sidecar.mkdir()
    with pytest.raises(WorkspaceUnusable, match=r"cannot read .*series\.json"):
        filled.series("EURUSD", "1h")
    assert len(filled.list_all()[1]) == 1
    stray = BarStore(write("data", "a file"))
    for use in (stray.list_series, lambda: import_file(stray, write("bars.parquet", fx_hours()), **EURUSD)):
        with pytest.raises(WorkspaceUnusable, match=r"cannot (read|write) .*data: .*Check the folder's owner"):
            use()


def test_strangers_in_the_data_folder_are_ignored(filled):
    (filled.data_dir / "notes.txt").write_text("mine")
    (filled.data_dir / "NOTES").write_text("mine")
    (filled.data_dir / "USDJPY" / "1h").mkdir(parents=True)  # an import that died before its end
    assert [info.symbol for info in filled.list_series()] == ["EURUSD"]


def import_on_a_full_disk(data_dir: Path, path: Path, answers) -> None:
    # The process may write files of a few bytes only: a real refusal by the system, in the middle of an import.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    try:
        import_file(BarStore(data_dir), path, replace=True, **EURUSD)
    except WorkspaceUnusable as error:
        answers.put(str(error))


def test_a_full_disk_leaves_the_series_as_it_was(filled, tree, fx_hours, write):
    before = tree()
    path = write("other.parquet", fx_hours(seed=2))
    spawn = multiprocessing.get_context("spawn")
    answers = spawn.SimpleQueue()
    process = spawn.Process(target=import_on_a_full_disk, args=(filled.data_dir, path, answers))
    process.start()
    process.join(60)
    assert "cannot write" in answers.get()
    assert tree() == before


def import_alternately(data_dir: Path, paths: list[Path], n_imports: int) -> None:
    for turn in range(n_imports):
        import_file(BarStore(data_dir), paths[turn % len(paths)], replace=True, **EURUSD)


def test_imports_at_once_leave_one_whole_series_and_a_reader_sees_old_or_new(filled, tmp_path, fx_hours, write):
    paths = [write(f"version{seed}.parquet", fx_hours(seed=seed)) for seed in (1, 2, 3)]
    versions = {}
    for seed, path in enumerate(paths):
        store = BarStore(tmp_path / f"alone{seed}")
        import_file(store, path, **EURUSD)
        bars = store.load_research("EURUSD", "1h")
        versions[bars.snapshot] = bars
    spawn = multiprocessing.get_context("spawn")
    processes = [
        spawn.Process(target=import_alternately, args=(filled.data_dir, paths[k:] + paths[:k], 12)) for k in (0, 1)
    ]
    threads = [threading.Thread(target=import_alternately, args=(filled.data_dir, paths[::-1], 12)) for _ in (0, 1)]
    for worker in (*processes, *threads):
        worker.start()
    seen = set()
    while any(worker.is_alive() for worker in (*processes, *threads)):
        bars = filled.load_research("EURUSD", "1h")
        np.testing.assert_array_equal(bars.close, versions[bars.snapshot].close)
        seen.add(bars.snapshot)
    for worker in (*processes, *threads):
        worker.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(seen) > 1
    folder = filled.data_dir / "EURUSD" / "1h"
    assert {path.stem for path in folder.glob("*.parquet")} == set(versions)
    assert not list(folder.rglob(".*"))  # no temporary file is left


def first_import(data_dir: Path, path: Path, timeframe: str) -> None:
    import_file(BarStore(data_dir), path, symbol="EURUSD", timeframe=timeframe)


def test_first_imports_of_two_timeframes_at_once_agree_on_the_sealed_date(tmp_path, fx_hours, write):
    hours = fx_hours(1500)
    paths = {"1h": write("hours.parquet", hours), "4h": write("fours.parquet", hours[3::4])}
    for attempt in range(4):
        store = BarStore(tmp_path / f"attempt{attempt}")
        threads = [
            threading.Thread(target=first_import, args=(store.data_dir, path, timeframe))
            for timeframe, path in paths.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({info.sealed_from for info in store.list_series()}) == 1
        assert len(store.list_series()) == 2


def test_an_import_killed_at_any_moment_leaves_the_series_old_or_new_and_the_next_one_tidies_up(
    filled, tmp_path, fx_hours, write
):
    old = filled.load_research("EURUSD", "1h")
    path = write("large.parquet", fx_hours(1200, seed=3))
    spawn = multiprocessing.get_context("fork")
    delays = np.random.default_rng(4).uniform(0, 0.06, 25)
    for delay in delays:
        process = spawn.Process(target=import_alternately, args=(filled.data_dir, [path], 1))
        process.start()
        time.sleep(delay)
        process.kill()
        process.join()
        bars = filled.load_research("EURUSD", "1h")  # its bytes are checked against its name
        assert bars.snapshot == old.snapshot or not np.array_equal(bars.close, old.close)
    folder = filled.data_dir / "EURUSD" / "1h"
    (folder / ".bars.parquet.part").write_bytes(b"PAR1")
    (folder / f"{'0' * 64}.parquet").write_bytes(b"PAR1")
    before = filled.load_research("EURUSD", "1h")
    assert filled.sweep() >= 2
    assert filled.sweep() == 0
    assert filled.load_research("EURUSD", "1h").snapshot == before.snapshot
    import_file(filled, write("bars.parquet", fx_hours()), replace=True, **EURUSD)
    assert filled.load_research("EURUSD", "1h").snapshot == old.snapshot
    import_file(filled, path, replace=True, **EURUSD)
    assert not list(folder.rglob(".*"))
    assert all((folder / "sealed" / f"{file.stem}.json").exists() for file in folder.glob("*.parquet"))
