"""The other family of providers: OpenAI's chat completions, as a server on one's own machine speaks them."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from agent_desk import PlainSteps
from agent_documents import strategy_document

from ktrdr.agents.budget import BudgetLedger, BudgetLimits
from ktrdr.agents.choice import InvokerChoice, choose_model
from ktrdr.agents.task import AgentRun, AgentTask
from ktrdr.clock import utc_now
from ktrdr.config import load_settings
from ktrdr.database.engine import open_database
from ktrdr.database.tables import create_tables

CYCLE, OPERATION = "op_agent_research_20260301_120000_aaaaaa", "op_agent_design_20260301_120000_aaaaaa"
# $0.15 per million input tokens, half of it where cached, $0.60 per million output tokens.
MODEL, CALL_USD = "gpt-4o-mini", (400 * 0.15 + 600 * 0.075 + 50 * 0.60) / 1e6
USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 50,
    "total_tokens": 1050,
    "prompt_tokens_details": {"cached_tokens": 600},
}


def call(timeperiod):
    arguments = json.dumps({"strategy": strategy_document("local_idea", timeperiod=timeperiod)})
    tool = {"id": "call_1", "type": "function", "function": {"name": "save_strategy_config", "arguments": arguments}}
    return 200, reply({"role": "assistant", "content": None, "tool_calls": [tool]}, "tool_calls")


def words(finish_reason):
    return 200, reply({"role": "assistant", "content": "So I thi"}, finish_reason)


def reply(message, finish_reason):
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice], "usage": USAGE}


def error(status, code):
    return status, {"error": {"message": "no", "type": code, "code": code}}


@pytest.fixture
def local_server():
    """A server with `turns` to answer and `received` to look at."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            return

        def do_POST(self):
            self.server.received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            status, document = self.server.turns.pop(0)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.turns, server.received = [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("is_free", [True, False])
@pytest.mark.parametrize(
    ("turns", "reason", "charged"),
    [
        ([call(1), call(14)], "saved", 2),
        ([words("length")], "max_tokens", 1),
        ([words("content_filter")], "refused", 1),
        ([words("stop")], "no_strategy", 1),
        ([error(401, "invalid_api_key")], "auth", 0),
        ([error(404, "model_not_found")], "model_not_found", 0),
        ([error(429, "insufficient_quota")], "quota_exceeded", 0),
        ([error(400, "context_length_exceeded")], "context_window", 0),
    ],
)
def test_a_local_model_designs_by_the_same_rules(desk, local_server, turns, reason, charged, is_free):
    local_server.turns = list(turns)
    environment = {
        "KTRDR_WORKSPACE": str(desk.workspace),
        "OPENAI_BASE_URL": f"http://127.0.0.1:{local_server.server_address[1]}/v1",
    }
    environment["KTRDR_AGENT_OPENAI_IS_FREE"] = "1" if is_free else ""
    settings = load_settings(environment).agent
    database = open_database(f"sqlite:///{desk.workspace / 'state.sqlite'}")
    create_tables(database)
    ledger = BudgetLedger(database, utc_now, BudgetLimits(5.0, 0.5))
    if not is_free:
        ledger.open_envelope(CYCLE)
    invoker = InvokerChoice(settings, ledger, utc_now).invoker(choose_model(f"openai:{MODEL}", settings))
    for_cycle = AgentRun(OPERATION, CYCLE, PlainSteps())
    task = AgentTask(role="designer", brief=None, seed=1)
    result = asyncio.run(invoker.run(task=task, tools=desk.executor(OPERATION), run=for_cycle))
    usage, cost_usd = ledger.cycle_totals(CYCLE)
    database.close()
    assert (result.reason, len(local_server.received)) == (reason, len(turns))
    assert (usage.input_tokens, usage.output_tokens) == (1000 * charged, 50 * charged)
    assert usage.cache_read_tokens == 600 * charged
    assert cost_usd == pytest.approx(0.0 if is_free else CALL_USD * charged)
