import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from ktrdr.config import load_settings
from ktrdr.connect.worker_process import WorkerKeeper, live_workers_of
from ktrdr.errors import KtrdrError, WorkspaceUnusable
from ktrdr.operations.leases import FileLeases

OWNER = """
import asyncio, time
from ktrdr.config import load_settings
from ktrdr.connect.worker_process import WorkerKeeper
keeper = WorkerKeeper(load_settings())
asyncio.run(keeper.ensure_worker())
print("ready", flush=True)
time.sleep(60)
"""


def _settings(folder, **variables):
    return load_settings({"KTRDR_WORKSPACE": str(folder), **variables})


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _wait_until(question):
    deadline = time.monotonic() + 10
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_worker_works_until_its_keeper_closes_and_is_replaced_when_it_is_killed(tmp_path):
    settings = _settings(tmp_path)
    keeper = WorkerKeeper(settings)
    try:
        asyncio.run(keeper.ensure_worker())
        [worker] = live_workers_of(settings)
        asyncio.run(keeper.ensure_worker())
        assert [known.pid for known in live_workers_of(settings)] == [worker.pid]
        os.kill(worker.pid, signal.SIGKILL)
        _wait_until(lambda: live_workers_of(settings) == [])
        asyncio.run(keeper.ensure_worker())
        [replacement] = live_workers_of(settings)
        assert replacement.pid != worker.pid
    finally:
        keeper.close()
    assert live_workers_of(settings) == []


def test_worker_dies_with_a_process_that_is_killed(tmp_path):
    environment = {**os.environ, "KTRDR_WORKSPACE": str(tmp_path)}
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True, env=environment)
    assert owner.stdout.readline() == "ready\n"
    [worker] = live_workers_of(_settings(tmp_path))
    owner.kill()
    owner.wait()
    owner.stdout.close()
    _wait_until(lambda: not _is_alive(worker.pid))


def test_no_worker_is_started_where_others_serve_every_queue(tmp_path):
    settings = _settings(tmp_path)
    lease = FileLeases(settings.state_folder).lease(["cycles", "compute"], on_lost=lambda: None)
    keeper = WorkerKeeper(settings)
    try:
        asyncio.run(keeper.ensure_worker())
        assert [worker.pid for worker in live_workers_of(settings)] == [os.getpid()]
    finally:
        keeper.close()
        lease.release()


def test_worker_that_cannot_start_is_one_clear_message(tmp_path):
    settings = _settings(tmp_path)
    settings.state_folder.mkdir()
    (settings.state_folder / "state.sqlite").write_text("this is no database, " * 100)
    keeper = WorkerKeeper(settings)
    with pytest.raises(KtrdrError, match="the worker cannot start: ") as caught:
        asyncio.run(keeper.ensure_worker())
    keeper.close()
    assert caught.value.reason == "worker_failed"
    assert len(caught.value.message.splitlines()) == 1
    assert "state.sqlite.damaged" in caught.value.message


def test_worker_is_not_started_where_its_log_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceUnusable, match="--workspace"):
        WorkerKeeper(_settings(tmp_path / "file")).begin_worker()
