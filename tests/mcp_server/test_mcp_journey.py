"""A client designs, starts, watches, cancels and reads, over both transports."""

import asyncio
import json
import signal
import subprocess
import time

import httpx
import jsonschema_rs
from mcp import Client
from mcp_processes import SECRET, STRATEGY, Session

TOOLS = {
    "list_indicators",
    "list_markets",
    "get_recent_strategies",
    "validate_strategy",
    "save_strategy_config",
    "trigger_cycle",
    "get_status",
    "watch_cycle",
    "list_operations",
    "get_operation",
    "cancel_operation",
    "list_strategies",
    "get_strategy",
    "get_budget",
}
CHANGING = {"save_strategy_config", "trigger_cycle", "cancel_operation"}


async def _check_what_is_offered(session):
    tools = {tool.name: tool for tool in (await session.client.list_tools()).tools}
    assert set(tools) == TOOLS
    assert {name for name, tool in tools.items() if not tool.annotations.read_only_hint} == CHANGING
    assert [name for name, tool in tools.items() if tool.annotations.destructive_hint] == ["cancel_operation"]
    assert "seal" not in json.dumps([tool.model_dump(mode="json") for tool in tools.values()])
    for tool in tools.values():
        assert tool.output_schema["type"] == "object"
        jsonschema_rs.validator_for(tool.output_schema)
        for name, argument in tool.input_schema["properties"].items():
            assert argument.get("description"), f"{tool.name}.{name}"
    saving = jsonschema_rs.validator_for(tools["save_strategy_config"].input_schema)
    assert saving.is_valid({"strategy": STRATEGY})
    assert saving.is_valid({"strategy": json.dumps(STRATEGY)})
    assert not saving.is_valid({"strategy": STRATEGY | {"labels": {"type": "zigzag"}}})
    assert "sealed" not in json.dumps(await session.call("list_markets"))


def test_a_design_is_saved_and_its_cycle_goes_on_when_the_client_comes_back_and_its_results_are_read(laboratory, run):
    async def design_and_leave():
        async with laboratory.over_stdio() as session:
            await _check_what_is_offered(session)
            spoilt = STRATEGY | {"indicators": {"rsi": {"type": "RSI", "timeperiod": 1}}, "labels": {"type": "zigzag"}}
            report = await session.call("validate_strategy", strategy=spoilt)
            assert [fault.partition(":")[0] for fault in report["faults"]] == [
                "indicators.rsi.timeperiod",
                "labels.type",
            ]
            saved = await session.call("save_strategy_config", strategy=STRATEGY, notes="sellers run out")
            assert saved["name"] == STRATEGY["name"]
            copied = STRATEGY | {"name": "another_name"}
            reason, words = await session.refusal("save_strategy_config", strategy=json.dumps(copied))
            assert (reason, STRATEGY["name"] in words) == ("near_copy", True)
            started = await session.call("trigger_cycle", strategy=STRATEGY["name"], model="offline", seed=3)
            assert started["runs_in"] == "this_process"
            reason, words = await session.refusal("trigger_cycle")
            assert (reason, started["operation_id"] in words) == ("active_cycle_exists", True)
            return started["operation_id"]

    async def come_back(operation_id):
        async with laboratory.over_stdio() as session:
            ended = await session.call("watch_cycle", max_wait_s=100)
            assert (ended["operation_id"], ended["status"], ended["error"]) == (operation_id, "completed", None)
            told = [progress for progress, _, _ in session.progress]
            assert told == sorted(set(told))
            assert (told[-1], session.progress[-1][1:]) == (100, (100, "done"))
            phases = await session.call("list_operations", parent_id=operation_id)
            assert {phase["type"] for phase in phases["operations"]} == {"training", "backtesting", "agent_assessment"}
            strategy = await session.call("get_strategy", name=STRATEGY["name"])
            assert strategy["backtest"]["metrics"] == ended["result"]["metrics"]
            assert strategy["assessment"]["operation_id"] == ended["metadata"]["assessment_op_id"]
            assert (strategy["design"]["model"], strategy["design"]["notes"]) == ("mcp:mcp", "sellers run out")
            tried = await session.call("get_recent_strategies", limit=5)
            assert [each["name"] for each in tried["strategies"]] == [STRATEGY["name"]]

    operation_id = run(design_and_leave())
    assert laboratory.is_deserted()
    run(come_back(operation_id))
    assert laboratory.is_deserted()
    assert "Traceback" not in laboratory.stderr()


def test_over_http_a_cycle_under_way_is_cancelled_and_one_that_fails_says_why_without_the_key(laboratory, run):
    process, url = laboratory.start_http()

    async def drive():
        async with Client(url) as client:
            session = Session(client)
            await _check_what_is_offered(session)
            started = await session.call("trigger_cycle", brief="trend on SPX", model="offline")
            await asyncio.sleep(0.5)
            cancelled = await session.call("cancel_operation", operation_id=started["operation_id"])
            assert cancelled["status"] == "cancelled"
            assert (await session.call("get_status"))["status"] == "idle"
            with_a_key = await session.call("trigger_cycle", model="sonnet")
            failed = await session.call("watch_cycle", operation_id=with_a_key["operation_id"], max_wait_s=100)
            assert (failed["status"], failed["error"]["reason"]) == ("failed", "design_failed:connection")
            assert (await session.call("get_budget"))["spent_usd"] == 0
            prompt = await client.get_prompt("research_hypothesis", {"hypothesis": "sellers run out"})
            assert "sellers run out" in prompt.messages[0].content.text

    try:
        run(drive())
        for header, value, status in (
            ("host", "evil.example", 421),
            ("origin", "http://evil.example", 403),
            ("origin", "http://localhost:3000", 403),
        ):
            refused = httpx.post(url, json={}, headers={header: value}, trust_env=False)
            assert refused.status_code == status
        port = url.split(":")[2].partition("/")[0]
        second = subprocess.run(
            [*laboratory.command, "--transport", "http", "--port", port],
            env=laboratory.environment,
            capture_output=True,
            text=True,
        )
        assert (second.returncode, len(second.stderr.splitlines()), "--port 0" in second.stderr) == (1, 1, True)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(15)
        process.stdout.close()
    assert code == 0
    assert laboratory.is_deserted()
    assert SECRET not in laboratory.stderr()
    assert "Traceback" not in laboratory.stderr()


def test_nothing_but_the_protocol_is_printed_and_a_signal_ends_it_although_the_client_stays(laboratory):
    process = subprocess.Popen(
        laboratory.command,
        env=laboratory.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    opening = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    for number, (method, params) in enumerate(
        [
            ("initialize", opening),
            ("notifications/initialized", {}),
            ("tools/call", {"name": "watch_cycle", "arguments": {"max_wait_s": "soon"}}),
            ("tools/call", {"name": "list_strategies"}),
        ]
    ):
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        process.stdin.write(json.dumps(message if "/initialized" in method else message | {"id": number}) + "\n")
        process.stdin.flush()
        if number == 0:
            assert json.loads(process.stdout.readline())["result"]["serverInfo"]["name"] == "ktrdr"
    answers = {answer["id"]: answer["result"] for answer in (json.loads(process.stdout.readline()) for _ in range(2))}
    assert answers[2]["isError"]
    assert answers[2]["content"][0]["text"].startswith("max_wait_s: ")
    assert answers[3]["structuredContent"] == {"strategies": [], "next_cursor": None}
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    rest, log = process.communicate(timeout=15)
    assert (process.returncode, rest, log) == (0, "", "")
    assert time.monotonic() - begun < 10
