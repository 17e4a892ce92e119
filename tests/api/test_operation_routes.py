"""Finding, paging and forgetting operations through the API."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from ktrdr.clock import epoch_ms
from ktrdr.database.engine import open_database
from ktrdr.operations.store import OperationStore, migrate_database

API = "/api/v1/operations"
T0 = datetime(2026, 3, 1, 8, tzinfo=UTC)


@pytest.fixture
def enqueue(client, workspace):
    """Write operations as they would be at a time: how far, under which parent, how long ago they ended."""
    path = workspace / ".ktrdr" / "state.sqlite"

    def write(type_, minute, *, parent=None, status="SUCCESS", suffix=None, ended_minute=None):
        now = T0 + timedelta(minutes=minute)
        database = open_database(f"sqlite:///{path}")
        migrate_database(database)
        store = OperationStore(database, lambda: now)
        operation_id = f"op_{type_}_{now:%Y%m%d_%H%M%S}_{suffix or f'{minute:06x}'}"
        store.enqueue(type_, queue="none", payload={}, metadata={}, operation_id=operation_id)
        ended = T0 + timedelta(minutes=minute if ended_minute is None else ended_minute)
        store.write_attributes(operation_id, {"completed_at": epoch_ms(ended)})
        database.close()
        with sqlite3.connect(path) as connection:
            row = (status, parent, epoch_ms(now) // 1000 * 1000, operation_id)
            change = "UPDATE workflow_status SET status = ?, parent_workflow_id = ?, created_at = ? "
            connection.execute(change + "WHERE workflow_uuid = ?", row)
            step = "INSERT INTO operation_outputs (workflow_uuid, function_id, function_name, output, "
            connection.execute(step + "retention_timestamp) VALUES (?, 1, 'start', 'null', 0)", (operation_id,))
        return operation_id

    return write


def _ids(answer):
    return [operation["operation_id"] for operation in answer.json()["operations"]]


def test_part_of_an_id_stands_for_the_operation_that_alone_has_it(client, enqueue):
    first = enqueue("training", 0, suffix="aaaaaa")
    second = enqueue("training", 1, suffix="bbbbbb")
    cycle = enqueue("agent_research", 2, suffix="cccccc", status="ENQUEUED")
    for fragment, meant in ((first, first), ("bbbbbb", second), ("op_agent", cycle), (first[:-6], first)):
        assert client.get(f"{API}/{fragment}").json()["operation_id"] == meant
    ambiguous = client.get(f"{API}/op_training")
    assert (ambiguous.status_code, ambiguous.json()["reason"]) == (409, "ambiguous_id")
    assert ambiguous.json()["candidates"] == [second, first]
    for fragment in ("op_training_2027", "dddddd", "op_", "%", "aaaaa", "OP_TRAINING_20260301_080000_aaaaa_"):
        assert client.get(f"{API}/{fragment}").status_code == 404
    assert client.post(f"{API}/cccccc/cancel").json()["status"] == "cancelled"
    assert client.post(f"{API}/op_training/cancel").json()["reason"] == "ambiguous_id"
    assert client.get(f"{API}/bbbbbb/logs").json() == {"lines": [], "next_cursor": None}
    assert client.get(f"{API}/aaaaaa/events").text.startswith("event: operation")


def test_filters_and_pages_walk_over_every_operation_once(client, enqueue):
    parent = enqueue("agent_research", 0)
    children = [enqueue("training", minute, parent=parent) for minute in range(1, 8)]
    failed = enqueue("training", 9, status="ERROR")

    def walk(path, **parameters):
        found, cursor = [], None
        while True:
            answer = client.get(path, params={**parameters, "limit": 3, **({"cursor": cursor} if cursor else {})})
            found += _ids(answer)
            cursor = answer.json()["next_cursor"]
            if cursor is None:
                return found

    assert walk(API) == [failed, *reversed(children), parent]
    assert walk(f"{API}/{parent}/children") == children
    assert walk(API, parent_id=parent[-6:]) == children[::-1]
    assert walk(API, status="failed", type="training") == [failed]
    window = {"since": "2026-03-01T09:02:00+01:00", "until": "2026-03-01T08:05:00Z"}
    assert walk(API, **window) == children[1:4][::-1]
    assert client.get(API, params={"since": "2026-03-01T08:02:00"}).status_code == 422  # of which zone?


def test_prune_forgets_whole_families_that_ended_long_ago_and_nothing_else(client, enqueue, workspace):
    old = enqueue("agent_research", 0)
    old_child = enqueue("training", 1, parent=old)
    still_working = enqueue("agent_research", 2, status="CANCELLED")
    enqueue("training", 3, parent=still_working, status="PENDING")
    just_ended = enqueue("agent_research", 4)
    enqueue("training", 5, parent=just_ended, ended_minute=60 * 24 * 365 * 50)
    newest = enqueue("agent_research", 6)
    attempt = workspace / ".ktrdr" / "attempts" / old_child
    attempt.mkdir(parents=True)
    before = _ids(client.get(API))

    tried = client.post(f"{API}/prune", json={"older_than": "1h", "dry_run": True}).json()
    assert (tried["n_operations"], tried["by_type"]) == (2, {"agent_research": 1, "training": 1})
    assert _ids(client.get(API)) == before
    pruned = client.post(f"{API}/prune", json={"older_than": "1h"}).json()
    assert (pruned["n_operations"], pruned["dry_run"]) == (2, False)
    assert _ids(client.get(API)) == [each for each in before if each not in (old, old_child)]
    assert newest in _ids(client.get(API))
    assert not attempt.exists()
    with sqlite3.connect(workspace / ".ktrdr" / "state.sqlite") as connection:
        for table in ("operation_outputs", "workflow_input", "workflow_output"):
            left = {row[0] for row in connection.execute(f"SELECT workflow_uuid FROM {table}")}
            assert left.isdisjoint({old, old_child})
    assert client.post(f"{API}/prune", json={"older_than": "1h"}).json()["n_operations"] == 0
    assert client.post(f"{API}/prune", json={"older_than": "1 week"}).status_code == 422


def test_log_of_an_operation_holds_its_childrens_lines_in_order_over_files_and_pages(client, enqueue, workspace):
    parent = enqueue("agent_research", 0)
    child = enqueue("training", 1, parent=parent)
    other = enqueue("training", 2)
    folder = workspace / ".ktrdr" / "logs"
    folder.mkdir(parents=True)

    def line(second, operation_id, words):
        time = (T0 + timedelta(seconds=second)).isoformat(timespec="milliseconds")
        document = {"time": time, "level": "info", "logger": "ktrdr.test", "process": 1, "message": words}
        return json.dumps({**document, "operation_id": operation_id}) + "\n"

    (folder / "worker-1.log.1").write_text(line(0, parent, "a") + line(1, other, "not this") + line(2, parent, "b"))
    (folder / "worker-1.log").write_text(line(2, parent, "c") + line(2, parent, "d") + '{"half": "a line')
    (folder / "worker-2.log").write_text(line(2, child, "e") + line(3, child, f"about {other}"))
    words, cursor = [], None
    while True:
        parameters = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = client.get(f"{API}/{parent[-6:]}/logs", params=parameters).json()
        words += [each["message"] for each in page["lines"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert words == ["a", "b", "c", "d", "e", f"about {other}"]
    assert client.get(f"{API}/{parent}/logs", params={"cursor": "nonsense"}).json()["reason"] == "bad_cursor"
