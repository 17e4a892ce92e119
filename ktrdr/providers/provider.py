"""What a provider of bars does: one page after the other."""

from dataclasses import dataclass
from typing import Protocol

import polars as pl

from ktrdr.market.timeframe import Timeframe

PAGE_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "timestamp": pl.Datetime("ms", "UTC"),
    "open": pl.Float64,
    "high": pl.Float64,
    "low": pl.Float64,
    "close": pl.Float64,
    "volume": pl.Float64,
}


@dataclass(frozen=True, slots=True)
class BarsWanted:
    """What to load: bars that open from `start_ms` up to before `end_ms`, epoch milliseconds UTC."""

    symbol: str
    timeframe: Timeframe
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """Some of the bars wanted, oldest first, as `PAGE_SCHEMA`; possibly none. The next page begins at `next_ms`."""

    frame: pl.DataFrame
    next_ms: int


@dataclass(frozen=True, slots=True)
class SymbolFacts:
    """What a provider knows of the bars of a symbol without asking: sessions and price side; None where it does not."""

    calendar: str | None
    price_side: str | None


class Provider(Protocol):
    """One source of bars. `source` is what the sidecar of a series says of where its bars come from."""

    source: str

    def facts(self, symbol: str) -> SymbolFacts:
        """Return what is known of a symbol's bars."""
        ...

    def page(self, wanted: BarsWanted, since_ms: int) -> Page:
        """Load the next bars from `since_ms` on.

        Raises:
            OperationFailed: It cannot; reason `rate_limited` and `connection` are worth another try.
            InvalidInput: It has no such symbol or timeframe.
        """
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


def make_frame(rows: list[tuple[float, ...]]) -> pl.DataFrame:
    """Return rows of epoch milliseconds, open, high, low, close, volume as a page's frame."""
    frame = pl.DataFrame(rows, schema={**PAGE_SCHEMA, "timestamp": pl.Int64}, orient="row")
    return frame.cast({"timestamp": PAGE_SCHEMA["timestamp"]})
