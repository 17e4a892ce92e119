"""Carries out the tool calls of one agent run, and remembers what they saved.

An agent's mistake comes back as text that it can act on. A workspace that cannot be written is nobody's mistake: it
ends the run.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ktrdr.agents.designs import DesignIntake, DesignOrigin
from ktrdr.agents.memory import TriedStrategy, shortened
from ktrdr.agents.records import ASSESSMENT_FILE, DESIGN_FILE, AssessmentRecord, DesignRecord
from ktrdr.agents.save_permit import SavePermit
from ktrdr.agents.task import AgentResult, AssessmentContext, Role
from ktrdr.agents.tools import (
    ERROR_PREFIX,
    GET_RECENT_STRATEGIES,
    LIST_INDICATORS,
    LIST_MARKETS,
    SAVE_ASSESSMENT,
    SAVE_STRATEGY_CONFIG,
    TOOLS,
    VALIDATE_STRATEGY,
    AssessmentArguments,
    MarketListing,
    RecentArguments,
    SaveStrategyArguments,
    StrategyArguments,
    describe_indicators,
)
from ktrdr.clock import Clock
from ktrdr.errors import Conflict, InvalidInput, KtrdrError, OperationFailed, StrategyInvalid, WorkspaceUnusable
from ktrdr.market.store import BarStore
from ktrdr.strategy.store import StrategyStore


class ToolExecutor:
    """The tools of one agent run, for one role.

    Args:
        operation_id: The phase's operation. What it saved before a crash is found again by it: a replay saves
            nothing twice.
        role: Which tools may be called.
        model: Who designs or assesses, recorded with what is saved.
        prompt_version: Which instructions it follows.
        bars: Where markets are looked up.
        strategies: Where strategies are read, and saved.
        recent: Returns up to so many strategies tried before, newest first (`StrategyMemory.recent`).
        attempts_folder: Where a strategy's folder is built before it appears, on the strategies' file system.
        clock: Tells the time that is recorded.
        subject: What an assessor judges.
        is_examined: Whether sealed bars of any of these symbols' instruments were looked at; recorded with a design.
    """

    def __init__(
        self,
        *,
        operation_id: str,
        role: Role,
        model: str,
        prompt_version: str,
        bars: BarStore,
        strategies: StrategyStore,
        recent: Callable[[int], list[TriedStrategy]],
        attempts_folder: Path,
        clock: Clock,
        subject: AssessmentContext | None = None,
        held: Callable[[], AbstractContextManager[None]] = nullcontext,
        is_examined: Callable[[Sequence[str]], bool] = lambda _symbols: False,
    ) -> None:
        self._operation_id = operation_id
        self._held = held
        self._role = role
        self._model = model
        self._prompt_version = prompt_version
        self._bars = bars
        self._strategies = strategies
        self._recent = recent
        self._intake = DesignIntake(bars, strategies, attempts_folder, is_examined)
        self._clock = clock
        self._subject = subject
        self.saved_strategy: str | None = self._find_saved_strategy() if role == "designer" else None
        self.saved_assessment: AssessmentRecord | None = self._find_saved_assessment()
        self._calls: dict[str, Callable[[Any, SavePermit], object]] = {
            LIST_INDICATORS: lambda _, __: describe_indicators(),
            LIST_MARKETS: lambda _, __: [market.model_dump() for market in self.markets()],
            GET_RECENT_STRATEGIES: self._get_recent,
            VALIDATE_STRATEGY: self._validate,
            SAVE_STRATEGY_CONFIG: self._save_strategy,
            SAVE_ASSESSMENT: self._save_assessment,
        }

    def execute(self, tool_name: str, arguments: Mapping[str, object], permit: SavePermit | None = None) -> str:
        """Carry out one call. `permit`: of a caller that may give it up while it goes on.

        Returns:
            A JSON text, or "error: " and what to do about it.

        Raises:
            WorkspaceUnusable: The folder or its disk fails; no other call would do better.
            OperationFailed: The operation is no longer this worker's.
        """
        try:
            return json.dumps(self._carry_out(tool_name, arguments, permit or SavePermit()), ensure_ascii=False)
        except (WorkspaceUnusable, OperationFailed):
            raise
        except OSError as error:
            raise WorkspaceUnusable(
                f"cannot write {error.filename}: {error.strerror}; check the folder's permissions and free space"
            ) from error
        except KtrdrError as error:
            return f"{ERROR_PREFIX}{error.message}"

    def record_result(self, result: AgentResult) -> None:
        """Write into design.json or assessment.json what the run that saved it has used."""
        usage = {
            "input_tokens": result.input_tokens,
            "output_tokens": result.output_tokens,
            "cache_read_tokens": result.cache_read_tokens,
            "cache_write_tokens": result.cache_write_tokens,
            "cost_usd": result.cost_usd,
        }
        if self.saved_strategy is not None:
            present = self._strategies.read_json(self.saved_strategy, DESIGN_FILE)
            design = DesignRecord.model_validate(present).model_copy(update=usage)
            self._strategies.write_json(self.saved_strategy, DESIGN_FILE, design.model_dump(mode="json"))
        elif self.saved_assessment is not None:
            assessment = self.saved_assessment.model_copy(update=usage)
            self._strategies.write_json(assessment.strategy_name, ASSESSMENT_FILE, assessment.model_dump(mode="json"))
        else:
            raise Conflict("nothing was saved that a cost could be recorded with", reason="no_strategy")

    @property
    def has_saved(self) -> bool:
        """Whether this run has saved what it was for, which ends it."""
        return self.saved_strategy is not None or self.saved_assessment is not None

    def _carry_out(self, tool_name: str, arguments: Mapping[str, object], permit: SavePermit) -> object:
        tool = TOOLS.get(tool_name)
        if tool is None or tool.role != self._role:
            allowed = ", ".join(each.name for each in TOOLS.values() if each.role == self._role)
            raise InvalidInput(f"{tool_name[:80]!r} is no tool of the {self._role}; there are {allowed}")
        try:
            parsed = tool.arguments.model_validate(arguments)
        except ValidationError as error:
            faults = [f"{'.'.join(map(str, each['loc'])) or 'arguments'}: {each['msg']}" for each in error.errors()]
            raise InvalidInput(f"{tool_name} was called with wrong arguments:\n" + "\n".join(faults)) from None
        return self._calls[tool_name](parsed, permit)

    def markets(self) -> list[MarketListing]:
        """Return the markets that research may use, as far as a designer may know them."""
        return [MarketListing.of(info) for info in self._bars.list_for_research()]

    def recent(self, limit: int) -> list[TriedStrategy]:
        """Return up to so many strategies tried before, newest first, whole."""
        return self._recent(limit)

    def _get_recent(self, arguments: RecentArguments, _: SavePermit) -> object:
        return shortened(self._recent(arguments.limit))

    def _validate(self, arguments: StrategyArguments, _: SavePermit) -> object:
        specification = self._intake.check(arguments.strategy)
        return {"valid": True, "name": specification.name, "sha256": specification.sha256()}

    def _save_strategy(self, arguments: SaveStrategyArguments, permit: SavePermit) -> object:
        if self.saved_strategy is not None:  # one run, one strategy; also what a replay after a crash meets
            return {"saved": self.saved_strategy, "already_saved": True}
        origin = DesignOrigin(
            model=self._model,
            prompt_version=self._prompt_version,
            operation_id=self._operation_id,
            parent_strategies=arguments.parent_strategies,
            notes=arguments.notes,
            created_at=self._clock(),
        )
        prepared = self._intake.prepare(arguments.strategy, origin)
        try:
            with permit.in_use(), self._held():
                prepared.publish()
                self.saved_strategy = prepared.name
        finally:
            prepared.discard()
        return {"saved": prepared.name, "already_saved": False}

    def _save_assessment(self, arguments: AssessmentArguments, permit: SavePermit) -> object:
        if self._subject is None:
            raise Conflict("there is nothing to assess in this run", reason="no_subject")
        subject = self._subject
        name = subject.specification.name
        if self.saved_assessment is not None:  # one run, one assessment; also what a replay after a crash meets
            return {"saved": ASSESSMENT_FILE, "strategy": name, "already_saved": True}
        backtest = subject.backtest.model_dump(mode="json")
        record = AssessmentRecord(
            strategy_name=name,
            verdict=backtest["verdict"],
            judgement=arguments.judgement,
            strengths=arguments.strengths,
            weaknesses=arguments.weaknesses,
            suggestions=arguments.suggestions,
            metrics={
                "accuracy": subject.training.accuracy,
                "final_loss": subject.training.final_loss,
                **backtest["metrics"],
            },
            gates=[dict(gate) for gate in subject.gates],
            model=self._model,
            operation_id=self._operation_id,
            created_at=self._clock(),
        )
        with permit.in_use(), self._held():
            self._strategies.write_json(name, ASSESSMENT_FILE, record.model_dump(mode="json"))
            self.saved_assessment = record
        return {"saved": ASSESSMENT_FILE, "strategy": name, "already_saved": False}

    def _find_saved_strategy(self) -> str | None:
        with self._strategies.settled():
            for name in reversed(self._strategies.names()):
                try:
                    design = self._strategies.read_json(name, DESIGN_FILE)
                except StrategyInvalid:
                    continue  # cut short by hand: no run of ours leaves such a file
                if design is not None and design.get("operation_id") == self._operation_id:
                    return name
        return None

    def _find_saved_assessment(self) -> AssessmentRecord | None:
        if self._subject is None:
            return None
        try:
            present = self._strategies.read_json(self._subject.specification.name, ASSESSMENT_FILE)
            record = AssessmentRecord.model_validate(present)
        except (StrategyInvalid, ValidationError):
            return None
        return record if record.operation_id == self._operation_id else None
