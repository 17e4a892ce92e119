"""What the tools take, and those of their answers that are no answers of the API."""

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, WithJsonSchema

from ktrdr.agents.tool_schemas import tool_schemas
from ktrdr.agents.tools import SAVE_STRATEGY_CONFIG
from ktrdr.operations.operation import OperationStatus
from ktrdr.operations.store import MAX_PAGE
from ktrdr.schemas.agent import (
    DEFAULT_BUDGET_DAYS,
    DEFAULT_RECENT,
    MAX_BRIEF_CHARACTERS,
    MAX_BUDGET_DAYS,
    MAX_RECENT,
    MAX_SEED,
)
from ktrdr.schemas.document import Document, RequestBody
from ktrdr.schemas.markets import ResearchSeries

# Many clients give a call up after 60 s.
DEFAULT_WATCH_S, MAX_WATCH_S = 45.0, 300.0


def _strategy_schema() -> dict[str, Any]:
    """Return the schema that the designers of our own cycles are shown, or YAML text instead."""
    (schema,) = (schema for name, _, schema in tool_schemas("designer") if name == SAVE_STRATEGY_CONFIG)
    text = {"type": "string", "description": "the same as YAML text"}
    return {"anyOf": [schema["properties"]["strategy"], text], "description": "The strategy."}


Strategy = Annotated[dict[str, JsonValue] | str, WithJsonSchema(_strategy_schema())]
OperationId = Annotated[str, Field(max_length=100, description="As list_operations shows it.")]
StrategyName = Annotated[str, Field(max_length=64, description="As list_strategies shows it.")]


class NoArguments(RequestBody):
    """For a tool that takes none."""


class PageArguments(RequestBody):
    """How much of a list, and from where on."""

    limit: int = Field(default=20, ge=1, le=MAX_PAGE, description="At most so many.")
    cursor: str | None = Field(default=None, max_length=500, description="Where the page before this one ended.")


class RecentArguments(RequestBody):
    """How far back to look."""

    limit: int = Field(default=DEFAULT_RECENT, ge=1, le=MAX_RECENT, description="At most so many.")


class ValidateArguments(RequestBody):
    """A strategy. Its schema stands at `SaveArguments`: clients pay for every word of it at every turn."""

    strategy: dict[str, JsonValue] | str = Field(description="As save_strategy_config takes it.")


class SaveArguments(RequestBody):
    """A strategy to keep, and where it comes from."""

    strategy: Strategy
    designer: str | None = Field(
        default=None, min_length=1, max_length=100, description="Who designed it, such as your model's name."
    )
    parent_strategies: list[str] = Field(
        default_factory=list, max_length=10, description="Stored strategies that it grew out of."
    )
    notes: str | None = Field(default=None, max_length=4000, description="Why it is as it is.")


class CycleArguments(RequestBody):
    """What one research cycle is asked to do; everything is optional."""

    brief: str | None = Field(default=None, max_length=MAX_BRIEF_CHARACTERS, description="What to look for, in words.")
    model: str | None = Field(
        default=None,
        max_length=200,
        description="Who designs and assesses: opus, sonnet, haiku, openai:NAME, or offline (free). Default: Claude "
        "where the server has a key, else offline.",
    )
    designer: Literal["claude", "offline"] | None = Field(
        default=None, description="offline: free, even where the server has a key. Default: as model says."
    )
    strategy: str | None = Field(
        default=None, max_length=64, description="A stored strategy to train and test; nothing is designed then."
    )
    seed: int | None = Field(
        default=None, ge=0, le=MAX_SEED, description="The same seed and bars give the same results. Default: chosen."
    )


class WatchArguments(RequestBody):
    """What to wait for, and for how long."""

    operation_id: OperationId | None = Field(
        default=None, description="What to watch. Default: the active cycle, or the one that ended last."
    )
    max_wait_s: float = Field(
        default=DEFAULT_WATCH_S, ge=0, le=MAX_WATCH_S, description="Answer after so many seconds at the latest."
    )


class ListOperationsArguments(RequestBody):
    """Which operations to list."""

    type: str | None = Field(default=None, max_length=64, description="Such as agent_research, training, backtesting.")
    status: OperationStatus | None = Field(default=None, description="Only those in this state.")
    parent_id: str | None = Field(default=None, max_length=100, description="Only the phases of this cycle.")
    limit: int = Field(default=20, ge=1, le=MAX_PAGE, description="At most so many.")
    cursor: str | None = Field(default=None, max_length=500, description="Where the page before this one ended.")


class OperationArguments(RequestBody):
    """Which operation."""

    operation_id: OperationId


class StrategyArguments(RequestBody):
    """Which strategy."""

    name: StrategyName


class BudgetArguments(RequestBody):
    """How far back to look."""

    days: int = Field(default=DEFAULT_BUDGET_DAYS, ge=1, le=MAX_BUDGET_DAYS, description="So many days back.")


class ResearchMarkets(Document):
    """A page of stored series as research sees them, and where the next one begins (null at the end)."""

    markets: list[ResearchSeries]
    next_cursor: str | None


class StrategySaved(Document):
    """A strategy was stored."""

    name: str
    sha256: str
    path: str = Field(description="its folder")
    next: str = Field(description="what may be done with it")


class CycleStarted(Document):
    """A research cycle was started."""

    operation_id: str
    runs_in: Literal["server", "this_process"]
    note: str = Field(description="who runs it, and until when")
