"""What the caller of an import says about the file, checked."""

from dataclasses import dataclass
from typing import get_args

from ktrdr.errors import InvalidInput
from ktrdr.market.calendar import resolve_calendar
from ktrdr.market.costs import AssetClass
from ktrdr.market.series import PriceSide, check_symbol
from ktrdr.market.timeframe import Timeframe
from ktrdr.market.timestamps import check_timezone

PRICE_SIDES: tuple[PriceSide, ...] = get_args(PriceSide)


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What is said about a file; None where the import has to find out or use a default.

    Attributes:
        symbol: The instrument.
        timeframe: Bar length.
        timezone: Zone of times that name none.
        calendar: Sessions, resolved.
        price_side: Which price the bars are made of.
        adjust: Multiply prices by adj_close / close.
        asset_class: Sets the default costs.
        source: Where the bars come from; the file's name when None.
        adjustment: What the publisher did to the prices.
        tick: Smallest price step.
        licence: Licence of the bars.
        notice: What must be said with them.
    """

    symbol: str
    timeframe: Timeframe
    timezone: str | None = None
    calendar: str | None = None
    price_side: PriceSide | None = None
    adjust: bool = False
    asset_class: AssetClass | None = None
    source: str | None = None
    adjustment: str | None = None
    tick: float | None = None
    licence: str | None = None
    notice: str | None = None


def parse_request(
    *,
    symbol: str,
    timeframe: str,
    timezone: str | None,
    calendar: str | None,
    price_side: str | None,
    adjust: bool,
) -> ImportRequest:
    """Check the options of an import; a lower-case symbol becomes upper case.

    Raises:
        InvalidInput: One of them is not what it should be.
    """
    side = None if price_side is None else price_side.lower()
    if side is not None and side not in PRICE_SIDES:
        raise InvalidInput(f"need a price side out of {', '.join(PRICE_SIDES)}, was {price_side!r}")
    return ImportRequest(
        symbol=check_symbol(symbol.upper()),
        timeframe=Timeframe.parse(timeframe),
        timezone=None if timezone is None else check_timezone(timezone),
        calendar=None if calendar is None else resolve_calendar(calendar),
        price_side=next((known for known in PRICE_SIDES if known == side), None),
        adjust=adjust,
    )
