"""Turn an equity curve that is marked at every bar into net returns per session day."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

MILLISECONDS_PER_YEAR = 365.25 * 86_400_000  # the Julian year, for every annual figure and rate


@dataclass(frozen=True, slots=True)
class DailyReturns:
    """Net returns per session day, oldest first; both arrays have one entry per day.

    `session_day`: int32, days since 1970-01-01. `net_return`: float64 fractions of the equity at the end of
    the day before (the first day: of the initial equity).
    """

    session_day: NDArray[np.int32]
    net_return: FloatArray

    def __len__(self) -> int:
        return len(self.session_day)


def calendar_years(first_open: int, last_known_at: int) -> float:
    """Return the years between two instants in epoch milliseconds.

    Raises:
        ValueError: The second instant does not follow the first.
    """
    if last_known_at <= first_open:
        raise ValueError(f"need a window that ends after it begins, was {first_open=}, {last_known_at=}")
    return (last_known_at - first_open) / MILLISECONDS_PER_YEAR


def daily_returns(equity: FloatArray, session_day: NDArray[np.int32], *, initial_equity: float) -> DailyReturns:
    """Return the net return of every session day that has a bar; days without one do not exist.

    Args:
        equity: (n_bars,) equity at each bar's close, in the account's currency.
        session_day: (n_bars,) session day of each bar, never decreasing.
        initial_equity: Equity before the first bar; > 0.

    Returns:
        One return per session day, from that day's last mark and the previous day's. The day on which equity
        falls to zero or below returns -1 or less; the days after such a ruin return 0.0: nothing is held.

    Raises:
        ValueError: No bars, unequal lengths, a day that decreases, a non-finite equity, `initial_equity` <= 0.
    """
    if len(equity) == 0 or len(equity) != len(session_day):
        raise ValueError(f"need one session day per equity, was {len(session_day)} for {len(equity)}")
    if not np.isfinite(equity).all() or not initial_equity > 0:
        raise ValueError(f"need finite equity that starts above 0, was {initial_equity=}")
    if (np.diff(session_day) < 0).any():
        raise ValueError("need session days in order, found one that decreases")
    last_of_day = ends_of_days(session_day)
    net_return = returns_of_closes(equity[last_of_day], initial_equity=initial_equity)
    return DailyReturns(session_day=session_day[last_of_day].astype(np.int32), net_return=net_return)


def ends_of_days(session_day: NDArray[np.int32]) -> NDArray[np.intp]:
    """Return (n_days,) the place of the last bar of every session day; at least one bar, days in order."""
    return np.append(np.flatnonzero(np.diff(session_day)), len(session_day) - 1)


def returns_of_closes(at_close: FloatArray, *, initial_equity: float) -> FloatArray:
    """Return (n_days,) the net returns of days that end with these equities; as `daily_returns`, unchecked."""
    before = np.concatenate(([initial_equity], at_close[:-1]))
    solvent = before > 0
    net_return = np.zeros(len(at_close))
    net_return[solvent] = at_close[solvent] / before[solvent] - 1.0
    return net_return
