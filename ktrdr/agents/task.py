"""What an agent is asked, and what asking it came to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from ktrdr.backtest.report import BacktestReport
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.training.report import TrainingReport

Role = Literal["designer", "assessor"]


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
class AgentResult:
    """How a run ended and what it used. `reason` is a slug of the agent layer's failures, "saved" where `ok`."""

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
