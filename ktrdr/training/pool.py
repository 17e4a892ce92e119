"""The rows of several symbols as one table: what one network for all of them learns from.

Features, labels and warm-up are those of each symbol by itself, over all bars that it has. The table holds the bars of
the common window in order of time, so that whatever splits it by row splits every symbol at the same moment. Of one
symbol it is the series itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ktrdr.errors import OperationFailed
from ktrdr.features.inputs import FeatureInputs, compute_inputs
from ktrdr.labels.label import NO_LABEL, Labels, make_labels
from ktrdr.market.bars import Bars
from ktrdr.market.snapshot import name_snapshots
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.training.purging import RowTimes

IntArray = NDArray[np.int64]
FEWEST_COMMON_BARS = 250
"""Of every symbol: in fewer the folds of a pool would be without one of its symbols."""


@dataclass(frozen=True, eq=False)
class PoolRows:
    """Which bar each row of a pool is.

    The common window begins with the latest of the symbols' first bars and ends with the earliest of their last ones;
    rows are ordered by the bars' opens and, of equal ones, by the symbols.

    Attributes:
        series: The symbols' bars, whole, in order of their symbols.
        place: (n_rows,), of the row's bars in `series`.
        bar: (n_rows,), the bar there.
        timestamp: int64 (n_rows,), its open, epoch ms UTC, never decreasing.
        known_at: int64 (n_rows,), when it is complete.
    """

    series: tuple[Bars, ...]
    place: NDArray[np.intp]
    bar: NDArray[np.intp]
    timestamp: IntArray
    known_at: IntArray

    def __len__(self) -> int:
        return len(self.bar)

    @property
    def end(self) -> int:
        """When the last bar is complete, epoch ms UTC."""
        return int(self.known_at.max())

    @property
    def snapshots(self) -> dict[str, str]:
        """The version of every symbol's series."""
        return {bars.symbol: bars.snapshot for bars in self.series}

    @property
    def snapshot(self) -> str:
        """The one name of them all."""
        return name_snapshots(self.snapshots)

    @cached_property
    def moment(self) -> NDArray[np.intp]:
        """(n_rows,), the number of the row's open among all different ones."""
        return np.append(0, np.cumsum(np.diff(self.timestamp) > 0))

    def rows_of(self, place: int) -> NDArray[np.intp]:
        """Return the rows of one of the series, ascending."""
        return np.flatnonzero(self.place == place)

    def turn(self, span: NDArray[np.intp], values: NDArray[np.float32], offset: int) -> NDArray[np.float32]:
        """Return what stood, in each row's own symbol, so many different opens before it, around a span of rows.

        All symbols are turned by the same time, so that what they have in common at a moment stays together. Where a
        symbol has no row at that moment the last one before it counts.

        Args:
            span: Rows (n,), ascending.
            values: (n,), one of each.
            offset: Number of opens.
        """
        opens, moment = np.unique(self.timestamp[span], return_inverse=True)
        turned = np.empty_like(values)
        for place in range(len(self.series)):
            own = np.flatnonzero(self.place[span] == place)
            source = (moment[own] - offset) % len(opens)
            turned[own] = values[own][np.searchsorted(moment[own], source, side="right") - 1]
        return turned


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The rows of a pool with what a strategy makes of them.

    Attributes:
        rows: Which bar each is.
        inputs: Of every row; `first_row` is the first one at whose open all symbols have settled.
        labels: Of every row; `end` is the last row that opens before the label is known.
        times: By which splits are checked.
    """

    rows: PoolRows
    inputs: FeatureInputs
    labels: Labels
    times: RowTimes


def gather_rows(bars: Bars | Sequence[Bars]) -> PoolRows:
    """Return the rows of one series, or of several of one timeframe in any order.

    Raises:
        OperationFailed: `no_common_time`: the series have too little time in common.
    """
    series = (bars,) if isinstance(bars, Bars) else tuple(sorted(bars, key=lambda each: each.symbol))
    first = max(int(each.timestamp[0]) for each in series)
    last = min(int(each.timestamp[-1]) for each in series)
    inside = [np.flatnonzero((each.timestamp >= first) & (each.timestamp <= last)) for each in series]
    if len(series) > 1 and min(map(len, inside)) < FEWEST_COMMON_BARS:
        raise OperationFailed(_no_common_time(series, [len(rows) for rows in inside]), reason="no_common_time")
    place = np.repeat(np.arange(len(series)), [len(rows) for rows in inside])
    timestamp = np.concatenate([each.timestamp[rows] for each, rows in zip(series, inside, strict=True)])
    known_at = np.concatenate([each.known_at[rows] for each, rows in zip(series, inside, strict=True)])
    order = np.lexsort((place, timestamp))
    return PoolRows(series, place[order], np.concatenate(inside)[order], timestamp[order], known_at[order])


def compute_pool(specification: StrategySpecification, bars: Bars | Sequence[Bars]) -> Pool:
    """Compute features and labels of every symbol and pool them; errors as of `gather_rows` and `compute_inputs`."""
    rows = gather_rows(bars)
    inputs = [compute_inputs(specification, each) for each in rows.series]
    labels = [make_labels(specification, each) for each in rows.series]
    return pool_up(rows, inputs, labels)


def pool_up(rows: PoolRows, inputs: Sequence[FeatureInputs], labels: Sequence[Labels]) -> Pool:
    """Return the pool of features and labels that were computed of each series of `rows`, in its order.

    Raises:
        OperationFailed: `too_few_bars`: the warm-up leaves no row.
    """
    known = np.concatenate(
        [
            np.where(of.end >= 0, each.known_at[np.maximum(of.end, 0)], -1)[rows.bar[rows.place == place]]
            for place, (each, of) in enumerate(zip(rows.series, labels, strict=True))
        ]
    )
    label_known = np.empty(len(rows), dtype=np.int64)
    label_known[np.argsort(rows.place, kind="stable")] = known
    if len(rows.series) == 1:
        return Pool(rows, inputs[0], labels[0], RowTimes(rows.timestamp, label_known))
    values = np.empty((len(rows), len(inputs[0].names)))
    value = np.empty(len(rows), dtype=np.int8)
    for place, (of_inputs, of_labels) in enumerate(zip(inputs, labels, strict=True)):
        own = rows.rows_of(place)
        values[own] = of_inputs.values[rows.bar[own]]
        last = int(rows.bar[own[-1]])
        # A label that looks past the common window looks past the last bar.
        value[own] = np.where(of_labels.end > last, NO_LABEL, of_labels.value)[rows.bar[own]]
    settled = max(int(each.timestamp[of.first_row]) for each, of in zip(rows.series, inputs, strict=True))
    first_row = int(np.searchsorted(rows.timestamp, settled))
    if first_row >= len(rows):
        raise OperationFailed(
            f"the indicators of {', '.join(rows.snapshots)} have settled only where their common window ends; use "
            "shorter periods or longer series",
            reason="too_few_bars",
        )
    values[:first_row] = np.nan
    label_known[value == NO_LABEL] = -1
    end = np.searchsorted(rows.timestamp, label_known) - 1
    pooled = Labels(value, np.where(value == NO_LABEL, -1, end))
    return Pool(rows, FeatureInputs(inputs[0].names, values, first_row), pooled, RowTimes(rows.timestamp, label_known))


def _no_common_time(series: Sequence[Bars], counts: Sequence[int]) -> str:
    covers = "; ".join(
        f"{each.symbol} {each.timeframe} covers {_day(each.timestamp[0])} to {_day(each.timestamp[-1])}, "
        f"{count} of its {len(each)} bars in the time of all"
        for each, count in zip(series, counts, strict=True)
    )
    return (
        f"the symbols have too little time in common: {covers}. Each needs at least {FEWEST_COMMON_BARS} bars between "
        "the latest first bar and the earliest last one: take out of market.symbols what lies apart, or import more "
        "bars"
    )


def _day(epoch_ms: np.int64) -> str:
    return f"{datetime.fromtimestamp(int(epoch_ms) / 1000, UTC):%Y-%m-%d}"
