"""What is known about a stored series, as research may see it, and its JSON sidecar."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ktrdr.errors import InvalidInput
from ktrdr.market.costs import AssetClass, CostModel
from ktrdr.market.findings import QualityReport, Severity
from ktrdr.market.timeframe import Timeframe

SYMBOL_PATTERN = re.compile(r"[A-Z][A-Z0-9._-]{0,31}")
PriceSide = Literal["bid", "ask", "mid", "trade"]
SHA256_PATTERN = r"^[0-9a-f]{64}$"
FX_SUFFIX = "=X"  # Yahoo's mark of a currency pair
# A slash may part two names only; it never begins or leads a path.
# BTC-USD is BTCUSD; BRK-B keeps its dash.
_QUOTED = re.compile(r"([A-Z0-9]{2,})[._-](USDT|USDC|USD|EUR|GBP|JPY|CHF|AUD|NZD|CAD|BTC|ETH)")
_PAIR = re.compile(r"([A-Z0-9]+)/([A-Z0-9]+)((?:[:-][A-Z0-9]+)?)")


@dataclass(frozen=True, slots=True)
class SeriesInfo:
    """A stored series as research sees it: counts and dates are those of its research bars.

    `first` and `last` are labels (bar opens) of research bars; bars of sessions from `sealed_from` on are sealed.
    `finding_kinds` are the kinds that the quality report found.
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
    alias_of: str | None
    finding_kinds: tuple[str, ...]
    is_refused_for_research: bool


class AcceptedFindings(BaseModel):
    """A snapshot that research uses although its report has serious findings: somebody said so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    snapshot: str = Field(pattern=SHA256_PATTERN)
    kinds: tuple[str, ...]


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
    alias_of: str | None = Field(default=None, description="the instrument whose sealed date this one shares")
    accepted: tuple[AcceptedFindings, ...] = ()

    @property
    def is_refused_for_research(self) -> bool:
        """Whether the current snapshot has serious findings that nobody accepted."""
        return self.quality.is_serious and not self.accepted_findings(self.snapshot)

    def accepted_findings(self, snapshot: str) -> tuple[str, ...]:
        """Return the kinds of serious findings that were accepted for a snapshot; none where nothing was."""
        return next((each.kinds for each in self.accepted if each.snapshot == snapshot), ())

    def with_findings_accepted(self) -> "SeriesSidecar":
        """Return the sidecar with the serious findings of its current snapshot, if it has any, accepted."""
        if not self.is_refused_for_research:
            return self
        serious = [finding.kind for finding in self.quality.findings if finding.severity is Severity.SERIOUS]
        acceptance = AcceptedFindings(snapshot=self.snapshot, kinds=tuple(dict.fromkeys(serious)))
        return self.model_copy(update={"accepted": (*self.accepted, acceptance)})

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
            alias_of=self.alias_of,
            finding_kinds=tuple(dict.fromkeys(finding.kind for finding in self.quality.findings)),
            is_refused_for_research=self.is_refused_for_research,
        )


def normal_symbol(text: str) -> str:
    """Return the normal form of what people call an instrument: `eur/usd` and `EURUSD=X` are `EURUSD`.

    Raises:
        InvalidInput: It has none that may name a folder.
    """
    symbol = text.upper().removeprefix("^").removesuffix(FX_SUFFIX)
    if (quoted := _QUOTED.fullmatch(symbol)) is not None:
        symbol = quoted.group(1) + quoted.group(2)
    pair = _PAIR.fullmatch(symbol)
    if pair is not None:
        symbol = pair.group(1) + pair.group(2) + pair.group(3).replace(":", "-")
    return check_symbol(symbol.replace("=", "-"))


def symbol_key(symbol: str) -> str:
    """Return what two spellings of one symbol have in common: `BTC-USD`, `BTC.USD` and `BTCUSD` are one."""
    return re.sub(r"[^A-Z0-9]", "", symbol.upper().removesuffix(FX_SUFFIX))


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
