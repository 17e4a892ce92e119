import asyncio
import json
import os
import socket
import sqlite3
from pathlib import Path

import httpx
import pytest

import ktrdr.market
from ktrdr.api.app import create_app
from ktrdr.config import load_settings
from ktrdr.errors import WorkspaceUnusable
from ktrdr.operations.leases import FileLeases

API = "/api/v1"
BUNDLED = Path(ktrdr.market.__file__).parent / "bundled"
STRATEGY = """
schema: 1
name: plain_rsi
hypothesis: An oversold RSI reverts within a day, because sellers run out.
market: {symbols: [EURUSD], timeframe: 1h}
indicators: {rsi: {type: RSI, timeperiod: 14}}
fuzzy_sets: {rsi: {input: rsi, partition: [low, middle, high]}}
labels: {type: forward_return, horizon: 12}
"""
UNKNOWN = f"{API}/operations/op_training_20260101_000000_abcdef"


def _post_yaml(client, path, text):
    return client.post(f"{API}{path}", content=text.encode(), headers={"content-type": "application/yaml"})


def _trigger(client, **body) -> httpx.Response:
    return client.post(f"{API}/agent/trigger", json=body)


def test_routes_are_those_of_the_design(client):
    described = client.get(f"{API}/openapi.json").json()["paths"]
    routes = {f"{method.upper()} {path.removeprefix(API)}" for path, item in described.items() for method in item}
    assert routes == {
        "POST /agent/trigger",
        "GET /agent/status",
        "GET /agent/budget",
        "GET /agent/history",
        "GET /agent/memory",
        "POST /agent/schedules",
        "GET /agent/schedules",
        "POST /agent/schedules/{schedule}/pause",
        "POST /agent/schedules/{schedule}/resume",
        "DELETE /agent/schedules/{schedule}",
        "GET /operations",
        "GET /operations/{operation_id}",
        "GET /operations/{operation_id}/children",
        "GET /operations/{operation_id}/events",
        "GET /operations/{operation_id}/logs",
        "POST /operations/{operation_id}/cancel",
        "POST /operations/prune",
        "POST /operations/{operation_id}/resume",
        "POST /operations/{operation_id}/retry",
        "POST /training",
        "POST /backtests",
        "GET /strategies",
        "GET /strategies/{name}",
        "GET /strategies/{name}/report",
        "POST /strategies/validate",
        "POST /strategies",
        "POST /strategies/designs",
        "POST /strategies/{name}/reproduce",
        "GET /leaderboard",
        "GET /vault",
        "GET /vault/{name}",
        "POST /vault/{name}",
        "GET /indicators",
        "GET /markets",
        "GET /workers",
        "GET /metrics",
        "GET /markets/quality",
        "POST /markets/samples",
        "POST /markets/fetch",
        "POST /markets/{symbol}/{timeframe}/accept-findings",
        "POST /markets/{symbol}/{timeframe}/adjust",
        "POST /markets/import",
        "GET /health",
        "GET /ready",
    }


def test_every_error_is_described_as_the_problem_document_that_it_is(client):
    paths = client.get(f"{API}/openapi.json").json()["paths"]
    problems = {
        (code, *response["content"])
        for path in paths.values()
        for operation in path.values()
        for code, response in operation["responses"].items()
        if code >= "400" and "TriggerRefused" not in str(response)
    }
    assert {media_type for _, media_type in problems} == {"application/problem+json"}
    assert {code for code, _ in problems} == {"400", "401", "403", "404", "408", "409", "413", "422", "503"}


def test_one_of_many_simultaneous_triggers_starts_and_the_others_name_it(client):
    answers = client.together(*[("POST", f"{API}/agent/trigger", {"json": {"seed": 7}})] * 8)
    [accepted] = [answer for answer in answers if answer.status_code == 202]
    operation_id = accepted.json()["operation_id"]
    assert accepted.json() == {"triggered": True, "operation_id": operation_id}
    refused = {"triggered": False, "reason": "active_cycle_exists", "operation_id": operation_id}
    assert [answer.json() for answer in answers if answer.status_code == 409] == [refused] * 7


def test_trigger_without_a_body_starts_a_cycle_and_what_it_was_asked_is_on_the_operation(client):
    bare = client.post(f"{API}/agent/trigger").json()["operation_id"]
    assert client.get(f"{API}/operations/{bare}").json()["metadata"]["brief"] is None
    client.post(f"{API}/operations/{bare}/cancel")
    asked = _trigger(client, brief="something about gold", seed=11, bypass_gates=True).json()["operation_id"]
    operation = client.get(f"{API}/operations/{asked}").json()
    assert (operation["type"], operation["status"], operation["progress"]["percentage"]) == (
        "agent_research",
        "pending",
        0,
    )
    metadata = operation["metadata"]
    assert (metadata["brief"], metadata["seed"], metadata["bypass_gates"]) == ("something about gold", 11, True)
    assert metadata["phase"] == "designing"


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"model": "claude-9"}, 422, "model_unavailable"),
        ({"strategy": "nobody_has_it"}, 404, "unknown_strategy"),
        ({"strategy": "../../etc"}, 422, "invalid_name"),
        ({"seed": -1}, 422, "invalid_request"),
        ({"temperature": 1}, 422, "invalid_request"),
    ],
)
def test_trigger_that_cannot_be_served_is_a_problem_and_starts_nothing(client, body, status, reason):
    response = _trigger(client, **body)
    assert (response.status_code, response.json()["reason"]) == (status, reason)
    assert client.get(f"{API}/operations").json()["operations"] == []


def test_status_shows_the_active_cycle_and_then_the_one_that_ended(client):
    idle = {"status": "idle", "operation": None, "active": [], "last_cycle": None}
    idle["budget"] = client.get(f"{API}/agent/status").json()["budget"]
    assert client.get(f"{API}/agent/status").json() == idle
    operation_id = _trigger(client).json()["operation_id"]
    active = client.get(f"{API}/agent/status").json()
    assert active["status"] == "active"
    assert active["operation"]["operation_id"] == operation_id
    assert active["active"] == [active["operation"]]
    cancelled = client.post(f"{API}/operations/{operation_id}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    assert client.get(f"{API}/agent/status").json() == {**idle, "last_cycle": cancelled.json()}


def test_operations_are_paged_newest_first_and_filtered(client):
    ids = []
    for seed in range(5):
        ids.append(_trigger(client, seed=seed).json()["operation_id"])
        client.post(f"{API}/operations/{ids[-1]}/cancel")
    found, cursor = [], None
    while True:
        page = client.get(f"{API}/operations", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        found += page["operations"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(operation["operation_id"] for operation in found) == sorted(ids)
    seconds = [operation["created_at"][:19] for operation in found]  # DBOS orders SQLite rows by whole seconds
    assert seconds == sorted(seconds, reverse=True)
    assert client.get(f"{API}/operations", params={"status": "running"}).json()["operations"] == []
    assert len(client.get(f"{API}/operations", params={"type": "agent_research"}).json()["operations"]) == 5
    bad = client.get(f"{API}/operations", params={"cursor": "nonsense"})
    assert (bad.status_code, bad.json()["status"]) == (422, 422)
    assert client.get(f"{API}/operations", params={"limit": 0}).json()["reason"] == "invalid_request"


@pytest.mark.parametrize(
    ("method", "suffix"),
    [
        ("GET", ""),
        ("GET", "/children"),
        ("GET", "/events"),
        ("POST", "/cancel"),
        ("POST", "/resume"),
        ("POST", "/retry"),
    ],
)
def test_unknown_operation_is_404_on_every_route_even_where_the_answer_is_a_stream(client, method, suffix):
    response = client.request(method, UNKNOWN + suffix)
    assert (response.status_code, response.json()["reason"]) == (404, "operation_not_found")


def test_events_send_the_operation_at_once_and_after_its_change_and_end_with_it(client):
    operation_id = _trigger(client).json()["operation_id"]

    async def watch_and_cancel() -> str:
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=None) as http:
            watching = asyncio.create_task(http.get(f"{API}/operations/{operation_id}/events"))
            await asyncio.sleep(0.6)
            assert not watching.done()
            await http.post(f"{API}/operations/{operation_id}/cancel")
            response = await asyncio.wait_for(watching, 5)
            assert response.headers["content-type"].startswith("text/event-stream")
            return response.text

    events = [block for block in asyncio.run(watch_and_cancel()).split("\n\n") if block.startswith("event: ")]
    assert {block.splitlines()[0] for block in events} == {"event: operation"}
    documents = [json.loads(block.partition("\ndata: ")[2]) for block in events]
    assert [document["status"] for document in documents] == ["pending", "cancelled"]
    assert documents[-1] == client.get(f"{API}/operations/{operation_id}").json()


def test_strategy_file_is_validated_with_every_fault_and_nothing_is_stored(client):
    assert _post_yaml(client, "/strategies/validate", STRATEGY).json() == {"valid": True, "faults": []}
    spoilt = STRATEGY.replace("timeperiod: 14", "timeperiod: 1").replace("horizon: 12", "horizon: many")
    report = _post_yaml(client, "/strategies/validate", spoilt).json()
    assert report["valid"] is False
    assert [fault.partition(":")[0] for fault in report["faults"]] == ["indicators.rsi.timeperiod", "labels.horizon"]
    as_json = client.post(f"{API}/strategies/validate", json={"schema": 1})
    assert as_json.json()["valid"] is False
    not_text = client.post(f"{API}/strategies/validate", content=b"\xff\xfe")
    assert (not_text.status_code, not_text.json()["reason"]) == (422, "strategy_invalid")
    assert client.get(f"{API}/strategies").json() == {"strategies": [], "next_cursor": None}


def test_strategy_is_stored_once_and_shown_with_what_is_known_of_it(client, workspace):
    stored = _post_yaml(client, "/strategies", STRATEGY)
    assert stored.status_code == 201
    assert _post_yaml(client, "/strategies", STRATEGY).json() == stored.json()
    other = _post_yaml(client, "/strategies", STRATEGY.replace("14", "21"))
    assert (other.status_code, other.json()["status"]) == (409, 409)
    detail = client.get(f"{API}/strategies/plain_rsi").json()
    assert detail == stored.json()
    assert detail["path"] == str(workspace / "strategies" / "plain_rsi")
    assert detail["specification"]["schema"] == 1
    assert detail["training"] is detail["backtest"] is detail["assessment"] is None
    assert [path.name for path in (workspace / "strategies").iterdir()] == ["plain_rsi"]
    assert list((workspace / ".ktrdr" / "attempts").iterdir()) == []
    [summary] = client.get(f"{API}/strategies").json()["strategies"]
    assert (summary["name"], summary["symbols"], summary["sharpe_ratio"]) == ("plain_rsi", ["EURUSD"], None)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('{"accuracy": 0.5', "plain_rsi/training.json"),
        ('{"accuracy": "good"}', "accuracy: "),
        ("{}", "accuracy: missing"),
    ],
)
def test_strategy_spoilt_by_hand_is_listed_with_its_faults_among_the_others(client, workspace, content, fault):
    _post_yaml(client, "/strategies", STRATEGY)
    _post_yaml(client, "/strategies", STRATEGY.replace("plain_rsi", "other_rsi"))
    (workspace / "strategies" / "plain_rsi" / "training.json").write_text(content)
    spoilt, whole = sorted(
        client.get(f"{API}/strategies").json()["strategies"], key=lambda summary: summary["name"], reverse=True
    )
    assert spoilt["faults"][0].startswith(fault)
    assert whole["faults"] == []


@pytest.mark.parametrize("name", ["..", "../../etc/passwd", "%2e%2e", "..%2f..%2fstate", "a.yaml", "x" * 300])
def test_name_that_could_leave_the_folder_finds_nothing(client, name):
    response = client.get(f"{API}/strategies/{name}")
    assert response.status_code in (404, 422)
    assert response.headers["content-type"] == "application/problem+json"


def test_training_needs_a_strategy_and_its_bars_and_a_backtest_a_training(client):
    missing = client.post(f"{API}/training", json={"strategy": "plain_rsi"})
    assert (missing.status_code, missing.json()["reason"]) == (404, "unknown_strategy")
    _post_yaml(client, "/strategies", STRATEGY)
    no_bars = client.post(f"{API}/training", json={"strategy": "plain_rsi"})
    assert (no_bars.status_code, no_bars.json()["reason"]) == (404, "unknown_market")
    untrained = client.post(f"{API}/backtests", json={"strategy": "plain_rsi"})
    assert (untrained.status_code, untrained.json()["reason"]) == (422, "not_trained")


def test_samples_are_installed_once_and_a_training_on_them_starts(client):
    assert client.get(f"{API}/markets").json() == {"markets": [], "damaged": [], "next_cursor": None}
    installed = client.post(f"{API}/markets/samples")
    assert installed.status_code == 201
    assert {(series["symbol"], series["timeframe"]) for series in installed.json()["markets"]} == {
        ("EURUSD", "1h"),
        ("SPX", "1d"),
        ("AAPL", "1d"),
        ("MSFT", "1d"),
    }
    snapshots = {series["snapshot"] for series in installed.json()["markets"]}
    assert {series["snapshot"] for series in client.post(f"{API}/markets/samples").json()["markets"]} == snapshots
    _post_yaml(client, "/strategies", STRATEGY)
    started = client.post(f"{API}/training", json={"strategy": "plain_rsi", "seed": 3})
    assert started.status_code == 202
    assert (started.json()["type"], started.json()["metadata"]["seed"]) == ("training", 3)
    busy = client.post(f"{API}/training", json={"strategy": "plain_rsi"})
    assert (busy.status_code, busy.json()["operation_id"]) == (409, started.json()["operation_id"])


def _import(client, content: bytes, filename: str, **fields) -> httpx.Response:
    return client.post(f"{API}/markets/import", files={"file": (filename, content)}, data=fields)


def test_uploaded_bars_are_stored_whatever_path_their_name_pretends_to(client, workspace):
    bars = (BUNDLED / "SPX_1d.parquet").read_bytes()
    response = _import(client, bars, "../../../outside.parquet", symbol="MINE", timeframe="1d", calendar="XNYS")
    assert response.status_code == 201, response.text
    assert (response.json()["change"], response.json()["series"]["symbol"]) == ("created", "MINE")
    assert response.json()["notices"]
    assert [series["symbol"] for series in client.get(f"{API}/markets").json()["markets"]] == ["MINE"]
    assert not list(workspace.parent.rglob("outside.parquet"))


@pytest.mark.parametrize(
    ("content", "filename", "fields", "reason"),
    [
        (b"no bars at all", "bars.csv", {"symbol": "MINE", "timeframe": "1d"}, "import_refused"),
        (b"PAR1 broken", "bars.parquet", {"symbol": "MINE", "timeframe": "1d"}, "import_refused"),
        (b"x", "bars.csv", {"symbol": "../up", "timeframe": "1d"}, "invalid_input"),
        (b"x", "bars.csv", {"symbol": "MINE", "timeframe": "7m"}, "invalid_input"),
        (b"x", "bars.csv", {"timeframe": "1d"}, "invalid_request"),
    ],
)
def test_upload_that_cannot_be_read_with_certainty_changes_nothing(
    client, workspace, content, filename, fields, reason
):
    response = _import(client, content, filename, **fields)
    assert (response.status_code, response.json()["reason"]) == (422, reason)
    assert client.get(f"{API}/markets").json() == {"markets": [], "damaged": [], "next_cursor": None}
    assert not (workspace / "data").exists()


def test_health_needs_no_database_and_readiness_does(client, workspace):
    assert client.get("/ready").json() == {"status": "ready", "workers": 0}
    with sqlite3.connect(workspace / ".ktrdr" / "state.sqlite") as database:
        database.execute("ALTER TABLE workflow_status RENAME TO gone")
    database.close()
    assert client.get("/health").json()["workspace"] == str(workspace)
    response = client.get("/ready")
    assert (response.status_code, response.json()["reason"]) == (503, "database_unavailable")


def test_state_file_that_is_spoilt_under_a_running_server_is_said_to_be(client, workspace):
    client.app.state.composition.database.close()
    (workspace / ".ktrdr" / "state.sqlite").write_bytes(b"no database, " * 1000)
    for path in ("/ready", f"{API}/operations", f"{API}/agent/status"):
        response = client.get(path)
        assert (response.status_code, response.json()["reason"]) == (503, "database_damaged")
        assert int(response.headers["retry-after"]) > 0
    assert client.get("/health").status_code == 200


def test_workspace_that_is_a_file_is_refused_before_anything_is_served(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(WorkspaceUnusable, match="--workspace"):
        create_app(load_settings({"KTRDR_WORKSPACE": str(tmp_path / "file")}))


def test_workers_show_who_works_on_what_and_what_waits(client, workspace):
    assert client.get(f"{API}/workers").json() == {
        "workers": [],
        "queues": [{"queue": queue, "waiting": 0, "served": False} for queue in ("cycles", "compute")],
    }
    lease = FileLeases(workspace / ".ktrdr").lease(["cycles"], on_lost=lambda: None)
    store = client.app.state.composition.operation_store
    held, lost, _ = (store.enqueue("training", queue="compute", payload={}, metadata={}).operation_id for _ in range(3))
    with sqlite3.connect(workspace / ".ktrdr" / "state.sqlite") as connection:
        for operation_id, executor_id in {held: lease.executor_id, lost: "worker-9-gone"}.items():
            change = "UPDATE workflow_status SET status = 'PENDING', executor_id = ? WHERE workflow_uuid = ?"
            connection.execute(change, (executor_id, operation_id))
    connection.close()
    answer = client.get(f"{API}/workers").json()
    lease.release()
    alive, gone = answer["workers"]
    assert (alive["worker"], alive["pid"], alive["host"]) == (lease.executor_id, os.getpid(), socket.gethostname())
    assert (alive["alive"], alive["running"], alive["queues"]) == (True, [held], ["cycles"])
    assert (gone["worker"], gone["alive"], gone["running"], gone["last_seen"]) == ("worker-9-gone", False, [lost], None)
    assert answer["queues"][1] == {"queue": "compute", "waiting": 1, "served": False}
