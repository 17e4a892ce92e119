"""Cycles whose designer and assessor are a language model: the command, a server and a worker, all of them real.

Everything runs in one workspace with one server, and each cycle's brief says how the provider shall behave to it.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import time
from dataclasses import dataclass

import httpx
import pytest
from fakes.anthropic_server import Answer, AnthropicServer, Hang, Raw, Refusal, text, tool_use
from user_workspace import Workspace

KEY = "sk-ant-planted-9876543210"
BRIEF = "the planted brief about the otter"
SYSTEM_PROMPT = "You design trading strategies"
OPINION = {
    "judgement": "mediocre",
    "strengths": ["It traded at all."],
    "weaknesses": ["One market, one year."],
    "suggestions": ["Test the same cause on SPX."],
}
ENDED = ("completed", "failed", "cancelled")


def strategy(name, timeperiod):
    return {
        "schema": 1,
        "name": name,
        "hypothesis": "After a quick fall those who were stopped out buy back within a day, in weak trends only.",
        "market": {"symbols": ["SPX"], "timeframe": "1d"},
        "indicators": {"rsi": {"type": "RSI", "timeperiod": timeperiod}, "adx": {"type": "ADX"}},
        "fuzzy_sets": {
            "rsi": {"input": "rsi", "partition": ["oversold", "neutral", "overbought"]},
            "trend": {"input": "adx", "partition": ["weak", "fair", "strong"]},
        },
        "labels": {"type": "forward_return", "horizon": 5},
        "training": {"epochs": 3, "seeds": 1},
    }


def design(name, timeperiod):
    return Answer([tool_use("save_strategy_config", {"strategy": strategy(name, timeperiod)})])


LOOK = [tool_use("list_markets", {})]
FAULTY, GOOD = design("claude_spx_reversion", 1), design("claude_spx_reversion", 14)
OVERLOADED = Refusal(529, "overloaded_error")


@dataclass
class Case:
    """How the provider behaves to one cycle, and what shall come of it: reason, HTTP calls, charge.

    The charge is "billed" (to the nano-dollar), "nothing", or "reserved": more than was billed, for nobody knows that.
    """

    turns: list
    reason: str
    calls: int
    charge: str = "billed"


CASES = {
    "invalid tool calls": Case([FAULTY] * 4, "invalid_tool_call", 4),
    "endless tools": Case([Answer(LOOK)] * 12, "max_turns", 12),
    "refusal": Case([Answer(LOOK), Answer([text("I will not.")], "refusal")], "refused", 2),
    "too long an answer": Case([Answer([text("So I thi")], "max_tokens")], "max_tokens", 1),
    "window": Case([Answer([text("...")], "model_context_window_exceeded")], "context_window", 1),
    "nothing saved": Case([Answer([text("I would rather not.")])], "no_strategy", 1),
    "wrong key": Case([Refusal(401, "authentication_error", f"invalid x-api-key {KEY}")], "auth", 1, "nothing"),
    "no such model": Case([Refusal(404, "not_found_error")], "model_not_found", 1, "nothing"),
    "no credit": Case([Refusal(400, message="Your credit balance is too low")], "quota_exceeded", 1, "nothing"),
    "rate": Case([Refusal(429, headers={"retry-after": "0.1"})] * 2, "rate_limited", 2, "nothing"),
    "overload": Case([Answer(LOOK)] + [OVERLOADED] * 3, "overloaded", 4),
    "broken": Case([Refusal(500, message=f"lost: {BRIEF}", is_billed=True)], "provider_error", 1, "reserved"),
    "silence": Case([Answer(LOOK), Hang()], "anthropic_timeout", 2, "reserved"),
    "a page": Case([Raw(f"<html>{BRIEF} {KEY}</html>".encode())], "bad_response", 1, "reserved"),
    "cut": Case([Raw(b'{"type": "message"', "application/json", cut=True)], "connection", 1, "reserved"),
    "dear": Case([Answer(LOOK, usage={"input_tokens": 240_000, "output_tokens": 1})], "budget_exceeded", 1),
}


def is_assessor(request):
    return any(tool["name"] == "save_assessment" for tool in request["tools"])


def claude(request):
    """Design with a fault, repair it when told of it, assess."""
    if is_assessor(request):
        return Answer([tool_use("save_assessment", OPINION)])
    return GOOD if "1 is below the minimum 2" in json.dumps(request["messages"][-1]) else FAULTY


class Provider:
    """Behaves to each cycle as its brief says: the turns of that case, one after the other."""

    def __init__(self, server):
        self.server = server
        self.turns = {f"the case of {name}": list(case.turns) for name, case in CASES.items()}
        server.script = self.play

    def play(self, request):
        if is_assessor(request):
            return Answer([text("The figures show little."), tool_use("save_assessment", OPINION)])
        first = json.dumps(request["messages"][0])
        brief = next(brief for brief in self.turns if brief in first)
        return self.turns[brief].pop(0) if self.turns[brief] else Refusal(400, message="the script is at its end")

    def received(self, brief):
        return [each for each in self.server.received if brief in json.dumps(each.document["messages"][0])]


class LanguageModelLab:
    """A workspace with a server at a fake provider, and the API that the commands use."""

    def __init__(self, workspace, provider):
        self.workspace = workspace
        self.provider = provider
        server = workspace.start("serve", "--port", "0", "--json")
        url = re.findall(r"at (http://[\d.:]+\d)", server.stdout.readline())[0]
        self.api = httpx.Client(base_url=f"{url}/api/v1", timeout=30)

    def trigger(self, brief, **more):
        answer = self.api.post("/agent/trigger", json={"brief": brief, **more})
        assert answer.status_code == 202, answer.text
        return answer.json()["operation_id"]

    def operation(self, operation_id):
        return self.api.get(f"/operations/{operation_id}").json()

    def wait_for_end(self, operation_id):
        ended = self.workspace.wait_for(
            lambda: cycle if (cycle := self.operation(operation_id))["status"] in ENDED else None
        )
        return ended

    def attempts(self, cycle_id):
        """What the ledger holds of a cycle, oldest first: what was settled in nano-dollars (None: nobody knows)."""
        connection = sqlite3.connect(self.workspace.folder / ".ktrdr" / "state.sqlite")
        try:
            query = "SELECT settled_nano_usd FROM ktrdr_budget_attempts WHERE cycle_id = ? ORDER BY reserved_at_ms"
            return [row[0] for row in connection.execute(query, (cycle_id,))]
        finally:
            connection.close()

    def worker_pid(self):
        leases = (self.workspace.folder / ".ktrdr" / "workers").glob("*.lock")
        return json.loads(next(leases).read_text())["pid"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory, sampled_data):
    server = AnthropicServer()
    workspace = Workspace(tmp_path_factory.mktemp("llm"))
    shutil.copytree(sampled_data, workspace.folder / "data")
    workspace.environment |= {
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": server.url,
        "KTRDR_AGENT_MAX_CONCURRENT_CYCLES": "30",
        "KTRDR_AGENT_DAILY_BUDGET_USD": "50",
        "KTRDR_AGENT_CALL_TIMEOUT_S": "4",
        "KTRDR_AGENT_RETRY_BACKOFF_S": "0.05",
        "KTRDR_AGENT_PHASE_RETRIES": "0",  # what is tried again has a journey of its own
    }
    try:
        lab = LanguageModelLab(workspace, Provider(server))
        yield lab
        lab.api.close()
    finally:
        workspace.close()
        server.close()


@pytest.fixture(scope="module")
def failed_cycles(lab):
    """All cases, at once, on one worker."""
    started = {name: lab.trigger(f"the case of {name}") for name in CASES}
    return {name: lab.wait_for_end(operation_id) for name, operation_id in started.items()}


@pytest.fixture(scope="module")
def completed_cycle(lab):
    """A cycle as a user starts it: a design with a fault, its repair, training, backtest, assessment."""
    lab.provider.turns[BRIEF] = [FAULTY, GOOD]
    return lab.workspace.run("agent", "trigger", "--brief", BRIEF, "--bypass-gates", "--json")


def test_a_model_repairs_its_design_and_the_operation_shows_what_was_billed(lab, completed_cycle):
    cycle = json.loads(completed_cycle.stdout)
    assert "No LLM is used" not in completed_cycle.stderr
    assert lab.workspace.json("operations", "show", cycle["operation_id"]) == cycle
    assert (cycle["status"], cycle["metadata"]["phase"]) == ("completed", "done")
    designing = lab.provider.received(BRIEF)
    (assessing,) = [each for each in lab.provider.server.received if is_assessor(each.document)]
    assert len(designing) == 2
    assert "indicators.rsi.timeperiod: 1 is below the minimum 2" in json.dumps(designing[1].document["messages"][-1])
    bills = [each.usage for each in (*designing, assessing)]
    metadata = cycle["metadata"]
    assert metadata["model"] == "claude-sonnet-5-5"
    into = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    assert metadata["input_tokens"] == sum(bill[kind] for bill in bills for kind in into)
    assert metadata["output_tokens"] == sum(bill["output_tokens"] for bill in bills)
    billed_usd = sum(each.billed_usd for each in (*designing, assessing))
    assert metadata["cost_usd"] == pytest.approx(billed_usd, abs=1e-8)
    folder = lab.workspace.folder / "strategies" / "claude_spx_reversion"
    record = json.loads((folder / "design.json").read_text())
    assert record["model"] == "claude-sonnet-5-5"
    assert record["cost_usd"] == pytest.approx(sum(each.billed_usd for each in designing), abs=1e-8)
    assessment, backtest = (json.loads((folder / f"{name}.json").read_text()) for name in ("assessment", "backtest"))
    assert assessment["suggestions"] == OPINION["suggestions"]
    assert assessment["metrics"].items() >= backtest["metrics"].items()
    told = assessing.document["messages"][0]["content"][0]["text"]
    assert json.loads(told).keys() >= {"training", "backtest", "gates", "design_cost_usd"}
    assert '"baselines"' in told


@pytest.mark.parametrize("name", CASES)
def test_a_provider_that_fails_ends_the_cycle_with_its_reason_and_the_right_charge(lab, failed_cycles, name):
    case, cycle = CASES[name], failed_cycles[name]
    assert cycle["error"]["reason"] == f"design_failed:{case.reason}"
    received = lab.provider.received(f"the case of {name}")
    assert len(received) == case.calls
    billed_usd, charged_usd = sum(each.billed_usd for each in received), cycle["metadata"]["cost_usd"]
    settled = lab.attempts(cycle["operation_id"])
    assert len(settled) == case.calls
    if case.charge == "reserved":
        assert settled[-1] is None
        assert charged_usd > billed_usd > 0
    else:
        assert None not in settled
        assert charged_usd == pytest.approx(billed_usd, abs=1e-8)
        assert (charged_usd == 0.0) == (case.charge == "nothing")


def test_cancelling_the_operation_hangs_up_within_a_second_and_keeps_the_reservation(lab):
    brief = "the case of a call that is cancelled"
    lab.provider.turns[brief] = [Hang(60)]
    cycle_id = lab.trigger(brief)
    (call,) = lab.workspace.wait_for(lambda: lab.provider.received(brief))
    asked = time.monotonic()
    assert lab.api.post(f"/operations/{cycle_id}/cancel").status_code == 202
    assert lab.workspace.wait_for(lambda: call.disconnected_at, timeout_s=5) - asked < 1.0
    assert lab.operation(cycle_id)["status"] == "cancelled"
    assert len(lab.provider.received(brief)) == 1
    shown = lab.workspace.wait_for(lambda: lab.operation(cycle_id)["metadata"]["cost_usd"])
    assert shown > call.billed_usd > 0
    assert lab.attempts(cycle_id) == [None]


def test_cancelling_in_a_back_off_makes_no_further_call_and_costs_nothing(lab):
    brief = "the case of a wait that is cancelled"
    lab.provider.turns[brief] = [Refusal(429, "rate_limit_error", headers={"retry-after": "1.5"})]
    cycle_id = lab.trigger(brief)
    lab.workspace.wait_for(lambda: lab.attempts(cycle_id) == [0])
    waits_until = time.monotonic() + 2
    lab.api.post(f"/operations/{cycle_id}/cancel")
    while time.monotonic() < waits_until:
        assert len(lab.provider.received(brief)) == 1
        time.sleep(0.2)
    assert lab.operation(cycle_id)["metadata"]["cost_usd"] == 0.0


def test_cancelling_inside_a_tool_call_ends_the_cycle_and_the_tool_saves_nothing_any_more(lab):
    brief, name = "the case of a tool that is cancelled", "claude_spx_too_late"
    saving = design(name, 25)
    saving.delay_s = 0.7
    lab.provider.turns[brief] = [saving]
    cycle_id = lab.trigger(brief)
    lab.workspace.wait_for(lambda: lab.provider.received(brief))
    strategies = lab.workspace.folder / "strategies"
    pipe = strategies / "waits" / "strategy.yaml"  # looked at before anything is saved: reading it takes until we write
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)

    def writing_end():
        with contextlib.suppress(OSError):  # nobody reads it yet
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)

    handle = lab.workspace.wait_for(writing_end)
    asked = time.monotonic()
    assert lab.api.post(f"/operations/{cycle_id}/cancel").status_code == 202
    (phase,) = lab.api.get(f"/operations/{cycle_id}/children").json()["operations"]
    assert (lab.operation(cycle_id)["status"], phase["status"]) == ("cancelled", "cancelled")
    assert time.monotonic() - asked < 1.0
    time.sleep(0.5)  # the worker looks for a cancellation every 0.2 s
    os.write(handle, json.dumps({**strategy("waits", 60), "hypothesis": "Written while another is saved."}).encode())
    os.close(handle)
    time.sleep(0.5)  # it goes on with what it was asked to save
    lab.workspace.wait_for(lambda: not list((lab.workspace.folder / ".ktrdr" / "attempts").glob("*")), timeout_s=5)
    shutil.rmtree(pipe.parent)
    assert not (strategies / name).exists()
    assert len(lab.provider.received(brief)) == 1
    connection = sqlite3.connect(lab.workspace.folder / ".ktrdr" / "state.sqlite")
    query = "SELECT function_name FROM operation_outputs WHERE workflow_uuid = ? ORDER BY function_id"
    assert [row[0] for row in connection.execute(query, (phase["operation_id"],))][-1] == "llm_call"
    connection.close()


def test_a_killed_worker_pays_no_finished_call_twice(lab):
    brief = "the case of a worker that is killed"
    name = "claude_spx_after_a_crash"
    lab.provider.turns[brief] = [design(name, 1), Hang(60), design(name, 40)]
    cycle_id = lab.trigger(brief, bypass_gates=True)
    lab.workspace.wait_for(lambda: len(lab.provider.received(brief)) == 2)
    os.kill(lab.worker_pid(), signal.SIGKILL)  # in the middle of the second call; the server starts another
    cycle = lab.wait_for_end(cycle_id)
    received = lab.provider.received(brief)
    assert len(received) == 3  # fault, killed, repair: the first is not asked again
    assert received[1].document["messages"] == received[2].document["messages"]
    assert (cycle["status"], cycle["metadata"]["strategy_name"]) == ("completed", name)
    settled = lab.attempts(cycle_id)
    assert [each is None for each in settled] == [False, True, False, False]
    known = sum(each for each in settled if each is not None) / 1e9
    assert cycle["metadata"]["cost_usd"] > known + received[1].billed_usd


def test_an_unpriced_model_is_refused_before_the_first_call(lab):
    before = len(lab.provider.server.received)
    refused = lab.workspace.run("agent", "trigger", "--model", "claude-from-the-future-9", expect=2)
    assert "no known price" in refused.stderr
    assert "claude-from-the-future-9" in refused.stderr
    assert len(lab.provider.server.received) == before


@pytest.mark.usefixtures("failed_cycles")
def test_no_key_no_header_no_prompt_is_written_anywhere_and_the_brief_only_with_its_operation(lab, completed_cycle):
    """Runs last: it looks at what all the others left."""
    sent = lab.provider.received(BRIEF)[0]
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert SYSTEM_PROMPT in json.dumps(sent.document["system"])
    files = [path for path in lab.workspace.folder.rglob("*") if path.is_file()]
    written = {str(path.relative_to(lab.workspace.folder)): path.read_bytes() for path in files}
    assert {".ktrdr/state.sqlite", ".ktrdr/logs/worker-1.log"} <= written.keys()
    operations = lab.api.get("/operations", params={"limit": 200}).json()["operations"]
    written |= {"stdout": completed_cycle.stdout.encode(), "stderr": completed_cycle.stderr.encode()}
    written |= {f"API {each['operation_id']}": json.dumps(each).encode() for each in operations}
    for name, content in written.items():
        for secret in (KEY, "Bearer", SYSTEM_PROMPT):
            assert secret.encode() not in content, name
    holders = {name for name, content in written.items() if BRIEF.encode() in content}
    cycle = json.loads(completed_cycle.stdout)
    assert holders - {".ktrdr/state.sqlite", ".ktrdr/state.sqlite-wal"} == {"stdout", f"API {cycle['operation_id']}"}
    assert [each["metadata"].get("brief") for each in operations].count(BRIEF) == 1
    assert not any(BRIEF in json.dumps(each["error"]) for each in operations)
