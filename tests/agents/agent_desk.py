"""A workspace in which agents can be let run."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ktrdr.agents.executor import ToolExecutor
from ktrdr.agents.memory import StrategyMemory
from ktrdr.agents.task import AgentRun, AssessmentContext
from ktrdr.market.store import BarStore
from ktrdr.operations.operation import Operation, OperationPage
from ktrdr.strategy.store import StrategyStore

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class History:
    """A page of operations, as the operation store would list them."""

    operations: list[Operation] = field(default_factory=list)

    def list(self, *, type=None, limit=50, cursor=None):
        start = int(cursor or 0)
        matching = [each for each in self.operations if type in (None, each.type)]
        following = start + limit
        return OperationPage(matching[start:following], str(following) if following < len(matching) else None)


class PlainSteps:
    """Runs steps as they come and remembers their results, as the engine does; `remembered` answer from memory."""

    def __init__(self, remembered=()):
        self.results = []
        self._remembered = list(remembered)

    async def once(self, name, coroutine):
        if self._remembered:
            kept, result = self._remembered.pop(0)
            assert kept == name
        else:
            result = json.loads(json.dumps(await coroutine()))
        self.results.append((name, result))
        return result

    async def report(self, percentage, current_step):
        assert 0 <= percentage <= 100


def plain_run():
    return AgentRun("op_agent_design_20260301_120000_aaaaaa", "op_agent_research_20260301_120000_aaaaaa", PlainSteps())


class Desk:
    """A workspace in which agents can be let run."""

    def __init__(self, workspace: Path, bars: BarStore) -> None:
        self.workspace = workspace
        self.bars = bars
        self.strategies = StrategyStore(workspace / "strategies")
        self.attempts = workspace / ".ktrdr" / "attempts"
        self.history = History()
        self.memory = StrategyMemory(self.history, self.strategies)

    def executor(
        self,
        operation_id: str = "op_agent_design_20260301_120000_aaaaaa",
        *,
        role: str = "designer",
        subject: AssessmentContext | None = None,
        attempts: Path | None = None,
        bars: BarStore | None = None,
    ) -> ToolExecutor:
        return ToolExecutor(
            operation_id=operation_id,
            role=role,
            model="offline",
            prompt_version="offline-1",
            bars=bars or self.bars,
            strategies=self.strategies,
            recent=self.memory.recent,
            attempts_folder=attempts or self.attempts,
            clock=lambda: NOW,
            subject=subject,
        )

    def files(self) -> list[str]:
        return sorted(str(p.relative_to(self.workspace)) for p in self.workspace.rglob("*") if p.is_file())
