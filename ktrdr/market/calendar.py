"""Trading sessions: when they open and close, which of them a bar belongs to, and when the bar is known."""

import warnings
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ktrdr.errors import InvalidInput
from ktrdr.market.timeframe import DAY_MS, HOUR_MS, Timeframe

IntArray = NDArray[np.int64]
DayArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]

FX = "fx"
ROUND_THE_CLOCK = "24x7"
NEW_YORK = "America/New_York"
FX_ROLL_HOUR = 17  # New York: the FX day, and on Friday the week, ends here
NANOSECONDS_PER_MS = 1_000_000
MARGIN = timedelta(days=21)  # sessions loaded around the bars: each bar has neighbours over any long closure


@dataclass(frozen=True, slots=True, eq=False)
class Sessions:
    """Sessions of one calendar in a range, oldest first; times are epoch milliseconds UTC.

    `break_start` and `break_end` are equal where a session has no break.
    """

    calendar: str
    zone: str
    day: DayArray
    open: IntArray
    close: IntArray
    break_start: IntArray
    break_end: IntArray

    def __post_init__(self) -> None:
        for array in (self.day, self.open, self.close, self.break_start, self.break_end):
            array.flags.writeable = False  # cached: nobody may change what the next caller gets


@dataclass(frozen=True, slots=True)
class BarGrid:
    """The clock marks at which the bars of an intraday series open.

    Marks lie `phase` milliseconds after whole multiples of the timeframe, on the wall clock of `zone`: four-hour
    bars that follow New York keep their phase there and change it in UTC.
    """

    zone: str
    phase: int
    first_off_grid: int | None


@dataclass(frozen=True, slots=True, eq=False)
class BarClock:
    """For each bar: when it is known, the session it belongs to, and whether it lies in that session."""

    known_at: IntArray
    session_day: DayArray
    inside: BoolArray

    def take(self, rows: IntArray) -> "BarClock":
        """Return the clock of these bars."""
        return BarClock(self.known_at[rows], self.session_day[rows], self.inside[rows])


def resolve_calendar(text: str) -> str:
    """Return the calendar that `text` names: `fx`, `24x7`, or an exchange's code.

    Raises:
        InvalidInput: It names none.
    """
    if text.lower() in (FX, ROUND_THE_CLOCK):
        return text.lower()
    import exchange_calendars

    code = text.upper()
    # "24/5" and its kind start at 00:00 UTC and fit no market of ours; `fx` and `24x7` do.
    if "/" in code or code not in exchange_calendars.get_calendar_names(include_aliases=True):
        raise InvalidInput(
            "need a calendar 'fx' (Sunday to Friday 17:00 New York), '24x7' or an exchange code such as XNYS,"
            f" was {text!r}"
        )
    resolved: str = exchange_calendars.resolve_alias(code)
    return resolved


def load_sessions(calendar: str, first_ms: int, last_ms: int) -> Sessions:
    """Return the sessions of a resolved calendar from three weeks before `first_ms` to three weeks after `last_ms`.

    Raises:
        InvalidInput: The exchange's calendar does not reach that far.
    """
    first = datetime.fromtimestamp(first_ms / 1000, UTC).date() - MARGIN
    last = datetime.fromtimestamp(last_ms / 1000, UTC).date() + MARGIN
    if calendar == FX:
        return _fx_sessions(first, last)
    if calendar == ROUND_THE_CLOCK:
        day = _days(first, last)
        start = day.astype(np.int64) * DAY_MS
        return Sessions(calendar, "UTC", day, start, start + DAY_MS, start, start)
    return _exchange_sessions(calendar, first, last)


def find_grid(label: IntArray, timeframe: Timeframe, sessions: Sessions) -> BarGrid:
    """Return the clock marks that fit the bars best: those of UTC, or of the market's own clock.

    A bar that opens with its session may lie off the marks (09:30 before 10:00, 11:00, ...).
    """
    length = timeframe.milliseconds
    # Midnight of a market that never closes opens nothing.
    opens_session = np.isin(label, sessions.open) & (sessions.calendar != ROUND_THE_CLOCK)
    best: tuple[int, BarGrid] | None = None
    for zone in dict.fromkeys(("UTC", sessions.zone)):
        phases = wall_clock(label, zone) % length
        values, counts = np.unique(phases, return_counts=True)
        phase = int(values[np.argmax(counts)])
        off_grid = np.flatnonzero((phases != phase) & ~opens_session)
        grid = BarGrid(zone, phase, int(off_grid[0]) if len(off_grid) else None)
        if best is None or len(off_grid) < best[0]:
            best = (len(off_grid), grid)
    assert best is not None
    return best[1]


def clock_bars(label: IntArray, timeframe: Timeframe, sessions: Sessions, grid: BarGrid | None) -> BarClock:
    """Say for each bar when it is known and to which session it belongs.

    An intraday bar is known at the next clock mark, or at its session's close if that comes first. A daily bar is
    known at its session's close.

    Args:
        label: Bar opens; for daily bars the session dates at 00:00 UTC.
        timeframe: Nominal bar length.
        sessions: Sessions around the bars.
        grid: Clock marks of an intraday series; None for daily bars.
    """
    if grid is None:
        return _clock_daily_bars(label, sessions)
    length = timeframe.milliseconds
    end = label + length - (wall_clock(label, grid.zone) - grid.phase) % length
    # The last session that the bar touches: a bar that spans two belongs to the one in which it ends.
    last = np.searchsorted(sessions.open, end, side="left") - 1
    inside = sessions.close[last] > label
    known_at = np.where(inside, np.minimum(end, sessions.close[last]), end)
    # After hours on a session's own date still count to it; anything else outside counts to the next session.
    same_date = (wall_clock(label, sessions.zone) // DAY_MS == sessions.day[last]) & (sessions.calendar != FX)
    belongs_to = np.where(inside | same_date, last, last + 1)
    return BarClock(known_at, sessions.day[belongs_to], inside)


def expected_slots(
    sessions: Sessions, timeframe: Timeframe, grid: BarGrid | None, *, first_ms: int, end_ms: int
) -> IntArray:
    """Return the slots, ascending, that the calendar expects from the bar opening at `first_ms` to `end_ms`.

    A slot is a bar's number on its grid, as `slots_of` gives it; a day's number for daily bars.
    """
    if grid is None:
        inside = (sessions.day >= first_ms // DAY_MS) & (sessions.day < -(-end_ms // DAY_MS))
        return sessions.day[inside].astype(np.int64)
    length = timeframe.milliseconds
    opens = np.maximum(sessions.open, first_ms)
    closes = np.minimum(sessions.close, end_ms)
    touched = closes > opens
    start = (wall_clock(opens[touched], grid.zone) - grid.phase) // length
    stop = -(-(wall_clock(closes[touched], grid.zone) - grid.phase) // length)
    slots = _ranges(start, stop)
    pause_start = -(-(wall_clock(sessions.break_start[touched], grid.zone) - grid.phase) // length)
    pause_end = (wall_clock(sessions.break_end[touched], grid.zone) - grid.phase) // length
    is_first = np.diff(slots, prepend=np.int64(-1) << 62) > 0  # a bar that two sessions touch is one bar
    pauses = _ranges(pause_start, np.maximum(pause_end, pause_start))
    return np.setdiff1d(slots[is_first], pauses, assume_unique=True) if len(pauses) else slots[is_first]


def slots_of(label: IntArray, timeframe: Timeframe, grid: BarGrid | None) -> IntArray:
    """Return the number of each bar on its grid; that of its day for daily bars."""
    if grid is None:
        return label // DAY_MS
    return (wall_clock(label, grid.zone) - grid.phase) // timeframe.milliseconds


def _ranges(start: IntArray, stop: IntArray) -> IntArray:
    """Return the whole numbers of all ranges, one after the other."""
    lengths = stop - start
    total = int(lengths.sum())
    before = np.repeat(np.cumsum(lengths) - lengths, lengths)
    ranges: IntArray = np.repeat(start, lengths) + np.arange(total, dtype=np.int64) - before
    return ranges


def wall_clock(instant: IntArray, zone: str) -> IntArray:
    """Return what a clock in `zone` shows at each instant, as milliseconds since its 1970-01-01 00:00."""
    if zone == "UTC":
        return instant
    local = _as_datetimes(instant).dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    return local.dt.replace_time_zone(None).to_physical().to_numpy()


def instants_of(wall: IntArray, zone: str) -> tuple[IntArray, BoolArray]:
    """Return the instants at which a clock in `zone` shows `wall`, and which of them exist exactly once.

    Where the clock shows a time twice or never, the instant is 0 and the flag False.
    """
    local = _as_datetimes(wall)
    aware = local.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    instants = aware.dt.convert_time_zone("UTC").to_physical()
    return instants.fill_null(0).to_numpy(), instants.is_not_null().to_numpy()


def _as_datetimes(milliseconds: IntArray) -> pl.Series:
    return pl.Series(milliseconds, dtype=pl.Int64).cast(pl.Datetime("ms"))


def _days(first: date, last: date) -> DayArray:
    epoch = date(1970, 1, 1)
    return np.arange((first - epoch).days, (last - epoch).days + 1, dtype=np.int32)


def _fx_sessions(first: date, last: date) -> Sessions:
    day = _days(first, last)
    day = day[(day + 3) % 7 < 5]  # 1970-01-01 was a Thursday: Monday to Friday
    roll = day.astype(np.int64) * DAY_MS + FX_ROLL_HOUR * HOUR_MS
    opens, _ = instants_of(roll - DAY_MS, NEW_YORK)  # 17:00 exists once on every day
    closes, _ = instants_of(roll, NEW_YORK)
    return Sessions(FX, NEW_YORK, day, opens, closes, opens, opens)


@lru_cache(maxsize=32)  # an import asks for the same range more than once, at a tenth of a second each
def _exchange_sessions(code: str, first: date, last: date) -> Sessions:
    import exchange_calendars

    try:
        with warnings.catch_warnings():
            # exchange_calendars 4.13 under pandas 3.1: "Series.values ... DatetimeTZDtype is deprecated".
            warnings.filterwarnings("ignore", message="Series.values", category=DeprecationWarning)
            calendar = exchange_calendars.get_calendar(code, start=first.isoformat(), end=last.isoformat())
    except ValueError as error:
        raise InvalidInput(f"calendar {code} does not reach from {first} to {last}: {error}") from None
    opens = calendar.opens_nanos // NANOSECONDS_PER_MS
    has_break = calendar.break_starts.notna().to_numpy()
    return Sessions(
        calendar=code,
        zone=str(calendar.tz),
        day=(calendar.sessions_nanos // NANOSECONDS_PER_MS // DAY_MS).astype(np.int32),
        open=opens,
        close=calendar.closes_nanos // NANOSECONDS_PER_MS,
        break_start=np.where(has_break, calendar.break_starts_nanos // NANOSECONDS_PER_MS, opens),
        break_end=np.where(has_break, calendar.break_ends_nanos // NANOSECONDS_PER_MS, opens),
    )


def _clock_daily_bars(label: IntArray, sessions: Sessions) -> BarClock:
    day = (label // DAY_MS).astype(np.int32)
    position = np.minimum(np.searchsorted(sessions.day, day), len(sessions.day) - 1)
    inside = sessions.day[position] == day
    known_at = np.where(inside, sessions.close[position], label + DAY_MS)
    if sessions.calendar == FX:
        # Some sources end the FX day at 17:00 New York, others at midnight UTC: the later is never too early.
        known_at = np.maximum(known_at, label + DAY_MS)
    return BarClock(known_at, day, inside)
