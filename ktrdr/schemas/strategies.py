"""Strategies on the wire."""

from typing import Annotated

from pydantic import Field, JsonValue, StrictFloat, StrictInt

from ktrdr.schemas.agent import MAX_SEED
from ktrdr.schemas.document import Document, RequestBody
from ktrdr.schemas.vault import ExamDocument

AFTER_EXAM = "stored after an exam was held on its instrument"
ResultDocument = dict[str, JsonValue]


class StrategySummary(Document):
    """One line of the list. Figures are null until their phase has ended."""

    name: str
    hypothesis: str | None
    symbols: list[str]
    timeframe: str | None
    accuracy: float | None = Field(description="validation accuracy, 0..1")
    sharpe_ratio: float | None = Field(description="out of sample, net of costs, annualised")
    n_trades: int | None
    max_drawdown: float | None = Field(description="fraction of peak equity, 0..1")
    verdict: str | None = Field(description="what statistics alone allow to be said; null before a backtest")
    judgement: str | None = Field(description="the assessor's opinion, not a verdict")
    after_exam: bool = Field(default=False, description=AFTER_EXAM)
    faults: list[str] = Field(default_factory=list, description="why its files cannot be read, if they cannot")


class StrategyList(Document):
    """A page of stored strategies, newest first, and where the next one begins (null at the end)."""

    strategies: list[StrategySummary]
    next_cursor: str | None


class ResearchStrategy(Document):
    """One strategy: its specification and what research found, null where a phase has not ended."""

    name: str
    path: str = Field(description="the strategy's folder on the server's machine")
    sha256: str
    text: str = Field(description="strategy.yaml as written")
    specification: dict[str, JsonValue] = Field(description="with every default written out")
    design: ResultDocument | None
    training: ResultDocument | None
    backtest: ResultDocument | None
    assessment: ResultDocument | None
    accepted_findings: list[str] = Field(
        default_factory=list, description="serious findings about the bars, used all the same because somebody said so"
    )
    after_exam: bool = Field(default=False, description=AFTER_EXAM)
    n_trials: int = Field(description="trials of the whole workspace so far: the more, the less the best one means")


class StrategyDetail(ResearchStrategy):
    """One strategy as people see it: what came of its exam too, and the page about it."""

    report_path: str | None = Field(default=None, description="report.html on the server's machine; null if not made")

    exam: ExamDocument | None = Field(default=None, description="of exactly this file and model, if there was one")


class ValidationReport(Document):
    """Whether a strategy file may be used, and every fault if not."""

    valid: bool
    faults: list[str]


class DesignRequest(RequestBody):
    """A strategy that an agent designed, to be stored with who made it."""

    strategy: dict[str, JsonValue] | str = Field(description="the strategy as a document, or as YAML text")
    designer: str = Field(min_length=1, max_length=200, description="who made it; design.json has it as `model`")
    parent_strategies: list[str] = Field(default_factory=list, max_length=10, description="those it grew out of")
    notes: str | None = Field(default=None, max_length=4000, description="why it is as it is")


class TrainingRequest(RequestBody):
    """Train a stored strategy."""

    strategy: str = Field(max_length=64)
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED)


SweptPath = Annotated[str, Field(max_length=64)]
SweptText = Annotated[str, Field(max_length=100_000)]
SweptValues = list[StrictInt | StrictFloat | Annotated[str, Field(max_length=64)] | None]


class BacktestRequest(RequestBody):
    """Backtest a stored strategy on its own out-of-sample predictions, or variants of its `decision` and `risk`."""

    strategy: str = Field(max_length=64)
    sweep: dict[SweptPath, SweptText | SweptValues] | None = Field(
        default=None,
        max_length=20,
        description="values of each path, as a list, or a text: `0.5:0.7:0.02` (both ends), `0.5,0.6`, `none,2`; every "
        "combination is a variant, and every variant a trial",
    )
