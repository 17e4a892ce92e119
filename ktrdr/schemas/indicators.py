"""Indicators on the wire: what a strategy file may use."""

from ktrdr.schemas.document import Document


class ParameterDocument(Document):
    """One parameter and what it may be."""

    name: str
    minimum: float
    maximum: float
    default: float


class IndicatorDocument(Document):
    """One indicator. Values in units of price need `relative_to` in a fuzzy set."""

    type: str
    meaning: str
    inputs: list[str]
    outputs: list[str]
    unit: str
    needs_relative_to: bool
    parameters: list[ParameterDocument]


class IndicatorList(Document):
    """All indicators that a strategy file may use."""

    indicators: list[IndicatorDocument]
