"""Numbers as people of different countries write them, read only where they leave no doubt."""

import re
from typing import Literal

import polars as pl

Style = Literal["point", "comma", "grouped"]
# 1.234,5 or 11,5; and 1,234.5. A lone comma before three digits ("1,234") says neither.
_COMMA_CELL = r"^[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+)(?:,\d+)?$"
_GROUPED_CELL = r"^[+-]?(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d+)?$"
_SHOWS_COMMA = r"^[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+),(?:\d{1,2}|\d{4,})$|^[+-]?0,\d+$|^[+-]?\d{4,},\d+$|\d\.\d{3},\d"
_SHOWS_GROUPS = r"^[+-]?\d{1,3}(?:,\d{3})+\.\d+$|^[+-]?\d{1,3}(?:,\d{3}){2,}$"
_PLAIN_POINT = r"^[+-]?\d+\.\d+$"
SHARE_THAT_SHOWS = 0.5  # of all price cells: one odd cell is a fault, not a country


def find_style(columns: list[pl.Series]) -> Style:
    """Return how the numbers of a file's text columns are written: "point" unless all of them certainly are not."""
    text = pl.concat([column.drop_nulls().str.strip_chars() for column in columns if column.dtype == pl.String])
    if not len(text) or not text.str.contains(",", literal=True).any():
        return "point"
    commas = text.str.contains(_SHOWS_COMMA)
    if commas.sum() >= SHARE_THAT_SHOWS * len(text) and not text.str.contains(_PLAIN_POINT).any():
        return "comma" if text.str.contains(_COMMA_CELL).all() else "point"
    groups = text.str.contains(_SHOWS_GROUPS)
    if groups.any() and not commas.any() and text.str.contains(_GROUPED_CELL).all():
        return "grouped"
    return "point"


def to_point(text: pl.Series, style: Style) -> pl.Series:
    """Return cells of a style as cells with a decimal point and no groups."""
    if style == "comma":
        return text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    return text.str.replace_all(",", "", literal=True)


def is_grouped_integer(cell: str) -> bool:
    """Whether a cell is a whole number in groups of three, as volumes are written."""
    return re.fullmatch(r"\d{1,3}(?:,\d{3})+", cell) is not None
