"""What the caller of an import says about the file, checked."""

from dataclasses import dataclass
from typing import get_args

from ktrdr.errors import InvalidInput
from ktrdr.market.calendar import resolve_calendar
from ktrdr.market.costs import AssetClass
from ktrdr.market.layouts import GENERIC, Layout, find_layout
from ktrdr.market.series import PriceSide, normal_symbol
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
        layout: How a text file is laid out.
        replace: Take the file's bars where they differ from stored ones, and drop stored ones that it has not.
        accept_findings: Use the bars whatever the quality report finds.
        alias_of: Stored instrument that this one is another name of: it is sealed from the same date.
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
    layout: Layout = GENERIC
    replace: bool = False
    accept_findings: bool = False
    alias_of: str | None = None
    asset_class: AssetClass | None = None
    source: str | None = None
    adjustment: str | None = None
    tick: float | None = None
    licence: str | None = None
    notice: str | None = None


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What the sender says about a file, unchecked; None is inferred, and said. Attributes as of `ImportRequest`."""

    symbol: str
    timeframe: str
    timezone: str | None = None
    calendar: str | None = None
    price_side: str | None = None
    format: str | None = None
    adjust: bool = False
    replace: bool = False
    accept_findings: bool = False
    alias_of: str | None = None


def parse_request(options: ImportOptions) -> ImportRequest:
    """Check the options of an import; the symbol takes its normal form.

    Raises:
        InvalidInput: One of them is not what it should be.
    """
    side = None if options.price_side is None else options.price_side.lower()
    if side is not None and side not in PRICE_SIDES:
        raise InvalidInput(f"need a price side out of {', '.join(PRICE_SIDES)}, was {options.price_side!r}")
    return ImportRequest(
        symbol=normal_symbol(options.symbol),
        timeframe=Timeframe.parse(options.timeframe),
        timezone=None if options.timezone is None else check_timezone(options.timezone),
        calendar=None if options.calendar is None else resolve_calendar(options.calendar),
        price_side=next((known for known in PRICE_SIDES if known == side), None),
        adjust=options.adjust,
        layout=GENERIC if options.format is None else find_layout(options.format),
        replace=options.replace,
        accept_findings=options.accept_findings,
        alias_of=None if options.alias_of is None else normal_symbol(options.alias_of),
    )
