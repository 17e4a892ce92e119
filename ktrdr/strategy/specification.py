"""What a strategy is: the one model behind the file, the designer's tool, the API and the trainer."""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from ktrdr.errors import StrategyInvalid
from ktrdr.market.timeframe import Timeframe
from ktrdr.strategy.consistency import consistency_faults
from ktrdr.strategy.sections import (
    NAME_PATTERN,
    AnfisSpecification,
    DecisionSpecification,
    FirstMoveLabels,
    FixedSizing,
    ForwardReturnLabels,
    FuzzySetSpecification,
    Identifier,
    IndicatorSpecification,
    MarketSpecification,
    MlpSpecification,
    Model,
    RiskSpecification,
    Section,
    ShapeSpecification,
    TrainingSpecification,
    TripleBarrierLabels,
    VolatilityTargetSizing,
)

__all__ = [
    "NAME_PATTERN",
    "AnfisSpecification",
    "DecisionSpecification",
    "FirstMoveLabels",
    "FixedSizing",
    "ForwardReturnLabels",
    "FuzzySetSpecification",
    "IndicatorSpecification",
    "Labels",
    "MarketSpecification",
    "MlpSpecification",
    "Model",
    "RiskSpecification",
    "ShapeSpecification",
    "StrategySpecification",
    "TrainingSpecification",
    "TripleBarrierLabels",
    "VolatilityTargetSizing",
]

Labels = Annotated[TripleBarrierLabels | ForwardReturnLabels | FirstMoveLabels, Field(discriminator="type")]


class StrategySpecification(Section):
    """One strategy, complete: every default and every indicator parameter is written out.

    Build one with `parse_strategy` or `validate_strategy`, which list all faults at once.

    Raises:
        StrategyInvalid: Two parts contradict each other (pydantic's own error, where a single field is wrong).
    """

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    name: Annotated[str, Field(pattern=NAME_PATTERN, description="lower case, never reused")]
    hypothesis: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=10, max_length=4000),
        Field(description="what market behaviour, and why it should persist"),
    ]
    market: MarketSpecification
    indicators: Annotated[dict[Identifier, IndicatorSpecification], Field(min_length=1)]
    fuzzy_sets: Annotated[dict[Identifier, FuzzySetSpecification], Field(min_length=1)]
    labels: Labels
    model: Model = MlpSpecification()
    training: TrainingSpecification = TrainingSpecification()
    decision: DecisionSpecification = DecisionSpecification()
    risk: RiskSpecification = RiskSpecification()

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        faults = consistency_faults(self.document())
        if faults:
            raise StrategyInvalid(faults)
        return self

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that the strategy trades, sorted."""
        return self.market.symbols

    @property
    def symbols_text(self) -> str:
        """Their names, separated by a comma and a space."""
        return ", ".join(self.market.symbols)

    @property
    def timeframe(self) -> Timeframe:
        """The one timeframe of its bars."""
        return self.market.timeframe

    def document(self) -> dict[str, Any]:
        """Return the strategy as a plain JSON document in the file's form, nothing left out but nulls."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def sha256(self) -> str:
        """Return the hash (hex) that names this exact strategy."""
        return _digest(self.document())

    def configuration_sha256(self) -> str:
        """Return the hash (hex) of all that decides its results: everything but name and hypothesis."""
        return configuration_digest(self.document())


def configuration_digest(document: dict[str, Any]) -> str:
    """Return the `configuration_sha256` of the strategy that has this whole document, which stays as it is."""
    return _digest({name: value for name, value in document.items() if name not in ("name", "hypothesis")})


def _digest(document: dict[str, Any]) -> str:
    # The order of keys means nothing, except that of the fuzzy sets: it is the order of the network's inputs.
    document["fuzzy_sets"] = [
        [name, {**raw, "sets": list(raw.get("sets", {}).items())}] for name, raw in document["fuzzy_sets"].items()
    ]
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
