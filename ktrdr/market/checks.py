"""Rules that every row of a source must keep; the first row that breaks one is named."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ktrdr.market.bars import FloatArray
from ktrdr.market.calendar import IntArray
from ktrdr.market.layouts import PRICE_COLUMNS
from ktrdr.market.table import SourceTable
from ktrdr.market.timeframe import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe

OTHER_SPACING_RUN = 20  # equal steps in a row that no market's holes make
SPIKE_FACTOR = 3.0


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

    def present(self) -> list[FloatArray]:
        """Return the columns that the source has."""
        values = (getattr(self, column.name) for column in fields(self))
        return [value for value in values if value is not None]

    def take(self, rows: IntArray) -> "SourceColumns":
        """Return the columns of these rows, in this order."""
        optional = (self.volume, self.half_spread_bps, self.adj_close)
        volume, half_spread, adjusted = (None if values is None else values[rows] for values in optional)
        return SourceColumns(
            self.open[rows], self.high[rows], self.low[rows], self.close[rows], volume, half_spread, adjusted
        )


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


def find_order(table: SourceTable, label: IntArray, numbers: SourceColumns) -> IntArray | None:
    """Return the rows oldest first, each time once; None where they are so already.

    Rows in another order are sorted, and rows that say the same twice are left out; both are told.

    Raises:
        ImportRefused: One time has two bars that differ.
    """
    step = np.diff(label)
    if (step > 0).all():
        return None
    order = np.argsort(label, kind="stable")
    if (step <= 0).all() and (step < 0).any():
        table.notices.append("bars are newest first: turned round")
    elif (step < 0).any():
        row = int(np.argmax(step < 0)) + 1
        table.notices.append(
            f"bars are not in the order of time: sorted; {table.where(row)} is the first that is older than the bar"
            f" before it, {int((step < 0).sum())} are"
        )
    repeats = np.flatnonzero(np.diff(label[order]) == 0) + 1
    if not len(repeats):
        return order
    first, again = order[repeats - 1], order[repeats]
    differs = np.zeros(len(repeats), dtype=np.bool_)
    for values in numbers.present():
        differs |= values[first] != values[again]
    if differs.any():
        at = int(np.argmax(differs))
        raise table.refusal(
            f"this time has another bar, with other numbers, at {table.place} {table.places[int(first[at])]};"
            f" {int(differs.sum())} of {len(repeats)} repeated bars differ so. Leave the wrong ones out",
            int(again[at]),
        )
    table.notices.append(
        f"bars that occur twice with equal numbers, left out: {len(repeats)}, {table.where(int(again.min()))} first"
    )
    return np.delete(order, repeats)


def check_spacing(table: SourceTable, label: IntArray, timeframe: Timeframe) -> None:
    """Refuse bars whose usual distance is not the timeframe, or is another one over a part of the file."""
    if len(label) < 2:
        return
    step = np.diff(label)
    steps, counts = np.unique(step, return_counts=True)
    usual, length = int(steps[np.argmax(counts)]), timeframe.milliseconds
    if usual * 1000 == length or usual == length * 1000:
        was, is_said = ("milliseconds", "seconds") if usual > length else ("seconds", "milliseconds")
        raise table.refusal(f"these bars are {_describe_span(usual)} apart: {was} were taken for {is_said}", 0)
    if usual != length:
        raise table.refusal(f"these bars are {_describe_span(usual)} apart, which is not {timeframe}", 0)
    row = _find_other_spacing(step, length)
    if row is not None:
        raise table.refusal(
            f"from here on bars are {_describe_span(int(step[row]))} apart, which is not {timeframe}: split the file by"
            " timeframe",
            row,
        )


def _find_other_spacing(step: IntArray, length: int) -> int | None:
    """Return where a run of at least `OTHER_SPACING_RUN` equal steps begins that are not `length`."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(step)) + 1])
    runs = np.diff(np.append(starts, len(step)))
    odd = np.flatnonzero((runs >= OTHER_SPACING_RUN) & (step[starts] != length))
    return int(starts[odd[0]]) if len(odd) else None


def check_lone_spikes(table: SourceTable, columns: SourceColumns, *, accepted: bool) -> None:
    """Refuse a bar that lies whole beyond three times, or below a third of, both its neighbours: a fat finger.

    It is looked for in every row, sealed ones too: what is refused is never stored.
    """
    high, low = columns.high, columns.low
    if len(high) < 3:
        return
    above = (low[1:-1] > SPIKE_FACTOR * high[:-2]) & (low[1:-1] > SPIKE_FACTOR * high[2:])
    below = (high[1:-1] * SPIKE_FACTOR < low[:-2]) & (high[1:-1] * SPIKE_FACTOR < low[2:])
    rows = np.flatnonzero(above | below) + 1
    if len(rows) and not accepted:
        row = int(rows[0])
        raise table.refusal(
            f"this bar lies at {float(columns.close[row])!r} between bars at {float(columns.close[row - 1])!r} and"
            f" {float(columns.close[row + 1])!r}: correct it or leave it out; --accept-findings takes it as it stands",
            row,
        )


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
