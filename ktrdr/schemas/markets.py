"""Stored series on the wire. All counts and dates are those of the research bars."""

from typing import Literal

from ktrdr.schemas.document import Document, Timestamp


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


class SeriesDocument(ResearchSeries):
    """One stored series as its owner sees it."""

    sealed_from: Timestamp


class MarketList(Document):
    """All stored series."""

    markets: list[SeriesDocument]


class ImportDocument(Document):
    """An imported series, and what had to be inferred or dropped."""

    series: SeriesDocument
    change: Literal["created", "unchanged", "updated"]
    notices: list[str]
