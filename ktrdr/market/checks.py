"""Rules that every row of a source must keep; the first row that breaks one is named."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ktrdr.market.bars import FloatArray
from ktrdr.market.calendar import IntArray
from ktrdr.market.table import PRICE_COLUMNS, SourceTable
from ktrdr.market.timeframe import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe


@dataclass(frozen=True, slots=True, eq=False)
class SourceColumns:
    """Numbers of a source whose every row passed its checks; a column that the source has not is None."""

    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray | None
    half_spread_bps: FloatArray | None
    adj_close: FloatArray | None


def read_columns(table: SourceTable) -> SourceColumns:
    """Read the numbers of a source and check each row for itself.

    `spread_close` (ask less bid at the bar's close, in price units) becomes `half_spread_bps`.

    Raises:
        ImportRefused: A row breaks a rule.
    """
    prices = {name: _read_full_column(table, name) for name in PRICE_COLUMNS}
    for name, values in prices.items():
        _refuse_first(table, values <= 0, f"need a price above zero in {name}", values)
    high, low = prices["high"], prices["low"]
    _refuse_first(table, high < low, "the high is below the low", high)
    for name in ("open", "close"):
        values = prices[name]
        _refuse_first(table, values > high, f"the {name} is above the high", values)
        _refuse_first(table, values < low, f"the {name} is below the low", values)
    return SourceColumns(
        **prices,
        volume=_read_volume(table),
        half_spread_bps=_read_half_spread(table, prices["close"]),
        adj_close=_read_adjusted_close(table),
    )


def check_order(table: SourceTable, label: IntArray) -> None:
    """Refuse rows that are not strictly oldest first."""
    step = np.diff(label)
    backwards = np.flatnonzero(step < 0)
    if len(backwards):
        raise table.refusal(
            "this bar is older than the one before it: sort the file oldest first", int(backwards[0]) + 1
        )
    twice = np.flatnonzero(step == 0)
    if len(twice):
        raise table.refusal("this bar occurs twice", int(twice[0]) + 1)


def check_spacing(table: SourceTable, label: IntArray, timeframe: Timeframe) -> None:
    """Refuse bars whose usual distance is not the timeframe."""
    if len(label) < 2:
        return
    steps, counts = np.unique(np.diff(label), return_counts=True)
    usual = int(steps[np.argmax(counts)])
    if usual != timeframe.milliseconds:
        raise table.refusal(f"these bars are {_describe_span(usual)} apart, which is not {timeframe}", 0)


def _describe_span(milliseconds: int) -> str:
    for unit_ms, unit in ((DAY_MS, "days"), (HOUR_MS, "hours"), (MINUTE_MS, "minutes")):
        if milliseconds >= unit_ms:
            return f"{milliseconds / unit_ms:g} {unit}"
    return f"{milliseconds / 1000:g} seconds"


def _refuse_first(table: SourceTable, bad: NDArray[np.bool_], rule: str, values: FloatArray) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        raise table.refusal(f"{rule}, was {float(values[rows[0]])!r}", int(rows[0]))


def _read_full_column(table: SourceTable, name: str) -> FloatArray:
    column = table.numbers(name)
    if column.null_count():
        raise table.refusal(f"need a number in {name}, was empty", int(column.is_null().arg_true()[0]))
    values = column.to_numpy()
    _refuse_first(table, ~np.isfinite(values), f"need a finite number in {name}", values)
    return values


def _read_volume(table: SourceTable) -> FloatArray | None:
    if "volume" not in table.frame.columns:
        return None
    column = table.numbers("volume").fill_nan(None)
    if column.null_count() == len(column):
        return None
    if column.null_count():
        row = int(column.is_null().arg_true()[0])
        raise table.refusal("need volume in every row or in none, was empty", row)
    values = column.to_numpy()
    _refuse_first(table, ~np.isfinite(values) | (values < 0), "need a volume of at least zero", values)
    return values


def _read_half_spread(table: SourceTable, close: FloatArray) -> FloatArray | None:
    names = [name for name in ("half_spread_bps", "spread_close") if name in table.frame.columns]
    if not names:
        return None
    if len(names) > 1:
        raise table.refusal("need one of half_spread_bps and spread_close, were both")
    values = _read_full_column(table, names[0])
    _refuse_first(table, values < 0, f"need at least zero in {names[0]}", values)
    return values if names[0] == "half_spread_bps" else values / 2 / close * 10_000


def _read_adjusted_close(table: SourceTable) -> FloatArray | None:
    if "adj_close" not in table.frame.columns:
        return None
    values = _read_full_column(table, "adj_close")
    _refuse_first(table, values <= 0, "need a price above zero in adj_close", values)
    return values
