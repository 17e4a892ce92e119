"""What was tried and how it ended, read from operations and strategy folders; nothing is kept twice."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ktrdr.errors import KtrdrError, NotFound, StrategyInvalid
from ktrdr.operations.operation import Operation, OperationPage, OperationStatus
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.strategy.store import StrategyStore

# 2,000 tokens of 3.5 bytes, as they are sent: a JSON text inside another. A language model pays for them at every
# turn from then on.
HISTORY_BYTES = 7_000
_HYPOTHESIS_CHARACTERS, _SUGGESTION_CHARACTERS, _SUGGESTIONS = 200, 160, 2
FAMILIES = ("trend", "reversion", "breakout", "momentum", "volatility", "volume", "seasonality", "range")
_CYCLES = "agent_research"
# Cycles are looked through so far back, and no farther: what memory costs does not grow with the laboratory's age.
_PAGE, _MAX_PAGES = 100, 20
_SHARPE_EDGES = (-1.0, 0.0, 0.5, 1.0)
_TRADE_EDGES = (1, 30, 100, 300)


class OperationLister(Protocol):
    """The part of the operation store that memory reads."""

    def list(self, *, type: str | None = None, limit: int = 50, cursor: str | None = None) -> OperationPage:
        """Return a page of operations, newest first."""
        ...


class TriedStrategy(BaseModel):
    """One strategy and how it ended.

    Figures of the test blocks are bands, not numbers: a designer that could rank by them would be fitting the test
    set. `family` is the first word of the name where that is one, `indicators` are types, each once. `parameters`, such
    as `rsi.timeperiod`, are for designs that grow out of this one; no language model pays for them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    hypothesis: str
    family: str | None
    symbol: str
    timeframe: str
    indicators: list[str]
    outcome: str
    validation_accuracy: float | None
    sharpe_ratio: str | None
    n_trades: str | None
    judgement: str | None
    suggestions: list[str]
    parameters: dict[str, float] = Field(default_factory=dict, exclude=True)


def shortened(tried: Sequence[TriedStrategy]) -> list[dict[str, JsonValue]]:
    """Return what of a history fits into `HISTORY_BYTES` of JSON, newest first, without what is not known."""
    shown: list[dict[str, JsonValue]] = []
    room = HISTORY_BYTES - 4
    for each in tried:
        document = {name: value for name, value in each.model_dump().items() if value not in (None, [])}
        document["hypothesis"] = cut(each.hypothesis, _HYPOTHESIS_CHARACTERS)
        text = json.dumps(document, ensure_ascii=False)
        room -= len(json.dumps(text, ensure_ascii=False).encode())  # its quotes make room for ", "
        if room < 0:
            break
        shown.append(document)
    return shown


def cut(text: str, characters: int) -> str:
    """Return a text, or its beginning where it is longer."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


class StrategyMemory:
    """Reads the past afresh at each call, so that it agrees with whatever other processes did."""

    def __init__(self, operations: OperationLister, strategies: StrategyStore) -> None:
        self._operations = operations
        self._strategies = strategies

    def recent(self, limit: int) -> list[TriedStrategy]:
        """Return the strategies stored last, newest first; those that cannot be read are left out."""
        tried = []
        with self._strategies.settled():
            names = self._strategies.names()[::-1][:limit]
            outcomes = self._outcomes(set(names))
            for name in names:
                try:
                    specification = self._strategies.read(name)
                    tried.append(self._tried(specification, outcomes.get(name)))
                except (NotFound, StrategyInvalid):
                    continue  # removed meanwhile, or spoilt by hand
        return tried

    def _outcomes(self, wanted: set[str]) -> dict[str, str]:
        """Return how the newest cycle of each wanted strategy ended."""
        outcomes: dict[str, str] = {}
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            page = self._operations.list(type=_CYCLES, limit=_PAGE, cursor=cursor)
            for operation in page.operations:
                name = operation.metadata.get("strategy_name")
                if isinstance(name, str) and name in wanted:
                    outcomes.setdefault(name, _outcome(operation))
            cursor = page.next_cursor
            if cursor is None or not wanted - outcomes.keys():
                break
        return outcomes

    def _tried(self, specification: StrategySpecification, outcome: str | None) -> TriedStrategy:
        name = specification.name
        training = self._json(name, "training.json")
        metrics = self._json(name, "backtest.json").get("metrics")
        metrics = metrics if isinstance(metrics, dict) else {}
        assessment = self._json(name, "assessment.json")
        judgement, suggestions = assessment.get("judgement"), assessment.get("suggestions")
        accuracy = _number(training.get("accuracy"))
        first_word = name.partition("_")[0]
        return TriedStrategy(
            name=name,
            hypothesis=specification.hypothesis,
            family=first_word if first_word in FAMILIES else None,
            symbol=specification.symbols_text,
            timeframe=specification.timeframe,
            indicators=sorted({each.type for each in specification.indicators.values()}),
            outcome=outcome or ("backtested outside a cycle" if metrics else "stored, no cycle ran it"),
            validation_accuracy=None if accuracy is None else round(accuracy, 2),
            sharpe_ratio=_band(_number(metrics.get("sharpe_ratio")), _SHARPE_EDGES),
            n_trades=_band(_number(metrics.get("n_trades")), _TRADE_EDGES),
            judgement=judgement if isinstance(judgement, str) else None,
            suggestions=[
                cut(each, _SUGGESTION_CHARACTERS)
                for each in (suggestions if isinstance(suggestions, list) else [])[:_SUGGESTIONS]
                if isinstance(each, str)
            ],
            parameters=_parameters(specification),
        )

    def _json(self, name: str, filename: str) -> dict[str, JsonValue]:
        try:
            return self._strategies.read_json(name, filename) or {}
        except KtrdrError:
            return {}  # a result cut short by hand says nothing


def _parameters(specification: StrategySpecification) -> dict[str, float]:
    """Return the numbers of a strategy that another one may be drawn near to, by where they stand in it."""
    found = {
        f"{identifier}.{name}": float(value)
        for identifier, each in specification.indicators.items()
        for name, value in each.parameters.items()
    }
    labels = specification.labels.model_dump()
    numbers = {f"labels.{name}": value for name, value in labels.items() if isinstance(value, int | float)}
    return {**found, **{name: float(value) for name, value in numbers.items()}}


def _outcome(operation: Operation) -> str:
    if operation.error is not None:
        return operation.error.reason
    if operation.status is OperationStatus.COMPLETED:
        return "completed: passed both gates" if not _bypassed(operation) else "completed: a gate was bypassed"
    return operation.status.value


def _bypassed(operation: Operation) -> bool:
    gates = operation.metadata.get("gates")
    return isinstance(gates, list) and any(isinstance(gate, dict) and gate.get("bypassed") for gate in gates)


def _number(value: JsonValue) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _band(value: float | None, edges: tuple[float, ...]) -> str | None:
    """Return "0 to 0.5" for a value between two edges; None where there is no value."""
    return None if value is None else _bands(edges)[sum(edge <= value for edge in edges)]


def _bands(edges: tuple[float, ...]) -> tuple[str, ...]:
    between = (f"{low:g} to {high:g}" for low, high in pairwise(edges))
    return (f"below {edges[0]:g}", *between, f"{edges[-1]:g} or more")


# From the worst to the best.
SHARPE_BANDS = _bands(_SHARPE_EDGES)
