"""CPU of a call through our layer beside the SDK alone, interleaved: `python benchmarks/bench_llm_overhead.py [N]`.

A run is three turns of a designer against a fake provider in a process of its own. Ours has everything in it: prompt,
reservation and settlement in SQLite, parsing, tools. The SDK then sends the very same requests and parses the answers.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from anthropic import AsyncAnthropic
from pydantic import JsonValue

from ktrdr.agents.budget import BudgetLedger, BudgetLimits
from ktrdr.agents.choice import InvokerChoice, choose_model
from ktrdr.agents.executor import ToolExecutor
from ktrdr.agents.task import AgentRun, AgentTask
from ktrdr.clock import utc_now
from ktrdr.config import load_settings
from ktrdr.database.engine import open_database
from ktrdr.database.tables import create_tables
from ktrdr.market.samples import install_samples
from ktrdr.market.store import BarStore
from ktrdr.strategy.store import StrategyStore

TURNS = 3
TARGET_MS = 20.0
TESTS = Path(__file__).parents[1] / "tests"
FAKE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from fakes.anthropic_server import AnthropicServer, Answer, text, tool_use
bodies = []
def play(request):
    bodies.append(request)
    last = len(request["messages"]) >= 5
    return Answer([text("I stop.")] if last else [tool_use("list_markets", {})])
server = AnthropicServer(script=play)
print(server.url, flush=True)
sys.stdin.readline()
print(json.dumps(bodies[:3]), flush=True)
sys.stdin.readline()
"""


class PlainSteps:
    """Runs steps as they come: the engine's own cost is another matter."""

    async def once(self, _name: str, coroutine: Callable[[], Coroutine[Any, Any, JsonValue]]) -> JsonValue:
        """Run it."""
        return await coroutine()

    async def report(self, _percentage: float, _current_step: str) -> None:
        """Say nothing."""


class OurLayer:
    """The invoker with a real ledger and real tools."""

    def __init__(self, workspace: Path, url: str) -> None:
        environment = {"KTRDR_WORKSPACE": str(workspace), "ANTHROPIC_API_KEY": "bench", "ANTHROPIC_BASE_URL": url}
        self._settings = load_settings(environment)
        database = open_database(self._settings.database_url)
        create_tables(database)
        self._ledger = BudgetLedger(database, utc_now, BudgetLimits(10_000, 10_000))
        self._ledger.open_envelope("bench")
        model = choose_model(None, self._settings.agent)
        self._invoker = InvokerChoice(self._settings.agent, self._ledger, utc_now).invoker(model)
        self._bars = BarStore(self._settings.data_folder)
        install_samples(self._bars)
        self._runs = 0

    async def run(self) -> None:
        """Let a designer make three calls."""
        self._runs += 1
        operation_id = f"bench-{self._runs}"
        tools = ToolExecutor(
            operation_id=operation_id,
            role="designer",
            model=self._invoker.model,
            prompt_version=self._invoker.prompt_version,
            bars=self._bars,
            strategies=StrategyStore(self._settings.strategies_folder),
            recent=lambda _limit: [],
            attempts_folder=self._settings.attempts_folder,
            clock=utc_now,
        )
        task = AgentTask(role="designer", brief=None, seed=1)
        result = await self._invoker.run(task=task, tools=tools, run=AgentRun(operation_id, "bench", PlainSteps()))
        assert (result.reason, result.turns) == ("no_strategy", TURNS), result


async def sdk_alone(url: str, bodies: list[dict[str, Any]]) -> None:
    """Send the same requests with the SDK, one client a run as we have."""
    async with AsyncAnthropic(api_key="bench", base_url=url, max_retries=0) as client:
        for body in bodies:
            await client.messages.create(**body)


def cpu_ms(work: Callable[[], Coroutine[Any, Any, None]]) -> float:
    """Return this process's CPU time of a run, all threads, per call."""
    began = time.process_time()
    asyncio.run(work())
    return (time.process_time() - began) * 1000 / TURNS


def main(rounds: int) -> int:
    """Print both and the difference; return 1 where the target is missed."""
    command = [sys.executable, "-c", FAKE, str(TESTS)]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as fake,
    ):
        assert fake.stdin is not None
        assert fake.stdout is not None
        url = fake.stdout.readline().strip()
        layer = OurLayer(Path(folder), url)
        asyncio.run(layer.run())  # imports and caches are warm from here on
        fake.stdin.write("\n")
        fake.stdin.flush()
        bodies = json.loads(fake.stdout.readline())
        asyncio.run(sdk_alone(url, bodies))
        ours, theirs = [], []
        for _ in range(rounds):
            theirs.append(cpu_ms(lambda: sdk_alone(url, bodies)))
            ours.append(cpu_ms(layer.run))
        fake.kill()
    our_ms, their_ms = statistics.median(ours), statistics.median(theirs)
    print(
        f"LLM call, CPU: ktrdr {our_ms:.1f} ms, SDK alone {their_ms:.1f} ms, our layer {our_ms - their_ms:.1f} ms "
        f"(target {TARGET_MS:.0f} ms; median of {rounds} runs of {TURNS} calls)"
    )
    return 0 if our_ms - their_ms <= TARGET_MS else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 15))
