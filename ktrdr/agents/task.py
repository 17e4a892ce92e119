"""What an agent is asked, and what asking it came to."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pydantic import JsonValue

from ktrdr.backtest.report import BacktestReport
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.training.report import TrainingReport

Role = Literal["designer", "assessor"]


class Steps(Protocol):
    """What makes a run durable: after a crash it starts again, and finished steps answer from memory."""

    async def once(self, name: str, coroutine: Callable[[], Coroutine[Any, Any, JsonValue]]) -> JsonValue:
        """Run a coroutine once and remember its JSON result."""
        ...

    async def report(self, percentage: float, current_step: str) -> None:
        """Say how far the run is; only from inside a step."""
        ...


@dataclass(frozen=True, slots=True)
class AgentLimits:
    """How long an agent may take, in seconds and turns, and how much it may say in one answer."""

    call_s: float
    tool_s: float
    phase_s: float
    backoff_s: float
    max_turns: int
    max_output_tokens: int


@dataclass(frozen=True, slots=True)
class AssessmentContext:
    """Everything measured about one strategy, as the assessor sees it and as code copies it into the assessment.

    `gates` are the gate results as the cycle's metadata holds them; `n_trials` counts all trials of the workspace
    so far, this one included.
    """

    specification: StrategySpecification
    training: TrainingReport
    backtest: BacktestReport
    gates: tuple[Mapping[str, JsonValue], ...]
    n_trials: int


@dataclass(frozen=True, slots=True)
class AgentTask:
    """One job for an agent. What came of it is what its tools saved.

    `brief` is the user's wish in words, `context` what an assessor judges (None for a designer). The same seed,
    brief and history give the same result where the agent is deterministic.
    """

    role: Role
    brief: str | None
    seed: int
    context: AssessmentContext | None = None


@dataclass(frozen=True, slots=True)
class AgentRun:
    """In whose name a task is worked on: the phase's operation, and the cycle that pays.

    `spent_usd` is what the cycle has cost before this run; None where nobody counts.
    """

    operation_id: str
    cycle_id: str
    steps: Steps
    spent_usd: float | None = None


@dataclass(frozen=True, slots=True)
class AgentResult:
    """How a run ended and what it used. `reason` is a slug of the agent layer's failures, "saved" where `ok`.

    `message` says in words what went wrong.
    """

    ok: bool
    reason: str
    turns: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cost_usd: float
    seconds: float
    model: str
    prompt_version: str
    message: str = ""
