"""A whole cycle whose designer and assessor are a language model, with the command a user types."""

import json
import os
import signal
import sqlite3
import time

import pytest
from fakes.anthropic_server import Answer, Hang, Refusal, text, tool_use

KEY = "sk-ant-planted-9876543210"
BRIEF = "the planted brief about the otter"
OPINION = {
    "judgement": "mediocre",
    "strengths": ["It traded at all."],
    "weaknesses": ["One market, one year."],
    "suggestions": ["Test the same cause on SPX."],
}


def strategy(timeperiod):
    return {
        "schema": 1,
        "name": "claude_eurusd_reversion",
        "hypothesis": "After a quick fall those who were stopped out buy back within a day, in weak trends only.",
        "market": {"symbols": ["EURUSD"], "timeframe": "1h"},
        "indicators": {"rsi": {"type": "RSI", "timeperiod": timeperiod}, "adx": {"type": "ADX"}},
        "fuzzy_sets": {
            "rsi": {"input": "rsi", "partition": ["oversold", "neutral", "overbought"]},
            "trend": {"input": "adx", "partition": ["weak", "fair", "strong"]},
        },
        "labels": {"type": "forward_return", "horizon": 24},
        "training": {"epochs": 10, "seeds": 1},
    }


def is_assessor(request):
    return any(tool["name"] == "save_assessment" for tool in request["tools"])


def claude(request):
    """Design with a fault, repair it when told of it, assess."""
    if is_assessor(request):
        return Answer([text("The figures show little."), tool_use("save_assessment", OPINION)])
    told = json.dumps(request["messages"][-1])
    timeperiod = 14 if "1 is below the minimum 2" in told else 1
    return Answer([tool_use("save_strategy_config", {"strategy": strategy(timeperiod), "notes": "as the brief says"})])


@pytest.fixture
def llm_workspace(workspace, anthropic_server):
    workspace.environment["ANTHROPIC_API_KEY"] = KEY
    workspace.environment["ANTHROPIC_BASE_URL"] = anthropic_server.url
    anthropic_server.script = claude
    return workspace


def everything_written(workspace):
    files = [path for path in workspace.folder.rglob("*") if path.is_file() and "data" not in path.parts]
    return {path.name: path.read_bytes() for path in files}


def test_a_model_repairs_its_design_and_the_operation_shows_what_was_billed(llm_workspace, anthropic_server):
    workspace, server = llm_workspace, anthropic_server
    cycle = workspace.json("agent", "trigger", "--brief", BRIEF, "--bypass-gates")
    shown = workspace.json("operations", "show", cycle["operation_id"])
    assert (shown["status"], shown["metadata"]["phase"]) == ("completed", "done")
    assert [is_assessor(each.document) for each in server.received] == [False, False, True]
    assert BRIEF in json.dumps(server.received[0].document["messages"])
    metadata = shown["metadata"]
    assert metadata["model"] == "claude-sonnet-5-5"
    into = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    assert metadata["input_tokens"] == sum(server.total(kind) for kind in into)
    assert metadata["output_tokens"] == server.total("output_tokens")
    assert metadata["cost_usd"] == pytest.approx(server.billed_usd, abs=1e-8)
    folder = workspace.folder / "strategies" / "claude_eurusd_reversion"
    design = json.loads((folder / "design.json").read_text())
    assert design["model"] == "claude-sonnet-5-5"
    assert design["cost_usd"] == pytest.approx(sum(each.billed_usd for each in server.received[:2]), abs=1e-8)
    assert json.loads((folder / "assessment.json").read_text())["suggestions"] == OPINION["suggestions"]

    written = everything_written(workspace)
    assert "state.sqlite" in written
    assert "worker-1.log" in written
    for name, content in written.items():
        assert KEY.encode() not in content, name
        assert b"You design trading strategies" not in content, name
    assert BRIEF.encode() not in written["worker-1.log"]


@pytest.mark.parametrize(
    ("turn", "reason", "charge_usd"),
    [
        (Refusal(401, "authentication_error", f"invalid x-api-key {KEY}"), "design_failed:auth", 0.0),
        (Refusal(500, message=f"lost: {BRIEF}", is_billed=True), "design_failed:provider_error", None),
    ],
)
def test_a_failed_design_says_why_and_betrays_nothing(llm_workspace, anthropic_server, turn, reason, charge_usd):
    anthropic_server.script = lambda _: turn
    done = llm_workspace.run("agent", "trigger", "--json", expect=1)
    cycle = json.loads(done.stdout)
    assert cycle["error"]["reason"] == reason
    assert len(anthropic_server.received) == 1
    if charge_usd is None:
        assert cycle["metadata"]["cost_usd"] >= anthropic_server.billed_usd > 0
    else:
        assert cycle["metadata"]["cost_usd"] == charge_usd
    said = [done.stdout.encode(), done.stderr.encode(), *everything_written(llm_workspace).values()]
    assert not any(KEY.encode() in each or BRIEF.encode() in each for each in said)


def test_a_cancelled_cycle_hangs_up_within_a_second_and_keeps_its_reservation(llm_workspace, anthropic_server):
    workspace, server = llm_workspace, anthropic_server
    server.script = lambda _: Hang(60)
    process = workspace.start("agent", "trigger")
    workspace.wait_for(lambda: server.received)
    cancelled_at = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) == 130
    assert workspace.wait_for(lambda: server.received[0].disconnected_at) - cancelled_at < 1.5
    (cycle,) = workspace.json("operations", "list", "--type", "agent_research")["operations"]
    assert (cycle["status"], len(server.received)) == ("cancelled", 1)
    assert charged_nano_usd(workspace) >= server.billed_usd * 1e9 > 0


def test_a_killed_worker_pays_no_finished_call_twice(llm_workspace, anthropic_server):
    workspace, server = llm_workspace, anthropic_server
    calls = []

    def script(request):
        calls.append(request)
        return Hang(60) if len(calls) == 2 else claude(request)

    server.script = script
    process = workspace.start("agent", "trigger", "--bypass-gates")
    workspace.wait_for(lambda: len(server.received) == 2)
    os.kill(process.pid, signal.SIGKILL)  # its worker dies with it, in the middle of the second call
    workspace.wait_for(lambda: server.received[1].disconnected_at)
    workspace.start("worker")
    cycle = workspace.wait_for(
        lambda: next(
            (
                each
                for each in workspace.json("operations", "list", "--type", "agent_research")["operations"]
                if each["status"] == "completed"
            ),
            None,
        )
    )
    assert len(server.received) == 4  # fault, killed, repair, assessment: the first is not asked again
    assert server.received[1].document["messages"] == server.received[2].document["messages"]
    known = sum(each.billed_usd for i, each in enumerate(server.received) if i != 1)
    assert cycle["metadata"]["cost_usd"] > known + server.received[1].billed_usd
    assert cycle["metadata"]["strategy_name"] == "claude_eurusd_reversion"


def test_without_a_key_the_offline_designer_answers_and_an_unpriced_model_is_refused(workspace, anthropic_server):
    workspace.environment["KTRDR_GATE_MIN_ACCURACY"] = "0.99"
    workspace.environment.pop("ANTHROPIC_API_KEY", None)
    cycle = workspace.json("agent", "trigger", expect=5)
    assert cycle["metadata"]["model"] == "offline"
    workspace.environment["ANTHROPIC_API_KEY"] = KEY
    workspace.environment["ANTHROPIC_BASE_URL"] = anthropic_server.url
    refused = workspace.run("agent", "trigger", "--model", "claude-from-the-future-9", expect=2)
    assert "no known price" in refused.stderr
    assert anthropic_server.received == []


def charged_nano_usd(workspace):
    connection = sqlite3.connect(workspace.folder / ".ktrdr" / "state.sqlite")
    try:
        query = "SELECT sum(coalesce(settled_nano_usd, reserved_nano_usd)) FROM ktrdr_budget_attempts"
        return connection.execute(query).fetchone()[0]
    finally:
        connection.close()
