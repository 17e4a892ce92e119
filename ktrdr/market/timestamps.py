"""Timestamps of a source file, read with certainty or refused."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from ktrdr.errors import InvalidInput
from ktrdr.market.calendar import FX_ROLL_HOUR, NEW_YORK, IntArray, instants_of, wall_clock
from ktrdr.market.table import SourceTable
from ktrdr.market.timeframe import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe

DATE = r"^\d{4}-\d{2}-\d{2}$"
DATE_TIME = r"^\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2})?$"
OFFSET = r"(Z|[+-]\d{2}:?\d{2})$"
FORMATS = "YYYY-MM-DD, or YYYY-MM-DD HH:MM:SS with an offset such as Z or +02:00"


@dataclass(frozen=True, slots=True, eq=False)
class SourceClock:
    """Bar labels as epoch milliseconds UTC, and how they were read.

    Daily labels are session dates at 00:00 UTC.
    """

    label: IntArray
    description: str


@dataclass(frozen=True, slots=True, eq=False)
class _Written:
    """Timestamps as written: wall clock in milliseconds, and the instant where the file itself fixes it."""

    wall: IntArray
    instant: IntArray | None
    zone: str


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
    written = _read_written(table, timeframe)
    if timeframe.is_daily and _is_midnight(written.wall):
        return SourceClock(written.wall, "session dates")
    if written.instant is not None:
        label, description = written.instant, written.zone
        if timezone is not None and not timeframe.is_daily:
            table.notices.append(f"timestamps say their own zone ({written.zone}): --timezone {timezone} not used")
    elif timezone is None:
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


def _read_written(table: SourceTable, timeframe: Timeframe) -> _Written:
    column = table.frame[table.timestamp_name]
    if column.null_count():
        raise table.refusal("need a timestamp, was empty", int(column.is_null().arg_true()[0]))
    dtype = column.dtype
    if dtype == pl.String:
        return _read_text(table, column.str.strip_chars(), timeframe)
    if dtype == pl.Date:
        if not timeframe.is_daily:
            raise table.refusal(f"dates without a time cannot be {timeframe} bars", 0)
        return _Written(column.cast(pl.Datetime("ms")).to_physical().to_numpy(), None, "dates")
    if isinstance(dtype, pl.Datetime):
        _check_whole_milliseconds(table, column)
        exact = column.dt.cast_time_unit("ms")
        if dtype.time_zone is None:
            return _Written(exact.to_physical().to_numpy(), None, "no zone")
        wall = exact.dt.replace_time_zone(None).to_physical().to_numpy()
        instant = exact.dt.convert_time_zone("UTC").to_physical().to_numpy()
        return _Written(wall, instant, dtype.time_zone)
    raise table.refusal(f"need timestamps written as {FORMATS}, or a Parquet date or datetime, were {dtype}", 0)


def _check_whole_milliseconds(table: SourceTable, column: pl.Series) -> None:
    fraction = (column.dt.nanosecond() % 1_000_000 != 0).arg_true()
    if len(fraction):
        raise table.refusal("a bar opens at a whole millisecond", int(fraction[0]))


def _read_text(table: SourceTable, text: pl.Series, timeframe: Timeframe) -> _Written:
    dates = text.str.contains(DATE)
    if dates.all():
        if not timeframe.is_daily:
            raise table.refusal(f"dates without a time cannot be {timeframe} bars", 0)
        return _Written(_parse_wall(table, text + " 00:00:00"), None, "dates")
    odd = (~(text.str.contains(DATE_TIME))).arg_true()
    if len(odd):
        raise table.refusal(f"need every timestamp written as {FORMATS}", int(odd[0]))
    offset = text.str.extract(OFFSET, 1)
    wall = _parse_wall(table, text.str.replace(OFFSET, "").str.replace("T", " "))
    without = offset.is_null()
    if without.all():
        return _Written(wall, None, "no zone")
    if without.any():
        raise table.refusal("some timestamps have an offset and this one has none", int(without.arg_true()[0]))
    digits = offset.str.replace("Z", "+00:00").str.replace(":", "")
    sign = np.where((digits.str.slice(0, 1) == "-").to_numpy(), -1, 1)
    hours = digits.str.slice(1, 2).cast(pl.Int64).to_numpy()
    minutes = digits.str.slice(3, 2).cast(pl.Int64).to_numpy()
    instant = wall - sign * (hours * HOUR_MS + minutes * MINUTE_MS)
    zones = sorted(set(offset.unique().to_list()))
    return _Written(wall, instant, f"offsets {', '.join(zones)}")


def _parse_wall(table: SourceTable, text: pl.Series) -> IntArray:
    """Read `YYYY-MM-DD HH:MM[:SS[.f]]`, refusing days and hours that do not exist."""
    seconds = (text + ":00").zip_with(text.str.len_chars() == len("YYYY-MM-DD HH:MM"), text)
    wall = seconds.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="ns", strict=False)
    if wall.null_count():
        raise table.refusal("there is no such date or time", int(wall.is_null().arg_true()[0]))
    _check_whole_milliseconds(table, wall)
    return wall.dt.cast_time_unit("ms").to_physical().to_numpy()
