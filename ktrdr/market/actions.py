"""A file of splits and dividends, and what it does to the bars before each of them."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from ktrdr.errors import ImportRefused
from ktrdr.market.bars import Bars, FloatArray
from ktrdr.market.container import NOTHING, read_content
from ktrdr.market.delimited import read_delimited
from ktrdr.market.layouts import GENERIC, column_key
from ktrdr.market.snapshot import name_snapshot

COLUMNS = ("date", "split", "dividend")
EPOCH = date(1970, 1, 1)
# A market moves on the day of a split too; beyond this the split is not in these prices, or already out of them.
UNEXPLAINED = np.log(1.35)


@dataclass(frozen=True, slots=True)
class CorporateAction:
    """What happens to a share before the open of `day`.

    Attributes:
        day: Session date.
        split: New shares for an old one; 1 where there is no split.
        dividend: Per share after the split, in the currency of the prices.
        line: Where the file says so.
    """

    day: date
    split: float
    dividend: float
    line: int


@dataclass(frozen=True, slots=True, eq=False)
class Adjustment:
    """Per bar, what prices are multiplied and volume divided by; and how many actions counted."""

    price: FloatArray
    shares: FloatArray
    n_splits: int
    n_dividends: int


def read_actions(path: Path) -> list[CorporateAction]:
    """Read a text file with the columns date, split, dividend (one of the last two may be absent), in any order.

    Raises:
        ImportRefused: A cell cannot be read, a date occurs twice, or nothing is in it.
    """
    content = read_content(path)
    if content.kind == "parquet":
        frame = pl.read_parquet(io.BytesIO(content.data))
        names = frame.columns
        lines: Sequence[int] | np.ndarray = range(1, len(frame) + 1)
    else:
        text = read_delimited(content.file, content.data, GENERIC, [])
        frame, names, lines = text.frame, text.names, text.lines
    keys = [column_key(name) for name in names]
    if "date" not in keys or not {"split", "dividend"} & set(keys) or set(keys) - set(COLUMNS):
        raise ImportRefused(
            f"{content.file}: need the columns date, split, dividend (or one of the last two), were"
            f" {', '.join(keys)}. {NOTHING}"
        )
    if len(keys) != len(set(keys)) or frame.is_empty():
        raise ImportRefused(f"{content.file}: a column occurs twice, or there is no row. {NOTHING}")
    frame.columns = keys
    actions = [
        _read_action(content.file, int(lines[row]), cells) for row, cells in enumerate(frame.iter_rows(named=True))
    ]
    actions.sort(key=lambda action: action.day)
    for before, after in pairwise(actions):
        if before.day == after.day:
            raise ImportRefused(f"{content.file}, line {after.line}: {after.day} occurs twice. {NOTHING}")
    return actions


def _read_action(file: str, line: int, cells: dict[str, object]) -> CorporateAction:
    try:
        day = date.fromisoformat(str(cells["date"]).strip()[:10])
        split = _number(cells.get("split"), empty=1.0)
        dividend = _number(cells.get("dividend"), empty=0.0)
    except ValueError as error:
        raise ImportRefused(f"{file}, line {line}: need a date YYYY-MM-DD and numbers: {error}. {NOTHING}") from None
    if not (0.001 <= split <= 1000 and 0 <= dividend < np.inf):
        raise ImportRefused(
            f"{file}, line {line}: need a split from 0.001 to 1000 (new shares for an old one) and a dividend of at"
            f" least zero, were {split:g} and {dividend:g}. {NOTHING}"
        )
    return CorporateAction(day, split, dividend, line)


def _number(cell: object, *, empty: float) -> float:
    text = "" if cell is None else str(cell).strip()
    return empty if not text else float(text)


def find_adjustment(bars: Bars, actions: list[CorporateAction], file: str) -> Adjustment:
    """Return what the actions between the first and the last bar do to the bars before them.

    The last bar keeps its price: no factor depends on what comes after it.

    Raises:
        ImportRefused: A split does not show in the prices, or a dividend is as large as the price.
    """
    price, shares = np.ones(len(bars)), np.ones(len(bars))
    n_splits = n_dividends = 0
    for action in actions:
        row = int(np.searchsorted(bars.session_day, (action.day - EPOCH).days))
        if row in (0, len(bars)):
            continue
        before = float(bars.close[row - 1]) / action.split
        if action.dividend >= before:
            raise ImportRefused(
                f"{file}, line {action.line}: a dividend of {action.dividend:g} on a price of {before:.6g}. {NOTHING}"
            )
        gap = float(np.log(bars.open[row] / before))
        if action.split != 1 and abs(gap) > UNEXPLAINED:
            raise ImportRefused(
                f"{file}, line {action.line}: a split {action.split:g}:1 on {action.day} does not show in the prices:"
                f" {float(bars.close[row - 1]):.6g} before and {float(bars.open[row]):.6g} after. {NOTHING}"
            )
        price[:row] *= (1 - action.dividend / before) / action.split
        shares[:row] /= action.split
        n_splits += action.split != 1
        n_dividends += action.dividend > 0
    return Adjustment(price, shares, n_splits, n_dividends)


def scale_bars(bars: Bars, price: FloatArray, shares: FloatArray) -> Bars:
    """Return the bars with every price multiplied and every volume divided, row by row, named by their content."""
    return name_snapshot(
        replace(
            bars,
            open=bars.open * price,
            high=bars.high * price,
            low=bars.low * price,
            close=bars.close * price,
            volume=bars.volume / shares,
        )
    )
