"""A schedule that outlives its server."""

import os
import signal
from dataclasses import replace
from datetime import timedelta

import pytest

from ktrdr.agents.schedule_store import ScheduleStore
from ktrdr.clock import utc_now
from ktrdr.database.engine import open_database
from ktrdr.operations.store import OperationStore


@pytest.fixture
def database(workspace):
    database = open_database(f"sqlite:///{workspace.folder / '.ktrdr' / 'state.sqlite'}")
    yield database
    database.close()


def test_schedule_goes_on_after_its_server_was_killed_and_starts_nothing_once_paused(workspace, database, free_port):
    schedules, operations = ScheduleStore(database), OperationStore(database, utc_now)

    def make_due_long_ago():  # what a night without a server does to it
        schedules.replace(replace(schedules.get("nightly"), next_due_at=utc_now() - timedelta(hours=9)))

    def cycles():
        return operations.with_metadata("agent_research", "schedule_id", made["schedule_id"], limit=50)

    def serve(workers):
        server = workspace.start("serve", "--port", str(free_port), "--workers", workers, "--json")
        assert f":{free_port}" in server.stdout.readline()
        return server

    command = ("agent", "schedule", "--every", "6h", "--name", "nightly", "--brief", "SPX trend", "--seed", "5")
    made = workspace.json(*command)
    assert made["state"] == "waiting"
    server = serve("1")
    (first,) = workspace.wait_for(cycles)
    os.kill(server.pid, signal.SIGKILL)
    make_due_long_ago()
    serve("2")
    second, same = workspace.wait_for(lambda: len(found := cycles()) == 2 and found)
    paused = workspace.json("agent", "schedule", "pause", "nightly")
    assert (same.operation_id, same.metadata["seed"], second.metadata["seed"]) == (first.operation_id, 5, 6)
    assert same.status.value in ("completed", "failed")  # taken up, and brought to its end
    assert (paused["state"], paused["last_cycle"]["operation_id"]) == ("paused", second.operation_id)
    make_due_long_ago()
    workspace.attempt("agent", "cancel", second.operation_id)  # to be done sooner; it may have ended already
    workspace.wait_for(lambda: not operations.active("agent_research"))
    assert "nightly removed" in workspace.run("agent", "schedule", "remove", "nightly").stdout
    assert workspace.json("agent", "schedule", "list") == {"schedules": []}
    assert len(cycles()) == 2
