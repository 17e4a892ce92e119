"""Timestamps of a source file, read with certainty or refused."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from ktrdr.errors import InvalidInput
from ktrdr.market.calendar import FX_ROLL_HOUR, NEW_YORK, IntArray, instants_of, wall_clock
from ktrdr.market.table import SourceTable
from ktrdr.market.timeframe import DAY_MS, HOUR_MS, Timeframe
from ktrdr.market.written import read_written


@dataclass(frozen=True, slots=True, eq=False)
class SourceClock:
    """Bar labels as epoch milliseconds UTC, and how they were read.

    Daily labels are session dates at 00:00 UTC.
    """

    label: IntArray
    description: str


def check_timezone(name: str) -> str:
    """Return the IANA time zone's name.

    Raises:
        InvalidInput: There is no such zone; `EST` and "broker time" are none.
    """
    try:
        pl.Series([0], dtype=pl.Datetime("ms")).dt.replace_time_zone(name)
    except pl.exceptions.PolarsError:
        raise InvalidInput(f"need an IANA time zone such as UTC or Europe/Athens, was {name!r}") from None
    return name


def read_clock(table: SourceTable, timeframe: Timeframe, timezone: str | None) -> SourceClock:
    """Read the timestamp column.

    Args:
        table: The source.
        timeframe: Daily labels are read as session dates.
        timezone: Zone of a file whose times name none.

    Raises:
        ImportRefused: A timestamp cannot be read, or could mean more than one instant.
    """
    written = read_written(table, timeframe)
    if timeframe.is_daily and _is_midnight(written.wall):
        return SourceClock(written.wall, "session dates")
    if written.instant is not None:
        label, description = written.instant, written.zone
        if timezone is not None and not timeframe.is_daily:
            table.notices.append(f"timestamps say their own zone ({written.zone}): --timezone {timezone} not used")
    elif (timezone := timezone or table.layout.zone) is None:
        raise table.refusal(
            "times without a zone could mean several instants: say which with --timezone, such as --timezone UTC", 0
        )
    else:
        label, exists_once = instants_of(written.wall, timezone)
        if not exists_once.all():
            row = int(np.argmin(exists_once))
            raise table.refusal(f"a clock in {timezone} shows this time twice or never", row)
        description = f"{timezone}, as given"
    if not timeframe.is_daily:
        return SourceClock(label, description)
    return _read_session_dates(table, label, timezone)


def _read_session_dates(table: SourceTable, label: IntArray, timezone: str | None) -> SourceClock:
    """Turn daily labels that are instants into session dates: midnight somewhere, or the FX day's 17:00."""
    zone = timezone or "UTC"
    if _is_midnight(wall := wall_clock(label, zone)):
        return SourceClock(wall, f"session dates, midnight in {zone}")
    rolled = wall_clock(label, NEW_YORK) + (24 - FX_ROLL_HOUR) * HOUR_MS
    if _is_midnight(rolled):
        table.notices.append("daily labels at 17:00 New York: read as the session of the next date")
        return SourceClock(rolled, "session opens, 17:00 New York")
    row = int(np.flatnonzero(wall % DAY_MS)[0])
    raise table.refusal(
        "need daily bars labelled with the session's date or its midnight: name the zone with --timezone", row
    )


def _is_midnight(wall: IntArray) -> bool:
    return not np.any(wall % DAY_MS)
