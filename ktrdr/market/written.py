"""Timestamps as a file writes them: one form for the whole column, recognised with certainty or refused."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from ktrdr.market.calendar import IntArray
from ktrdr.market.table import SourceTable
from ktrdr.market.timeframe import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe

TIME = r"(?:[ T]\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)?"
# An offset follows a time of day: the year of 01-02-2021 is none.
OFFSET = r"(:\d{2}(?:\.\d{1,9})?)(?:\s*(?:GMT|UTC)?(Z|[+-]\d{2}:?\d{2})|\s+(GMT|UTC))$"
WIDEST_OFFSET_MS = 14 * HOUR_MS
YEAR_FIRST = rf"^\d{{4}}([-./])\d{{1,2}}[-./]\d{{1,2}}{TIME}$"
YEAR_LAST = rf"^(\d{{1,2}})[-./](\d{{1,2}})[-./]\d{{4}}{TIME}$"
COMPACT = r"^(?:19|20)\d{6}(?: \d{6})?$"
FORMATS = "YYYY-MM-DD, or YYYY-MM-DD HH:MM:SS with an offset such as Z or +02:00"
# How a column of whole numbers counts time, by its digits: in no two units do they mean days between 1973 and 2286.
EPOCHS = (
    (10**8, 10**10, 1000.0, "seconds"),
    (10**11, 10**13, 1.0, "milliseconds"),
    (10**14, 10**16, 1e-3, "microseconds"),
    (10**17, 10**19, 1e-6, "nanoseconds"),
)
EXCEL_DAYS = (20_000, 80_000)  # 1954 to 2119
EXCEL_EPOCH_DAYS = 25_569  # Excel's number of 1970-01-01
QUICK_FORMATS = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%SZ", "%Y-%m-%d %H:%M:%S+00:00", "%Y-%m-%dT%H:%M:%S+00:00")


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """Timestamps as written: wall clock in milliseconds, and the instant where the file itself fixes it."""

    wall: IntArray
    instant: IntArray | None
    zone: str


def read_written(table: SourceTable, timeframe: Timeframe) -> Written:
    """Read the timestamp column, whatever its type.

    Raises:
        ImportRefused: A cell is empty, differs in its form from the others, or could mean two days.
    """
    column = table.frame[table.timestamp_name]
    if column.null_count():
        raise table.refusal("need a timestamp, was empty", int(column.is_null().arg_true()[0]))
    dtype = column.dtype
    if dtype == pl.String:
        return _read_text(table, column, timeframe)
    if dtype == pl.Date:
        _refuse_dates(table, timeframe)
        return Written(column.cast(pl.Datetime("ms")).to_physical().to_numpy(), None, "dates")
    if isinstance(dtype, pl.Datetime):
        _check_whole_milliseconds(table, column)
        exact = column.dt.cast_time_unit("ms")
        if dtype.time_zone is None:
            return Written(exact.to_physical().to_numpy(), None, "no zone")
        wall = exact.dt.replace_time_zone(None).to_physical().to_numpy()
        instant = exact.dt.convert_time_zone("UTC").to_physical().to_numpy()
        return Written(wall, instant, dtype.time_zone)
    if dtype.is_numeric():
        return _read_numbers(table, column.cast(pl.Float64), column)
    raise table.refusal(f"need timestamps written as {FORMATS}, or a Parquet date or datetime, were {dtype}", 0)


def _read_text(table: SourceTable, column: pl.Series, timeframe: Timeframe) -> Written:
    for quick in QUICK_FORMATS:  # five million rows of the usual form in a second
        if column[0][-1:] != quick[-1:]:
            continue
        parsed = _parse(column, quick)
        if not parsed.null_count():
            _check_whole_milliseconds(table, parsed)
            instant: IntArray = parsed.dt.cast_time_unit("ms").to_physical().to_numpy()
            return Written(instant, instant, "offsets Z" if quick.endswith("Z") else "offsets +00:00")
    text = column.str.strip_chars()
    numbers = text.cast(pl.Float64, strict=False)
    if not numbers.null_count() and not text.str.contains(COMPACT).all():
        return _read_numbers(table, numbers, text)
    offset = text.str.extract(OFFSET, 2).fill_null(text.str.extract(OFFSET, 3))
    local = text.str.replace(OFFSET, "$1")
    if not local.str.contains(":", literal=True).any() and not local.str.contains(COMPACT).any():
        _refuse_dates(table, timeframe)
    wall = _read_wall(table, local)
    without = offset.is_null()
    if without.all():
        return Written(wall, None, "no zone")
    if without.any():
        raise table.refusal("some timestamps have an offset and this one has none", int(without.arg_true()[0]))
    return _apply_offsets(table, wall, offset)


def _refuse_dates(table: SourceTable, timeframe: Timeframe) -> None:
    if not timeframe.is_daily:
        raise table.refusal(f"dates without a time cannot be {timeframe} bars", 0)


def _apply_offsets(table: SourceTable, wall: IntArray, offset: pl.Series) -> Written:
    digits = offset.replace(["Z", "GMT", "UTC"], "+0000").str.replace(":", "")
    sign = np.where((digits.str.slice(0, 1) == "-").to_numpy(), -1, 1)
    hours = digits.str.slice(1, 2).cast(pl.Int64).to_numpy()
    minutes = digits.str.slice(3, 2).cast(pl.Int64).to_numpy()
    offset_ms = sign * (hours * HOUR_MS + minutes * MINUTE_MS)
    odd = np.flatnonzero((np.abs(offset_ms) > WIDEST_OFFSET_MS) | (minutes > 59))
    if len(odd):
        raise table.refusal(f"no zone is {offset[int(odd[0])]!r} from UTC", int(odd[0]))
    instant = wall - offset_ms
    zones = sorted(set(offset.unique().to_list()))
    return Written(wall, instant, f"offsets {', '.join(zones)}")


def _read_wall(table: SourceTable, text: pl.Series) -> IntArray:
    """Read dates with or without a time of day, the order of day and month decided by the column."""
    if text.str.contains(COMPACT).all():
        return _finish(table, text.str.replace(" ", "").str.pad_end(14, "0"), "%Y%m%d%H%M%S")
    year_first, year_last = text.str.contains(YEAR_FIRST), text.str.contains(YEAR_LAST)
    if year_last.all():
        form = "%d/%m/%Y" if _is_day_first(table, text) else "%m/%d/%Y"
    elif year_first.all():
        form = "%Y/%m/%d"
    else:
        is_year_last = bool(year_last[0])
        odd = ~(year_last if is_year_last else year_first)
        form_words = "the first, day, month and year" if is_year_last else FORMATS
        raise table.refusal(f"need every timestamp written as {form_words}", int(odd.arg_true()[0]))
    date = text.str.extract(r"^([\d./-]+)", 1).str.replace_all("[-.]", "/")
    time = text.str.extract(r"[ T](\d{1,2}:\d{2}.*)$", 1).fill_null("00:00")
    time = (time + ":00").zip_with(time.str.count_matches(":", literal=True) == 1, time)
    return _finish(table, date + " " + time, f"{form} %H:%M:%S%.f")


def _is_day_first(table: SourceTable, text: pl.Series) -> bool:
    """Decide between day/month and month/day by a number above twelve; refuse where none is."""
    first = text.str.extract(YEAR_LAST, 1).cast(pl.Int64).to_numpy()
    second = text.str.extract(YEAR_LAST, 2).cast(pl.Int64).to_numpy()
    if (first > 12).any() and (second > 12).any():
        row = int(max(np.argmax(first > 12), np.argmax(second > 12)))
        raise table.refusal("day and month change places here: some dates are day first, others month first", row)
    if not (first > 12).any() and not (second > 12).any():
        raise table.refusal(
            "day and month cannot be told apart: no number above 12 is in either place; write dates as YYYY-MM-DD", 0
        )
    is_day_first = bool((first > 12).any())
    table.notices.append(f"dates are {'day' if is_day_first else 'month'} first, as numbers above 12 show")
    return is_day_first


def _parse(text: pl.Series, form: str) -> pl.Series:
    return text.str.to_datetime(form, time_unit="ns", strict=False)


def _finish(table: SourceTable, text: pl.Series, form: str) -> IntArray:
    wall = _parse(text, form)
    if wall.null_count():
        raise table.refusal("there is no such date or time", int(wall.is_null().arg_true()[0]))
    _check_whole_milliseconds(table, wall)
    return wall.dt.cast_time_unit("ms").to_physical().to_numpy()


def _read_numbers(table: SourceTable, numbers: pl.Series, written: pl.Series) -> Written:
    """Read epoch times and Excel's serial days."""
    values = numbers.to_numpy()
    whole = written.cast(pl.Int64, strict=False)
    if np.isfinite(values).all() and ((values >= EXCEL_DAYS[0]) & (values < EXCEL_DAYS[1])).all():
        table.notices.append("timestamps are Excel's serial days, counted from 1900: read so, to the second")
        seconds = np.round((values - EXCEL_EPOCH_DAYS) * (DAY_MS / 1000))
        return Written(seconds.astype(np.int64) * 1000, None, "Excel serial days")
    for least, beyond, to_ms, unit in EPOCHS:
        if np.isfinite(values).all() and ((values >= least) & (values < beyond)).all():
            if whole.null_count():
                row = int(whole.is_null().arg_true()[0])
                raise table.refusal(f"need a whole number of {unit} since 1970", row)
            table.notices.append(f"timestamps are {unit} since 1970, UTC: read so")
            exact = _scale(table, whole.to_numpy(), to_ms)
            return Written(exact, exact, f"epoch {unit}")
    row = _first_stranger(values)
    raise table.refusal(
        f"need every timestamp written as {FORMATS}, or as one kind of epoch time, was {written[row]!r}", row
    )


def _scale(table: SourceTable, whole: IntArray, to_ms: float) -> IntArray:
    if to_ms >= 1:
        return whole * int(to_ms)
    per_ms = round(1 / to_ms)
    broken = np.flatnonzero(whole % per_ms)
    if len(broken):
        raise table.refusal("a bar opens at a whole millisecond", int(broken[0]))
    return whole // per_ms


def _first_stranger(values: np.ndarray) -> int:
    """Return the first row whose number is of another size than the first one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.floor(np.log10(np.abs(values)))
    strangers = np.flatnonzero(size != size[0])
    return int(strangers[0]) if len(strangers) else 0


def _check_whole_milliseconds(table: SourceTable, column: pl.Series) -> None:
    fraction = (column.dt.nanosecond() % 1_000_000 != 0).arg_true()
    if len(fraction):
        raise table.refusal("a bar opens at a whole millisecond", int(fraction[0]))
