"""Exams on the wire: what one would be, and what those that were held came to."""

from datetime import date
from typing import Literal

from pydantic import Field

from ktrdr.schemas.document import Document, Timestamp


class KnowledgeDocument(Document):
    """What the designer's language model may have read of the sealed years."""

    standing: Literal["before_cutoff", "partly_before_cutoff", "after_cutoff", "unknown", "no_llm"] = Field(
        description="where the sealed bars lie: before the end of its training data, they were no secret to it"
    )
    designer: str | None
    cutoff: date | None = Field(description="first day after the month that the provider states")
    source: str | None


class ExamDocument(Document):
    """One look at sealed bars. Figures are null until it has ended."""

    strategy: str = Field(description="its name at that time")
    look: int = Field(description="its number among the looks of this workspace, from 1")
    status: Literal["open", "passed", "not_passed"]
    reason: str | None
    psr: float | None = Field(description="probability of a true Sharpe ratio above zero, the worse of two tests")
    required_psr: float
    sharpe_ratio: float | None = Field(description="annualised, the worse of net and market-adjusted")
    n_trades: int | None
    first: Timestamp | None
    last: Timestamp | None
    instruments: list[str]
    knowledge: KnowledgeDocument | None
    operation_id: str
    opened_at: Timestamp
    report: str | None = Field(description="the file with everything, on the server's machine")


class ExamList(Document):
    """All looks of this workspace, oldest first, and what the next one would have to show."""

    exams: list[ExamDocument]
    next_required_psr: float
    faults: list[str] = Field(description="rows of the exam ledger that are not as they were written")


class AssumedPower(Document):
    """How likely a strategy of this true Sharpe ratio passes."""

    sharpe_ratio: float
    assumption: Literal["measured", "lower_end", "round"] = Field(
        description="the worse ratio of the backtest, the lower end of its interval, or a round number"
    )
    power: float


class ExamProspect(Document):
    """What an exam would be, before anybody looks."""

    strategy: str
    look: int
    required_psr: float
    sealed_bars: int
    sealed_first: Timestamp
    sealed_last: Timestamp
    sealed_years: float
    powers: list[AssumedPower]
    knowledge: KnowledgeDocument
    after_exam: bool = Field(description="its instrument's sealed bars were looked at before")
    exam: ExamDocument | None = Field(description="the one that was held: there is no other")


class LeaderboardRow(Document):
    """One strategy of the ranking."""

    rank: int
    name: str
    symbols: list[str]
    timeframe: str
    verdict: str = Field(description="`proven` only where the exam was passed")
    sharpe_low: float | None = Field(description="lower end of the interval of the market-adjusted Sharpe ratio")
    sharpe_ratio: float | None = Field(description="market-adjusted, annualised")
    net_sharpe_ratio: float | None
    psr: float | None
    n_trades: int
    n_trials: int = Field(description="trials of the workspace when the verdict was reached")
    exam: ExamDocument | None
    after_exam: bool


class Leaderboard(Document):
    """Backtested strategies, best first, and where the next page begins (null at the end)."""

    rows: list[LeaderboardRow]
    next_cursor: str | None
    n_trials: int = Field(description="of the workspace so far")
    n_looks: int
    unreadable: list[str] = Field(description="strategies whose files were changed or come from another version")
    ledger_faults: list[str] = Field(description="rows of the trial ledger that are not as they were written")
