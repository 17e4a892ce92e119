"""A real `ktrdr serve` in a process of its own, and commands that find it."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from ktrdr.operations.leases import FileLeases

KTRDR = [sys.executable, "-m", "ktrdr.cli"]


TOKEN = "a-token-that-nobody-else-has"


def _environment(workspace, **variables):
    own = {name: value for name, value in os.environ.items() if not name.startswith("KTRDR_")}
    return {**own, "KTRDR_WORKSPACE": str(workspace), **variables}


def _start(workspace, *arguments, **variables):
    return subprocess.Popen(
        [*KTRDR, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(workspace, **variables),
    )


@contextmanager
def _serving(workspace, workers, *options, **variables):
    command = ("serve", "--port", "0", "--workers", str(workers), "--json", *options)
    server = _start(workspace, *command, **variables)
    try:
        yield server, json.loads(server.stdout.readline())
    finally:
        server.send_signal(signal.SIGTERM)
        server.stderr_text = server.communicate(timeout=20)[1]


def _wait_until(question):
    deadline = time.monotonic() + 20
    while not (answer := question()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return answer


@pytest.fixture(scope="module")
def idle_server(tmp_path_factory):
    """A server without workers: what is started stays pending."""
    workspace = tmp_path_factory.mktemp("served")
    with _serving(workspace, workers=0) as (_, serving):
        yield workspace, serving


def _operations(serving, **filters):
    answer = httpx.get(f"{serving['url']}/api/v1/operations", params=filters, trust_env=False)
    return answer.json()["operations"]


def _cancel(serving, operation_id):
    httpx.post(f"{serving['url']}/api/v1/operations/{operation_id}/cancel", trust_env=False)


def test_interrupted_trigger_leaves_the_cycle_to_the_server_and_says_how_to_come_back(idle_server):
    workspace, serving = idle_server
    command = _start(workspace, "agent", "trigger", "--json")
    _wait_until(lambda: _operations(serving, status="pending"))
    command.send_signal(signal.SIGINT)
    stdout, stderr = command.communicate(timeout=20)
    assert command.returncode == 130
    [cycle] = _operations(serving, status="pending")
    assert json.loads(stdout) == cycle
    assert f"ktrdr operations watch {cycle['operation_id']}" in stderr
    assert serving["url"] in stderr
    _cancel(serving, cycle["operation_id"])


def test_command_that_waits_where_no_worker_is_alive_says_so(idle_server):
    workspace, serving = idle_server
    command = _start(workspace, "agent", "trigger")
    assert any("No worker is alive" in line for line in command.stderr)
    [cycle] = _operations(serving, status="pending")
    _cancel(serving, cycle["operation_id"])
    command.communicate(timeout=20)


def test_watch_prints_a_document_a_line_until_the_operation_ends(idle_server):
    workspace, serving = idle_server
    detached = _start(workspace, "agent", "trigger", "--detach", "--json")
    accepted = json.loads(detached.communicate(timeout=20)[0])
    assert (detached.returncode, accepted["triggered"]) == (0, True)
    watching = _start(workspace, "operations", "watch", accepted["operation_id"], "--json")
    assert json.loads(watching.stdout.readline())["status"] == "pending"
    _cancel(serving, accepted["operation_id"])
    stdout, _ = watching.communicate(timeout=20)
    assert [json.loads(line)["status"] for line in stdout.splitlines()] == ["cancelled"]
    assert watching.returncode == 1


def test_terminated_watch_stops_watching_and_cancels_nothing(idle_server):
    workspace, serving = idle_server
    accepted = json.loads(_start(workspace, "agent", "trigger", "--detach", "--json").communicate(timeout=20)[0])
    watching = _start(workspace, "operations", "watch", accepted["operation_id"], "--json")
    watching.stdout.readline()
    watching.send_signal(signal.SIGTERM)
    _, stderr = watching.communicate(timeout=20)
    assert (watching.returncode, "Detached" in stderr) == (130, True)
    assert [operation["operation_id"] for operation in _operations(serving, status="pending")] == [
        accepted["operation_id"]
    ]
    _cancel(serving, accepted["operation_id"])


def test_second_server_of_a_workspace_is_refused_and_told_of_the_first(idle_server):
    workspace, serving = idle_server
    second = _start(workspace, "serve", "--port", "0")
    _, stderr = second.communicate(timeout=20)
    assert second.returncode == 1
    assert serving["url"] in stderr
    assert len(stderr.splitlines()) == 1


def test_page_of_another_site_is_refused_over_a_real_socket(idle_server):
    _, serving = idle_server
    answer = httpx.get(f"{serving['url']}/health", headers={"host": "rebound.example"}, trust_env=False)
    assert (answer.status_code, answer.json()["reason"]) == (403, "host_not_allowed")
    answer = httpx.post(
        f"{serving['url']}/api/v1/agent/trigger", headers={"origin": "http://evil.example"}, trust_env=False
    )
    assert (answer.status_code, answer.json()["reason"]) == (403, "origin_not_allowed")
    assert _operations(serving, status="pending") == []


def test_watch_goes_on_when_the_server_was_restarted(tmp_path):
    with _serving(tmp_path, 0) as (_, serving):
        accepted = json.loads(_start(tmp_path, "agent", "trigger", "--detach", "--json").communicate(timeout=20)[0])
        # By its last characters: whatever reads an id takes part of one.
        watching = _start(tmp_path, "operations", "watch", accepted["operation_id"][-6:], "--json")
        assert json.loads(watching.stdout.readline())["status"] == "pending"
    port = serving["url"].rpartition(":")[2]
    with _serving(tmp_path, 0, "--port", port) as (_, again):
        assert again["url"] == serving["url"]
        _cancel(again, accepted["operation_id"])
        stdout, stderr = watching.communicate(timeout=20)
    assert [json.loads(line)["status"] for line in stdout.splitlines()] == ["cancelled"]
    assert "trying again" in stderr


def test_address_that_others_can_reach_is_served_with_a_token_only(tmp_path):
    refused = _start(tmp_path, "serve", "--host", "0.0.0.0", "--port", "0")
    _, stderr = refused.communicate(timeout=20)
    assert (refused.returncode, "KTRDR_API_TOKEN" in stderr, len(stderr.splitlines())) == (2, True, 1)
    with _serving(tmp_path, 0, "--host", "0.0.0.0", KTRDR_API_TOKEN=TOKEN) as (server, serving):
        answer = httpx.get(f"{serving['url']}/api/v1/operations", trust_env=False)
        assert (answer.status_code, answer.json()["reason"]) == (401, "token_missing")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        health = httpx.get(f"{serving['url']}/health", trust_env=False)
        assert (health.status_code, health.json()["workspace"]) == (200, None)
        told = _start(tmp_path, "agent", "status", "--json", KTRDR_API_TOKEN=TOKEN)
        assert json.loads(told.communicate(timeout=20)[0])["status"] == "idle"
        stranger = _start(tmp_path, "agent", "status")
        assert "KTRDR_API_TOKEN" in stranger.communicate(timeout=20)[1]
        assert stranger.returncode == 2
        command_line = Path(f"/proc/{server.pid}/cmdline").read_bytes()
        said = [command_line.decode(), json.dumps(serving)]
        said += [path.read_text(errors="replace") for path in (tmp_path / ".ktrdr").iterdir() if path.is_file()]
    said.append(server.stderr_text)
    assert not [text for text in said if TOKEN in text]


def test_server_replaces_a_dead_worker_and_takes_all_along_when_it_is_told_to_stop(tmp_path):
    state = tmp_path / ".ktrdr"
    leases = FileLeases(state)
    with _serving(tmp_path, workers=2) as (server, serving):
        first, second = leases.workers()
        assert httpx.get(f"{serving['url']}/ready", trust_env=False).json()["workers"] == 2
        os.kill(first.pid, signal.SIGKILL)
        replaced = _wait_until(lambda: {worker.pid for worker in leases.workers()} - {first.pid, second.pid})
        assert len(replaced) == 1
        with httpx.stream("GET", f"{serving['url']}/health", trust_env=False):
            server.send_signal(signal.SIGINT)
            assert server.wait(timeout=20) == 0
    assert leases.workers() == []
    assert not (state / "server.json").exists()
