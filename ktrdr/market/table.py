"""A file of bars as columns, each row still knowing where in the file it stands."""

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ktrdr.errors import ImportRefused
from ktrdr.market.snapshot import UNREADABLE

PRICE_COLUMNS = ("open", "high", "low", "close")
TIMESTAMP_NAMES = ("timestamp", "datetime", "date", "time")
SYMBOL_NAMES = ("symbol", "ticker")
USED_NAMES = (*TIMESTAMP_NAMES, *PRICE_COLUMNS, "volume", "half_spread_bps", "spread_close", "adj_close")
PARQUET_MAGIC = b"PAR1"


@dataclass(frozen=True, slots=True, eq=False)
class SourceTable:
    """Columns of a file under lower-case names, cells unread, plus what must be said about them.

    `lines` holds the physical line of each row of a text file, None for a Parquet file.
    """

    file: str
    frame: pl.DataFrame
    timestamp_name: str
    lines: NDArray[np.int64] | None
    notices: list[str] = field(default_factory=list)

    def refusal(self, rule: str, row: int | None = None) -> ImportRefused:
        """Return the error that names the file, the broken rule and, where it has one, the first bad row."""
        if row is None:
            return ImportRefused(f"{self.file}: {rule}. Nothing was imported.")
        place = f"row {row + 1}" if self.lines is None else f"line {self.lines[row]}"
        time = self.frame[self.timestamp_name][row]
        return ImportRefused(f"{self.file}, {place} ({time}): {rule}. Nothing was imported.")

    def numbers(self, name: str) -> pl.Series:
        """Return a column as float64, null where the cell is empty.

        Raises:
            ImportRefused: A cell holds something that is not a number.
        """
        column = self.frame[name]
        if column.dtype == pl.String:
            text = column.str.strip_chars()
            text = text.set(text == "", None)
            numbers = text.cast(pl.Float64, strict=False)
            unread = (numbers.is_null() & text.is_not_null()).arg_true()
            if len(unread):
                row = int(unread[0])
                raise self.refusal(f"need a number with a decimal point in {name}, was {column[row]!r}", row)
            return numbers
        if not column.dtype.is_numeric() and column.dtype != pl.Null:
            raise self.refusal(f"need numbers in column {name}, were {column.dtype}")
        return column.cast(pl.Float64)


def read_table(path: Path) -> SourceTable:
    """Read a CSV or Parquet file of bars into columns, without interpreting a cell.

    Raises:
        ImportRefused: The file is not a table of bars.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImportRefused(f"{path}: cannot be read: {error.strerror}. Nothing was imported.") from None
    suffix = path.suffix.lower()
    if suffix not in (".parquet", ".csv"):
        raise ImportRefused(f"{path.name}: need a .csv or .parquet file, was {suffix!r}. Nothing was imported.")
    if not data.strip():
        raise ImportRefused(f"{path.name}: the file is empty. Nothing was imported.")
    if suffix == ".parquet":
        return _name_columns(path.name, _read_parquet(path.name, data), None)
    frame, lines = _read_csv(path.name, data)
    return _name_columns(path.name, frame, lines)


def _read_parquet(file: str, data: bytes) -> pl.DataFrame:
    if not data.startswith(PARQUET_MAGIC):
        raise ImportRefused(f"{file}: is not a Parquet file whatever its name says. Nothing was imported.")
    try:
        return pl.read_parquet(io.BytesIO(data))
    except UNREADABLE as error:
        raise ImportRefused(f"{file}: damaged or unsupported Parquet: {error}. Nothing was imported.") from None


def _read_csv(file: str, data: bytes) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    if b"\x00" in data:
        raise ImportRefused(f"{file}: need UTF-8 text, was binary or UTF-16. Nothing was imported.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ImportRefused(f"{file}, line {line}: need UTF-8 text. Nothing was imported.") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        header = next(reader)
        for cells in reader:
            if not cells:
                continue  # a blank line says nothing
            if len(cells) != len(header):
                raise ImportRefused(
                    f"{file}, line {reader.line_num}: need {len(header)} cells as in the header, were {len(cells)}."
                    " Nothing was imported."
                )
            rows.append(cells)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise ImportRefused(f"{file}, line {reader.line_num}: {error}. Nothing was imported.") from None
    columns = zip(*rows, strict=True) if rows else ([] for _ in header)
    # Positions as names: a header may repeat a name, which _name_columns refuses.
    series = [pl.Series(str(i), list(cells), dtype=pl.String) for i, cells in enumerate(columns)]
    frame = pl.DataFrame(series)
    _check_unique(file, header)
    frame.columns = header
    return frame, np.asarray(lines, dtype=np.int64)


def _check_unique(file: str, names: list[str]) -> None:
    keys = [_key(name) for name in names]
    repeated = sorted({key for key in keys if keys.count(key) > 1})
    if repeated:
        raise ImportRefused(f"{file}: column {repeated[0]!r} occurs more than once. Nothing was imported.")


def _key(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def _name_columns(file: str, frame: pl.DataFrame, lines: NDArray[np.int64] | None) -> SourceTable:
    _check_unique(file, frame.columns)
    frame = frame.rename({name: _key(name) for name in frame.columns})
    names = frame.columns
    found = ", ".join(repr(name) for name in names[:12])
    clocks = [name for name in TIMESTAMP_NAMES if name in names]
    if len(clocks) != 1:
        what = "no timestamp column" if not clocks else "more than one timestamp column"
        raise ImportRefused(
            f"{file}: {what}; need exactly one of {', '.join(TIMESTAMP_NAMES)} in a comma-separated header,"
            f" the columns are {found}. Nothing was imported."
        )
    missing = [name for name in PRICE_COLUMNS if name not in names]
    if missing:
        raise ImportRefused(f"{file}: no column {', '.join(missing)}; the columns are {found}. Nothing was imported.")
    if frame.is_empty():
        raise ImportRefused(f"{file}: has a header and no bars. Nothing was imported.")
    _check_one_symbol(file, frame)
    table = SourceTable(file, frame, clocks[0], lines)
    ignored = [name for name in names if name not in USED_NAMES]
    if ignored:
        table.notices.append(f"columns not used: {', '.join(ignored)}")
    return table


def _check_one_symbol(file: str, frame: pl.DataFrame) -> None:
    for name in SYMBOL_NAMES:
        if name in frame.columns and frame[name].n_unique() > 1:
            held = ", ".join(repr(value) for value in frame[name].unique(maintain_order=True)[:5].to_list())
            raise ImportRefused(f"{file}: holds several instruments ({held}). Nothing was imported.")
