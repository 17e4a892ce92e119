"""Delimited text as columns of text. A clean file takes the quick way; a file with a fault is read for its line."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from ktrdr.errors import ImportRefused
from ktrdr.market.container import NOTHING
from ktrdr.market.layouts import Layout, column_key

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
LEAST_COLUMNS = 5
_BLANK_LINE = re.compile(rb"\n[ \t]*\r?\n")
_LOOKS_LIKE_A_VALUE = re.compile(r"[\s\d.,:/+TZ-]*")


@dataclass(frozen=True, slots=True, eq=False)
class Delimited:
    """Cells as text, null where empty, and the physical line of each row."""

    names: list[str]
    frame: pl.DataFrame
    lines: Sequence[int] | np.ndarray
    separator: str


def read_delimited(file: str, data: bytes, layout: Layout, notices: list[str]) -> Delimited:
    """Read text with a header, or without one where the layout says what its columns are.

    Raises:
        ImportRefused: A line does not hold as many cells as the header, or the quotes do not match.
    """
    first_line = data[: data.find(b"\n") if b"\n" in data else len(data)].decode().rstrip("\r")
    separator = max(SEPARATORS, key=first_line.count)
    if separator != ",":
        notices.append(f"cells are separated by {SEPARATORS[separator]}")
    names, has_header = _name_cells(file, first_line, separator, layout)
    if not data.endswith(b"\n"):
        notices.append("the last line has no line end: if the file was cut short, its last number may be too")
    body = data.rstrip(b" \t\r\n")
    is_plain = b'"' not in body and _BLANK_LINE.search(body) is None and body.count(b"\r") in (0, body.count(b"\n"))
    if is_plain:
        separators = body.count(separator.encode())
        if separators == (body.count(b"\n") + 1) * (len(names) - 1):
            frame = _read_plain(body, separator, len(names), has_header)
            if frame is not None:
                start = 2 if has_header else 1
                return Delimited(names, frame, range(start, start + len(frame)), separator)
    return _read_line_by_line(file, data.decode(), separator, names, has_header)


def _name_cells(file: str, first_line: str, separator: str, layout: Layout) -> tuple[list[str], bool]:
    cells = next(csv.reader([first_line], delimiter=separator), [])
    values = [cell for cell in cells if _LOOKS_LIKE_A_VALUE.fullmatch(cell) is not None and cell.strip()]
    if len(values) < max(LEAST_COLUMNS - 1, len(cells) // 2):
        return cells, True
    if not layout.headerless:
        raise ImportRefused(
            f"{file}, line 1: has no header, the first line holds values ({', '.join(cells[:3])}, ...): write the names"
            f" of the columns above them, or name the layout with --format. {NOTHING}"
        )
    if len(cells) != len(layout.headerless):
        raise ImportRefused(
            f"{file}, line 1: a {layout.name} file without a header has {len(layout.headerless)} cells a line, were"
            f" {len(cells)}. {NOTHING}"
        )
    return list(layout.headerless), False


def _read_plain(body: bytes, separator: str, n_columns: int, has_header: bool) -> pl.DataFrame | None:
    """Read lines that all have as many cells as the header; None where one of them has not."""
    if has_header and b"\n" not in body:
        return pl.DataFrame({str(i): pl.Series([], dtype=pl.String) for i in range(n_columns)})
    try:
        # The count of all separators is right, so one line with too few cells means another with too many.
        return pl.read_csv(
            io.BytesIO(body),
            has_header=False,
            skip_lines=int(has_header),
            separator=separator,
            quote_char=None,
            infer_schema=False,
            new_columns=[str(i) for i in range(n_columns)],
            schema={str(i): pl.String for i in range(n_columns)},
        )
    except pl.exceptions.PolarsError:
        return None


def _read_line_by_line(file: str, text: str, separator: str, names: list[str], has_header: bool) -> Delimited:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        if has_header:
            names = next(reader)
        for cells in reader:
            if not cells or (len(cells) == 1 and not cells[0].strip()):
                continue  # a blank line says nothing
            if len(cells) != len(names):
                raise ImportRefused(
                    f"{file}, line {reader.line_num}: need {len(names)} cells as in the header, were {len(cells)}."
                    f" {NOTHING}"
                )
            rows.append(cells)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise ImportRefused(f"{file}, line {reader.line_num}: {error}. {NOTHING}") from None
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    # Positions as names: a header may repeat a name.
    series = [pl.Series(str(i), list(cells), dtype=pl.String).replace("", None) for i, cells in enumerate(columns)]
    return Delimited(names, pl.DataFrame(series), np.asarray(lines, dtype=np.int64), separator)


def check_unique(file: str, names: list[str]) -> None:
    """Refuse a header that gives two columns one name."""
    keys = [column_key(name) for name in names]
    repeated = sorted({key for key in keys if key and keys.count(key) > 1})
    if repeated:
        raise ImportRefused(f"{file}, line 1: column {repeated[0]!r} occurs more than once. {NOTHING}")
