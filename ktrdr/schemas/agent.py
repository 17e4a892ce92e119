"""The research agent on the wire: starting cycles, and what is going on."""

from datetime import date
from typing import Literal

from pydantic import Field

from ktrdr.schemas.document import Document, RequestBody
from ktrdr.schemas.operations import OperationDocument

MAX_BRIEF_CHARACTERS = 8_000
MAX_SEED = 2**32 - 1
DEFAULT_BUDGET_DAYS, MAX_BUDGET_DAYS = 7, 366
DEFAULT_RECENT, MAX_RECENT = 20, 200


class TriggerRequest(RequestBody):
    """What one research cycle is asked to do; everything is optional."""

    brief: str | None = Field(default=None, max_length=MAX_BRIEF_CHARACTERS, description="what to look for, in words")
    model: str | None = Field(default=None, max_length=200, description="which LLM designs; none: the default")
    designer: Literal["claude", "offline"] | None = Field(
        default=None, description="offline needs no key and asks no LLM, whatever is set; none: as `model` says"
    )
    strategy: str | None = Field(default=None, max_length=64, description="a stored strategy: skips the design phase")
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED, description="none: chosen from what was tried so far")
    bypass_gates: bool = Field(default=False, description="go on past a refusing gate; recorded on the operation")


class TriggerAccepted(Document):
    """A cycle was started."""

    triggered: Literal[True] = True
    operation_id: str


class TriggerRefused(Document):
    """No cycle was started, for now: `active_cycle_exists` or `budget_exhausted`."""

    triggered: Literal[False] = False
    reason: str
    operation_id: str | None = Field(default=None, description="what stands in the way, where something does")


class BudgetStanding(Document):
    """Where today's budget stands, in dollars; a day is one of UTC. Spent, reserved and remaining make the limit."""

    day: date
    daily_limit_usd: float
    cycle_limit_usd: float
    spent_usd: float = Field(description="charged for good")
    reserved_usd: float = Field(description="what the cycles that are active may still cost")
    remaining_usd: float = Field(description="what is left for new cycles")


class TokenCounts(Document):
    """Tokens; `input_tokens` includes the cached ones."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int


class SpendingDocument(Document):
    """What the calls of one day, model or operation came to; reservations not settled yet are included."""

    key: str = Field(description="the day, the model or the operation")
    charged_usd: float
    calls: int
    usage: TokenCounts


class BudgetDocument(BudgetStanding):
    """The budget, and what was spent on what in the days that were asked for."""

    open_cycles: list[str] = Field(description="the cycles for which money is reserved")
    days: list[SpendingDocument] = Field(description="newest first; days without calls are left out")
    models: list[SpendingDocument] = Field(description="dearest first")
    operations: list[SpendingDocument] = Field(description="the phases that made calls, newest first, at most 100")


class AgentStatus(Document):
    """What the agent does now, and the cycle that ended last."""

    status: Literal["active", "idle"]
    operation: OperationDocument | None = Field(description="the cycle that has been running longest")
    active: list[OperationDocument]
    last_cycle: OperationDocument | None
    budget: BudgetStanding


class TriedStrategyDocument(Document):
    """One strategy and how it ended. Figures of the test blocks are bands, so that nobody can rank by them."""

    name: str
    hypothesis: str
    family: str | None = Field(description="such as trend or reversion, where its name says so")
    symbol: str
    timeframe: str
    indicators: list[str]
    outcome: str = Field(description="a reason such as `gate_failed:backtest:no_trades`, or what was done with it")
    validation_accuracy: float | None
    sharpe_ratio: str | None = Field(description="a band, out of sample and net of costs")
    n_trades: str | None = Field(description="a band")
    judgement: str | None = Field(description="the assessor's opinion, not a verdict")
    suggestions: list[str]


class TriedStrategies(Document):
    """What was tried before, newest first."""

    strategies: list[TriedStrategyDocument]
