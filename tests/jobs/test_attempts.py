"""What killed or forgotten work leaves behind goes, and nothing else."""

import os

from ktrdr.clock import utc_now
from ktrdr.database.engine import open_database
from ktrdr.jobs.attempts import PAGES_KEPT_S, page_sweeper
from ktrdr.operations.store import OperationStore, migrate_database


def test_pages_of_a_fetch_go_after_a_month_unless_one_uses_them(tmp_path):
    database = open_database(f"sqlite:///{tmp_path / 'state.sqlite'}")
    migrate_database(database)
    operations = OperationStore(database, utc_now)
    now_s = 1_800_000_000.0
    for name, age_s in (
        ("pages_old", PAGES_KEPT_S + 9),
        ("pages_busy", PAGES_KEPT_S * 3),
        ("pages_new", 9),
        ("x", 9e8),
    ):
        folder = tmp_path / "attempts" / name
        folder.mkdir(parents=True)
        (folder / "page_0_1.parquet").write_bytes(b"PAR1")
        os.utime(folder, (now_s - age_s,) * 2)
    loading = operations.enqueue("data_load", queue="none", payload={}, metadata={"pages": "pages_busy"})
    sweep = page_sweeper(operations, tmp_path / "attempts", lambda: now_s)

    def left():
        return sorted(folder.name for folder in (tmp_path / "attempts").iterdir())

    sweep()
    assert left() == ["pages_busy", "pages_new", "x"]
    operations.cancel(loading.operation_id)
    sweep()
    assert left() == ["pages_new", "x"]
    database.close()
