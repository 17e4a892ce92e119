"""The database goes away in the middle of a cycle and comes back: a real PostgreSQL, stopped as a crash would."""

import json
import os
import signal
import subprocess
import sys
import time

import httpx


def _wait_until(question, timeout_s=40):
    deadline = time.monotonic() + timeout_s
    while not (answer := question()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return answer


def test_database_that_goes_away_during_a_training_costs_nothing_but_time(tmp_path, postgres_server, postgres_url):
    own = {name: value for name, value in os.environ.items() if not name.startswith(("KTRDR_", "ANTHROPIC_"))}
    environment = {**own, "KTRDR_WORKSPACE": str(tmp_path), "KTRDR_DATABASE_URL": postgres_url}
    command = [sys.executable, "-m", "ktrdr.cli", "serve", "--port", "0", "--json"]
    with (tmp_path / "serve.log").open("w") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    try:
        url = json.loads(server.stdout.readline())["url"]
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as http:
            _interrupt_and_finish(http, postgres_server)
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=20)
    assert "Traceback" not in (tmp_path / "serve.log").read_text()


def _interrupt_and_finish(http, database):
    assert http.post("/api/v1/markets/samples").status_code == 201
    cycle_id = http.post("/api/v1/agent/trigger", json={"seed": 3}).json()["operation_id"]

    def read(path=f"/api/v1/operations/{cycle_id}"):
        return http.get(path).json()

    _wait_until(lambda: read()["metadata"]["phase"] == "training" and read()["progress"]["percentage"] > 20)
    database.crash()
    try:
        began = time.monotonic()
        for path in ("/ready", f"/api/v1/operations/{cycle_id}", "/api/v1/agent/status"):
            answer = http.get(path)
            assert (answer.status_code, answer.json()["reason"]) == (503, "database_unavailable")
            assert int(answer.headers["retry-after"]) > 0
            assert "Traceback" not in answer.text
        refused = http.post("/api/v1/agent/trigger", json={})
        assert (refused.status_code, refused.json()["reason"]) == (503, "database_unavailable")
        assert time.monotonic() - began < 6
        assert http.get("/health").status_code == 200
        time.sleep(2)
    finally:
        database.start()
    _wait_until(lambda: http.get("/ready").status_code == 200)
    ended = _wait_until(lambda: (cycle := read())["status"] not in ("pending", "running") and cycle)
    assert ended["status"] == "completed" or ended["error"]["reason"].startswith("gate_failed:"), ended
    children = read(f"/api/v1/operations/{cycle_id}/children")["operations"]
    assert len({child["type"] for child in children}) == len(children)
    assert {child["status"] for child in children} == {"completed"}
