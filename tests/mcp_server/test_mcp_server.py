"""How calls are answered when something is wrong, in this process."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys

import httpx
import pytest
from mcp_processes import STRATEGY

from ktrdr.config import load_settings
from ktrdr.connect.server_file import find_server
from ktrdr.mcp.calls import Call
from ktrdr.mcp.laboratory import open_laboratory
from ktrdr.mcp.server import answer_call


async def _no_report(percentage, step):
    raise AssertionError(f"nothing runs, yet {percentage} % of {step!r} was reported")


@pytest.fixture
def settings(tmp_path):
    return load_settings({"KTRDR_WORKSPACE": str(tmp_path / "workspace")})


@pytest.fixture
def ask(settings):
    """Answer calls one after the other."""

    def answer(*calls):
        async def answer_all():
            async with open_laboratory(settings) as laboratory:
                call = Call(laboratory, "somebody", _no_report)
                return [await answer_call(call, tool, arguments) for tool, arguments in calls]

        return asyncio.run(answer_all())

    return answer


@pytest.mark.parametrize(
    ("tool", "arguments", "reason", "words"),
    [
        ("nonsense", {}, "unknown_tool", "trigger_cycle"),
        ("trigger_cycle", {"sead": 3}, "invalid_input", "sead"),
        ("trigger_cycle", {"seed": -1}, "invalid_input", "seed"),
        ("trigger_cycle", {"bypass_gates": True}, "invalid_input", "bypass_gates"),
        ("watch_cycle", {}, "no_cycle", "trigger_cycle"),
        ("watch_cycle", {"max_wait_s": 1e9}, "invalid_input", "max_wait_s"),
        ("get_operation", {"operation_id": "op_none"}, "operation_not_found", "op_none"),
        ("cancel_operation", {"operation_id": "../agent"}, "invalid_input", "no name or id"),
        ("get_strategy", {"name": "nobody_has_it"}, "unknown_strategy", "nobody_has_it"),
        ("save_strategy_config", {"strategy": "schema: ["}, "strategy_invalid", "not valid YAML"),
        ("save_strategy_config", {"strategy": STRATEGY}, "unknown_market", "SPX"),
        ("list_operations", {"status": "happy"}, "invalid_input", "status"),
    ],
)
def test_wrong_call_is_answered_by_what_is_wrong_with_it(ask, tool, arguments, reason, words):
    [answer] = ask((tool, arguments))
    assert answer.is_error
    assert answer.structured_content["reason"] == reason
    assert words in answer.structured_content["message"]
    assert answer.content[0].text == f"{answer.structured_content['message']}\n(reason: {reason})"


def test_what_breaks_in_the_app_or_here_is_named_by_its_class_and_traced_in_the_log_alone(settings, ask, caplog):
    folder = settings.strategies_folder / STRATEGY["name"]
    folder.mkdir(parents=True)
    (folder / "strategy.yaml").write_text(json.dumps(STRATEGY))
    (folder / "design.json").symlink_to("design.json")
    [answer] = ask(("get_strategy", {"name": STRATEGY["name"]}))
    assert answer.structured_content["reason"] == "internal_error"
    [log] = settings.logs_folder.glob("api-*.log")
    assert "OSError" in log.read_text()

    async def call_after_the_end():
        async with open_laboratory(settings) as laboratory:
            call = Call(laboratory, "somebody", _no_report)
        return await answer_call(call, "get_status", {})  # the HTTP client refuses, in words of its own

    with caplog.at_level(logging.ERROR):
        broken = asyncio.run(call_after_the_end())
    assert broken.structured_content["reason"] == "internal_error"
    assert "get_status broke (RuntimeError)" in broken.content[0].text
    assert "closed" not in broken.content[0].text
    assert "closed" in caplog.text


def test_a_server_that_comes_is_used_and_one_that_goes_is_not_missed(settings):
    command = [sys.executable, "-m", "ktrdr.cli", "serve", "--port", "0", "--workers", "0", "--json"]

    async def use():
        server = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=settings.child_environment()
        )
        try:
            url = json.loads(server.stdout.readline())["url"]
            async with open_laboratory(settings) as laboratory:
                assert (await laboratory.connection()).server_url == url
                call = Call(laboratory, "somebody", _no_report)
                assert not (await answer_call(call, "get_status", {})).is_error
                server.send_signal(signal.SIGTERM)
                server.wait(15)
                assert find_server(settings.state_folder) is None
                assert not (await answer_call(call, "get_status", {})).is_error
                assert (await laboratory.connection()).is_embedded
        finally:
            server.kill()
            server.wait()
            server.stdout.close()

    asyncio.run(use())


def test_over_http_clients_show_the_token_of_the_api(settings):
    token = "0123456789abcdef-token"
    environment = {**os.environ, "KTRDR_WORKSPACE": str(settings.workspace), "KTRDR_API_TOKEN": token}
    command = [sys.executable, "-m", "ktrdr.cli", "mcp", "--transport", "http", "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    try:
        url = json.loads(process.stdout.readline())["url"]

        def status(**headers):
            return httpx.post(url, json={}, headers=headers, trust_env=False).status_code

        assert status() == 401
        assert status(authorization="Bearer another") == 401
        assert status(authorization=f"Bearer {token}") not in (401, 403)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
