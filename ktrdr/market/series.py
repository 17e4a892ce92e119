"""What is known about a stored series, as research may see it, and its JSON sidecar."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ktrdr.errors import InvalidInput
from ktrdr.market.costs import AssetClass, CostModel
from ktrdr.market.timeframe import Timeframe

SYMBOL_PATTERN = re.compile(r"[A-Z][A-Z0-9._-]{0,31}")
PriceSide = Literal["bid", "ask", "mid", "trade"]
SHA256_PATTERN = r"^[0-9a-f]{64}$"


@dataclass(frozen=True, slots=True)
class SeriesInfo:
    """A stored series as research sees it: counts and dates are those of its research bars.

    `first` and `last` are labels (bar opens) of research bars; bars of sessions from `sealed_from` on are sealed.
    """

    symbol: str
    timeframe: Timeframe
    snapshot: str
    source: str
    calendar: str
    price_side: PriceSide
    asset_class: AssetClass
    quote_currency: str | None
    costs: CostModel
    n_bars: int
    first: datetime
    last: datetime
    sealed_from: datetime
    has_volume: bool
    licence: str | None


class QualityReport(BaseModel):
    """Counts over the research bars, against the calendar between their first and last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bars: int = Field(ge=1)
    missing: int = Field(ge=0, description="bars that the calendar expects and the source has not")
    extra: int = Field(ge=0, description="bars outside every session")
    flat: int = Field(ge=0, description="bars whose four prices are equal")
    zero_volume: int = Field(ge=0)


class SeriesSidecar(BaseModel):
    """The `series.json` of a series: names the current snapshot and says what its bars are.

    Nothing in it depends on a sealed bar: changing those leaves the file byte for byte as it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    symbol: str
    timeframe: Timeframe
    snapshot: str = Field(pattern=SHA256_PATTERN, description="sha256 of the research bars' content")
    source: str
    clock: str = Field(description="how the source's timestamps were read")
    calendar: str
    adjustment: str
    price_side: PriceSide
    asset_class: AssetClass
    quote_currency: str | None
    multiplier: float = Field(gt=0, description="units of the underlying per contract")
    tick: float | None = Field(gt=0, description="smallest price step; null where unknown")
    costs: CostModel
    has_volume: bool
    has_half_spread: bool
    first: datetime
    last: datetime
    sealed_from: date = Field(description="sessions from this date on are sealed, in every timeframe")
    quality: QualityReport
    licence: str | None
    notice: str | None

    def info(self) -> SeriesInfo:
        """Return what other packages see of this series."""
        return SeriesInfo(
            symbol=self.symbol,
            timeframe=self.timeframe,
            snapshot=self.snapshot,
            source=self.source,
            calendar=self.calendar,
            price_side=self.price_side,
            asset_class=self.asset_class,
            quote_currency=self.quote_currency,
            costs=self.costs,
            n_bars=self.quality.bars,
            first=self.first.astimezone(UTC),
            last=self.last.astimezone(UTC),
            sealed_from=datetime.combine(self.sealed_from, time(), UTC),
            has_volume=self.has_volume,
            licence=self.licence,
        )


def check_symbol(symbol: str) -> str:
    """Return the symbol if it may name a folder.

    Raises:
        InvalidInput: It may not: path traversal is impossible by the pattern.
    """
    if SYMBOL_PATTERN.fullmatch(symbol) is None:
        raise InvalidInput(
            f"need a symbol of 1 to 32 characters A-Z, 0-9, '.', '_', '-' that starts with a letter, was {symbol!r}"
        )
    return symbol
