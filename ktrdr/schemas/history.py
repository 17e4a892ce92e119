"""Research cycles that have ended, on the wire."""

from pydantic import Field

from ktrdr.operations.operation import OperationStatus
from ktrdr.schemas.document import Document, Timestamp


class EndedCycle(Document):
    """One cycle that has ended. Figures are those that its strategy has now, null where there are none."""

    operation_id: str
    status: OperationStatus
    reason: str | None = Field(description="why it failed; null if it did not")
    created_at: Timestamp
    completed_at: Timestamp | None
    duration_seconds: float | None
    brief: str | None
    model: str | None = Field(description="who designed and assessed")
    seed: int | None
    cost_usd: float | None
    strategy_name: str | None
    symbols: list[str]
    timeframe: str | None
    verdict: str | None = Field(description="what statistics alone allow to be said")
    accuracy: float | None = Field(description="validation accuracy, 0..1")
    sharpe_ratio: float | None = Field(description="out of sample, net of costs, annualised")
    max_drawdown: float | None = Field(description="fraction of peak equity, 0..1")
    n_trades: int | None
    judgement: str | None = Field(description="the assessor's opinion, not a verdict")


class CycleHistory(Document):
    """A page of ended cycles, newest first, and where the next one begins (null at the end)."""

    cycles: list[EndedCycle]
    next_cursor: str | None
