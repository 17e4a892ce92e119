"""Well-known layouts of text files, by the program or site that writes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ktrdr.errors import InvalidInput

PRICE_COLUMNS = ("open", "high", "low", "close")
TIMESTAMP_NAMES = ("timestamp", "datetime", "date", "time")
SYMBOL_NAMES = ("symbol", "ticker")
USED_NAMES = (*TIMESTAMP_NAMES, *PRICE_COLUMNS, "volume", "half_spread_bps", "spread_close", "adj_close")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a kind of file is laid out.

    Attributes:
        name: What `--format` takes.
        what: Where such files come from.
        headerless: Column names of a file without a header line; empty where there is always one.
        renamed: Its names, as `column_key` makes them, and ours.
        required: Names without which a file is not of this layout.
        zone: Zone of its times where the layout fixes it.
        empty_word: A word that stands for an empty cell.
    """

    name: str
    what: str
    headerless: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    zone: str | None = None
    empty_word: str | None = None


GENERIC = Layout("generic", "a header with a timestamp, open, high, low, close and, where there is one, volume")
LAYOUTS = {
    layout.name: layout
    for layout in (
        GENERIC,
        Layout(
            "metatrader",
            "MetaTrader 4 and 5 exports; their clock is the broker's, so --timezone must name it",
            headerless=("date", "time", "open", "high", "low", "close", "volume"),
            renamed={"tickvol": "volume", "vol": "real_volume"},
        ),
        Layout(
            "dukascopy",
            "Dukascopy's historical data export, times in GMT",
            renamed={"gmt_time": "timestamp"},
            required=("gmt_time",),
            zone="UTC",
        ),
        Layout(
            "yahoo",
            "Yahoo Finance's download of daily bars",
            required=("date", "adj_close"),
            empty_word="null",
        ),
        Layout(
            "binance",
            "Binance's klines: twelve columns, epoch times, no header until 2025",
            headerless=(
                "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count",
                "taker_buy_volume", "taker_buy_quote_volume", "ignore",
            ),
            renamed={"open_time": "timestamp"},
            required=("open_time", "close_time"),
            zone="UTC",
        ),
    )
}  # fmt: skip


def find_layout(name: str) -> Layout:
    """Return the layout of this name.

    Raises:
        InvalidInput: There is none.
    """
    layout = LAYOUTS.get(name.lower())
    if layout is None:
        raise InvalidInput(f"need a format out of {', '.join(LAYOUTS)}, was {name!r}")
    return layout


def column_key(name: str) -> str:
    """Return a column's name in the form in which names are compared: `<Adj Close>` is `adj_close`."""
    return name.strip().strip("<>").strip().lower().replace(" ", "_")
