"""Stored series on the wire. All counts and dates are those of the research bars."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from ktrdr.schemas.document import Document, RequestBody, Timestamp


class CostsDocument(Document):
    """Costs of an instrument: basis points of notional per side, financing as a fraction per year."""

    commission_bps: float
    half_spread_bps: float
    slippage_bps: float
    financing_long: float
    financing_short: float


class ResearchSeries(Document):
    """One stored series as whoever designs may see it: what is known of the bars of research alone."""

    symbol: str
    timeframe: str
    snapshot: str
    source: str
    calendar: str
    price_side: str
    asset_class: str
    quote_currency: str | None
    costs: CostsDocument
    n_bars: int
    first: Timestamp
    last: Timestamp
    has_volume: bool
    licence: str | None
    alias_of: str | None = Field(description="the instrument of which this is another vendor's name")
    finding_kinds: list[str] = Field(description="what the quality report found")
    is_refused_for_research: bool = Field(description="for serious findings that nobody accepted")


class DamagedDocument(Document):
    """A series that cannot be read, and what to do about it."""

    symbol: str
    timeframe: str
    message: str


class SeriesDocument(ResearchSeries):
    """One stored series as its owner sees it."""

    sealed_from: Timestamp


class MarketList(Document):
    """A page of stored series, by symbol and from the shortest timeframe, and where the next one begins."""

    markets: list[SeriesDocument]
    damaged: list[DamagedDocument] = Field(default_factory=list, description="all of them, on every page")
    next_cursor: str | None = None


class FindingDocument(Document):
    """Something that the research bars of a series show."""

    kind: str
    severity: Literal["serious", "warning"]
    count: int
    first: Timestamp = Field(description="bar at which it shows first")
    what: str
    advice: str


class QualityDocument(Document):
    """The quality report of a series' current snapshot."""

    symbol: str
    timeframe: str
    snapshot: str
    bars: int
    missing: int
    extra: int
    flat: int
    zero_volume: int
    findings: list[FindingDocument]
    accepted: list[str] = Field(description="kinds of serious findings that somebody accepted for this snapshot")
    is_refused_for_research: bool


class QualityList(Document):
    """Quality reports of stored series."""

    reports: list[QualityDocument]


class FetchRequest(RequestBody):
    """Load bars from a provider. Times without an offset are UTC; `end` is exclusive, null for now."""

    provider: str = Field(max_length=64)
    symbol: str = Field(max_length=64, description="as the provider spells it")
    timeframe: str = Field(max_length=16)
    start: datetime
    end: datetime | None = None
    store_as: str | None = Field(default=None, max_length=64, description="symbol to store it under")
    calendar: str | None = Field(default=None, max_length=32)
    replace: bool = False
    accept_findings: bool = False


class ImportDocument(Document):
    """An imported series, and what had to be inferred or dropped."""

    series: SeriesDocument
    change: Literal["created", "unchanged", "updated"]
    notices: list[str]
