"""Bars in memory: read-only columns of one series."""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from ktrdr.market.calendar import NEW_YORK, wall_clock
from ktrdr.market.timeframe import DAY_MS, HOUR_MS, Timeframe

FloatArray = NDArray[np.float64]
RowSlice = slice  # inside the class below, `slice` is its method


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Complete bars of one series, oldest first; every array has n_bars entries and is read-only.

    Attributes:
        symbol: The instrument.
        timeframe: Nominal bar length.
        snapshot: Hash that names the immutable version these bars come from; a slice keeps it.
        timestamp: int64, bar open, epoch milliseconds UTC; a daily bar carries its session date at 00:00 UTC.
        known_at: int64, when the bar is complete, epoch milliseconds UTC.
        session_day: int32, date of the session the bar belongs to, days since 1970-01-01.
        open: float64, above zero, as are high, low and close.
        high: At least open, close and low.
        low: At most open, close and high.
        close: Last price of the bar.
        volume: float64, at least zero; all NaN when the source has none.
        half_spread_bps: float64 at the bar's close, in basis points of the mid price; None when the source has none.
        calendar: Whose sessions the bars follow; it is known of the series and no part of the snapshot's content.
    """

    symbol: str
    timeframe: Timeframe
    snapshot: str
    timestamp: NDArray[np.int64]
    known_at: NDArray[np.int64]
    session_day: NDArray[np.int32]
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    half_spread_bps: FloatArray | None = None
    calendar: str = "24x7"

    def __post_init__(self) -> None:
        n_bars = len(self.timestamp)
        for field in fields(self):
            array = getattr(self, field.name)
            if not isinstance(array, np.ndarray):
                continue
            if array.shape != (n_bars,):
                raise ValueError(f"need {field.name} of shape {(n_bars,)}, was {array.shape}")
            view = array.view()  # the caller's own array stays as it is
            view.flags.writeable = False
            object.__setattr__(self, field.name, view)

    def __len__(self) -> int:
        return len(self.timestamp)

    def prices(self) -> dict[str, FloatArray]:
        """Return open, high, low, close and volume by name."""
        return {
            "open": self.open,
            "high": self.high,
            "low": self.low,
            "close": self.close,
            "volume": self.volume,
        }

    def indicator_inputs(self) -> dict[str, FloatArray]:
        """Return the prices and the columns of the clock: what indicators take."""
        return {**self.prices(), **self.clock()}

    def clock(self) -> dict[str, FloatArray]:
        """Return when bars are complete, as numbers.

        `hour` is that of New York, with fractions, when the bar is complete; `weekday` (0 Monday) and `monthday` are
        those of its session.
        """
        session = self.session_day.astype("datetime64[D]")
        return {
            "hour": wall_clock(self.known_at, NEW_YORK) % DAY_MS / HOUR_MS,
            "weekday": (self.session_day.astype(np.float64) + 3.0) % 7.0,
            "monthday": (session - session.astype("datetime64[M]")).astype(np.float64) + 1.0,
        }

    def slice(self, start: int, stop: int) -> "Bars":
        """Return bars start..stop-1 as views, without a copy."""
        return self._rows(slice(start, stop))

    def take(self, rows: NDArray[np.int64]) -> "Bars":
        """Return a copy of these bars, in this order."""
        return self._rows(rows)

    def _rows(self, rows: "RowSlice | NDArray[np.int64]") -> "Bars":
        columns = {
            field.name: getattr(self, field.name)[rows]
            for field in fields(self)
            if isinstance(getattr(self, field.name), np.ndarray)
        }
        return replace(self, **columns)
