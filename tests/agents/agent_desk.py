"""A workspace in which agents can be let run."""

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from agent_documents import backtest_report, detailed_strategy_document, training_report

from ktrdr.agents.executor import ToolExecutor
from ktrdr.agents.memory import StrategyMemory
from ktrdr.agents.task import AgentRun, AssessmentContext
from ktrdr.market.store import BarStore
from ktrdr.operations.operation import Operation, OperationError, OperationPage, OperationStatus
from ktrdr.strategy.store import StrategyStore
from ktrdr.strategy.validation import to_yaml, validate_strategy

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


def ended_cycle(strategy_name, reason):
    return Operation(
        operation_id="op_agent_research_20260301_120000_aaaaaa",
        type="agent_research",
        status=OperationStatus.FAILED if reason else OperationStatus.COMPLETED,
        parent_id=None,
        created_at=NOW,
        started_at=NOW,
        completed_at=NOW,
        progress=None,
        metadata={"strategy_name": strategy_name, "gates": []},
        result=None,
        error=OperationError(reason, "told to people") if reason else None,
    )


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

    def try_many(self, n: int) -> None:
        """Store strategies as cycles leave them that passed the gates or not, wordy ones, the last of them newest."""
        reasons = ["gate_failed:backtest:profit_factor_below_threshold", "gate_failed:training:loss_too_high", None]
        for number in range(n):
            name = f"overreaction_after_the_london_fix_{number:03d}"
            folder = self.strategies.folder(name)
            folder.mkdir(parents=True)
            document = detailed_strategy_document(name, timeperiod=2 + number % 99, adx=2 + number // 10)
            (folder / "strategy.yaml").write_text(to_yaml(validate_strategy(document)))
            (folder / "training.json").write_text(training_report().model_dump_json())
            (folder / "backtest.json").write_text(backtest_report(sharpe=-0.7).model_dump_json())
            suggestions = ["Test whether the same cause shows on an index of equities, where stops lie elsewhere. " * 3]
            (folder / "assessment.json").write_text(
                json.dumps({"judgement": "mediocre", "suggestions": suggestions * 4})
            )
            os.utime(folder / "strategy.yaml", (number, number))
            reason = reasons[number % 3]
            self.history.operations.insert(0, ended_cycle(name, reason))

    def files(self) -> list[str]:
        return sorted(str(p.relative_to(self.workspace)) for p in self.workspace.rglob("*") if p.is_file())
