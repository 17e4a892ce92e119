"""A file of bars as columns, each row still knowing where in the file it stands."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ktrdr.errors import ImportRefused
from ktrdr.market.container import NOTHING, Content, read_content
from ktrdr.market.delimited import check_unique, read_delimited
from ktrdr.market.layouts import (
    GENERIC,
    PRICE_COLUMNS,
    SYMBOL_NAMES,
    TIMESTAMP_NAMES,
    USED_NAMES,
    Layout,
    column_key,
)
from ktrdr.market.numbers import Style, find_style, to_point
from ktrdr.market.snapshot import UNREADABLE

SHOWN_COLUMNS = 12


@dataclass(frozen=True, slots=True, eq=False)
class SourceTable:
    """Columns of a file under lower-case names, cells unread, plus what must be said about them.

    `places` holds for each row its line in a text file, or its row in a Parquet file, counted from 1; `place` says
    which of the two. `styles` says how a text column's numbers are written.
    """

    file: str
    frame: pl.DataFrame
    timestamp_name: str
    place: str
    places: Sequence[int] | NDArray[np.int64]
    layout: Layout = GENERIC
    styles: dict[str, Style] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def where(self, row: int) -> str:
        """Return where a row stands: `line 7 (2021-01-04 10:00)`."""
        return f"{self.place} {self.places[row]} ({self.frame[self.timestamp_name][row]})"

    def refusal(self, rule: str, row: int | None = None) -> ImportRefused:
        """Return the error that names the file, the broken rule and, where it has one, the first bad row."""
        if row is None:
            return ImportRefused(f"{self.file}: {rule}. {NOTHING}")
        return ImportRefused(f"{self.file}, {self.where(row)}: {rule}. {NOTHING}")

    def take(self, rows: NDArray[np.int64]) -> "SourceTable":
        """Return the table of these rows, in this order; notices are shared."""
        places = np.asarray(self.places, dtype=np.int64)[rows]
        return replace(self, frame=self.frame[rows], places=places)

    def numbers(self, name: str) -> pl.Series:
        """Return a column as float64, null where the cell is empty.

        Raises:
            ImportRefused: A cell holds something that is not a number.
        """
        column = self.frame[name]
        if column.dtype == pl.String:
            return self._text_numbers(name, column)
        if not column.dtype.is_numeric() and column.dtype != pl.Null:
            raise self.refusal(f"need numbers in column {name}, were {column.dtype}")
        return column.cast(pl.Float64)

    def _text_numbers(self, name: str, column: pl.Series) -> pl.Series:
        numbers = column.cast(pl.Float64, strict=False)
        if numbers.null_count() == column.null_count():
            return numbers
        text = column.str.strip_chars()
        text = text.set(text == "", None)
        style = self.styles.get(name, "point")
        numbers = (text if style == "point" else to_point(text, style)).cast(pl.Float64, strict=False)
        unread = (numbers.is_null() & text.is_not_null()).arg_true()
        if len(unread):
            row = int(unread[0])
            raise self.refusal(f"need a number with a decimal point in {name}, was {column[row]!r}", row)
        return numbers


def read_table(path: Path, layout: Layout) -> SourceTable:
    """Read a text or Parquet file of bars into columns, without interpreting a cell.

    Raises:
        ImportRefused: The file is not a table of bars.
    """
    content = read_content(path)
    if content.kind == "parquet":
        frame = _read_parquet(content)
        return _make_table(content, frame.columns, frame, ("row", range(1, len(frame) + 1)), layout)
    text = read_delimited(content.file, content.data, layout, content.notices)
    return _make_table(content, text.names, text.frame, ("line", text.lines), layout)


def _read_parquet(content: Content) -> pl.DataFrame:
    try:
        return pl.read_parquet(io.BytesIO(content.data))
    except UNREADABLE as error:
        raise ImportRefused(f"{content.file}: damaged or unsupported Parquet: {error}. {NOTHING}") from None


def _make_table(
    content: Content,
    names: list[str],
    frame: pl.DataFrame,
    places: tuple[str, Sequence[int] | NDArray[np.int64]],
    layout: Layout,
) -> SourceTable:
    file = content.file
    check_unique(file, names)
    keys = [column_key(name) for name in names]
    found = ", ".join(repr(key) for key in keys[:SHOWN_COLUMNS])
    absent = [name for name in layout.required if name not in keys]
    if absent:
        raise ImportRefused(
            f"{file}: is not a {layout.name} file: no column {', '.join(absent)}; the columns are {found}. {NOTHING}"
        )
    frame.columns = [layout.renamed.get(key, key) or f"column_{i + 1}" for i, key in enumerate(keys)]
    check_unique(file, frame.columns)
    if layout.empty_word is not None:
        frame = frame.with_columns(pl.col(pl.String).replace(layout.empty_word, None))
    frame, clock = _find_clock(file, frame, found, content.notices)
    missing = [name for name in PRICE_COLUMNS if name not in frame.columns]
    if missing:
        raise ImportRefused(f"{file}: no column {', '.join(missing)}; the columns are {found}. {NOTHING}")
    if frame.is_empty():
        raise ImportRefused(f"{file}: has a header and no bars. {NOTHING}")
    _check_one_symbol(file, frame)
    ignored = [name for name in frame.columns if name not in (*USED_NAMES, *SYMBOL_NAMES)]
    if ignored:
        content.notices.append(f"columns not used: {', '.join(ignored)}")
    table = SourceTable(file, frame, clock, *places, layout, _find_styles(frame, content.notices), content.notices)
    return _drop_empty_bars(table)


def _find_clock(file: str, frame: pl.DataFrame, found: str, notices: list[str]) -> tuple[pl.DataFrame, str]:
    clocks = [name for name in TIMESTAMP_NAMES if name in frame.columns]
    if clocks == ["date", "time"] and {frame["date"].dtype, frame["time"].dtype} == {pl.String}:
        joined = pl.concat_str([pl.col("date").str.strip_chars(), pl.col("time").str.strip_chars()], separator=" ")
        notices.append("columns date and time are read together")
        return frame.with_columns(joined.alias("date")).drop("time"), "date"
    if len(clocks) != 1:
        what = "no timestamp column" if not clocks else "more than one timestamp column"
        raise ImportRefused(
            f"{file}: {what}; need exactly one of {', '.join(TIMESTAMP_NAMES)} in a header (or date and time), or a"
            f" layout named with --format; the columns are {found}. {NOTHING}"
        )
    return frame, clocks[0]


def _find_styles(frame: pl.DataFrame, notices: list[str]) -> dict[str, Style]:
    """Return the columns whose numbers are not written with a plain decimal point."""
    names = [name for name in (*PRICE_COLUMNS, "adj_close") if name in frame.columns]
    text = [frame[name] for name in names if frame[name].dtype == pl.String]
    style = find_style(text) if text else "point"
    styles = dict.fromkeys(names, style)
    if "volume" in frame.columns and frame["volume"].dtype == pl.String:
        styles["volume"] = "comma" if style == "comma" else find_style([frame["volume"]])
    if style == "comma":
        notices.append("numbers have a decimal comma, in every cell where one shows: read so")
    elif "grouped" in styles.values():
        notices.append("numbers have commas between thousands: read without them")
    return {name: found for name, found in styles.items() if found != "point"}


def _drop_empty_bars(table: SourceTable) -> SourceTable:
    """Leave out rows that have a time and no price at all: days on which a site had nothing."""
    if table.layout.empty_word is None:
        return table
    empty = np.logical_and.reduce([table.frame[name].is_null().to_numpy() for name in PRICE_COLUMNS])
    if not empty.any() or empty.all():
        return table
    table.notices.append(
        f"rows without any price, left out: {int(empty.sum())}, {table.where(int(np.argmax(empty)))} first"
    )
    return table.take(np.flatnonzero(~empty))


def _check_one_symbol(file: str, frame: pl.DataFrame) -> None:
    for name in SYMBOL_NAMES:
        if name in frame.columns and frame[name].n_unique() > 1:
            held = ", ".join(repr(value) for value in frame[name].unique(maintain_order=True)[:5].to_list())
            raise ImportRefused(f"{file}: holds several instruments ({held}): split it. {NOTHING}")
