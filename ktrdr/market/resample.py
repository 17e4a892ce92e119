"""Bars of a higher timeframe made from those of a lower one, and when each of them is known.

A higher bar never crosses a session's close. A daily one is a whole session, after-hours bars count to the next; an
intraday one begins at the session's open, or whole multiples of its length after it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ktrdr.market.bars import Bars, FloatArray
from ktrdr.market.calendar import load_sessions
from ktrdr.market.timeframe import Timeframe


@dataclass(frozen=True, slots=True, eq=False)
class HigherBars:
    """Complete bars of a higher timeframe, oldest first; the first one may lack bars before the series began.

    Attributes:
        prices: open, high, low, close, volume and the columns of the clock, each float64 (n_higher,), as
            `Bars.indicator_inputs` has them; the clock is that of the last bar within.
        known_row: int64 (n_higher,), never decreasing: the first bar of the series at whose close a higher bar is
            known. That is the bar that ends with it or, where that one is missing, the next one.
    """

    prices: dict[str, FloatArray]
    known_row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.known_row)

    def at_each_bar(self, values: FloatArray, n_bars: int) -> FloatArray:
        """Return for each of the series' bars the value (n_higher,) of the last higher bar known; NaN before."""
        latest = np.searchsorted(self.known_row, np.arange(n_bars), side="right")
        joined: FloatArray = np.append(np.nan, values)[latest]
        return joined


def resample(bars: Bars, timeframe: Timeframe) -> HigherBars:
    """Return the complete bars of a higher timeframe; cutting the series at any bar changes none known by then.

    Raises:
        InvalidInput: The exchange's calendar does not reach over the series.
    """
    group, ends = _groups(bars, timeframe)
    is_complete = bars.known_at >= ends
    # What follows a complete bar is never part of it, however the source's clock fits the calendar.
    begins = np.append(True, (np.diff(group, axis=1) != 0).any(axis=0) | is_complete[:-1])
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(bars)) - 1
    known_row = np.where(is_complete[last], last, last + 1)
    n_known = int(np.searchsorted(known_row, len(bars)))
    clock = {name: column[last] for name, column in bars.clock().items()}
    prices = {
        "open": bars.open[first],
        "high": np.maximum.reduceat(bars.high, first),
        "low": np.minimum.reduceat(bars.low, first),
        "close": bars.close[last],
        "volume": np.add.reduceat(bars.volume, first),
        **clock,
    }
    return HigherBars({name: column[:n_known] for name, column in prices.items()}, known_row[:n_known])


def _groups(bars: Bars, timeframe: Timeframe) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return what tells each bar's higher bar from its neighbours (2, n_bars), and when that one ends."""
    sessions = load_sessions(bars.calendar, int(bars.timestamp[0]), int(bars.known_at[-1]))
    session = np.searchsorted(sessions.close, bars.known_at)
    closes = sessions.close[session]
    if timeframe.is_daily:
        return np.stack([session, session]), closes
    opens = sessions.open[session]
    number = (bars.timestamp - opens) // timeframe.milliseconds
    return np.stack([session, number]), np.minimum(opens + (number + 1) * timeframe.milliseconds, closes)
