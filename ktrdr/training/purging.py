"""The purge, asserted on the rows that are really used: what a split may hold, and where it breaks that."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from ktrdr.errors import OperationFailed
from ktrdr.training.splits import RowArray, TrainingRows


@dataclass(frozen=True, slots=True)
class Leak:
    """Knowledge of the future where it must not be.

    Attributes:
        place: Which feature, label or split.
        bar: Index of the bar at which it shows.
        finding: What was found there.
    """

    place: str
    bar: int
    finding: str

    def __str__(self) -> str:
        return f"{self.place} at bar {self.bar}: {self.finding}"


@dataclass(frozen=True, slots=True, eq=False)
class RowTimes:
    """When the rows of a training table are, by the clock: rows of several symbols cannot be compared by number.

    Attributes:
        opened: int64 (n_rows,), when the row's bar opens, epoch ms UTC.
        label_known: int64 (n_rows,), when the last bar that its label looks at is complete; -1 without label.
    """

    opened: NDArray[np.int64]
    label_known: NDArray[np.int64]


def find_split_leak(
    name: str,
    training: TrainingRows,
    *,
    label_end: NDArray[np.int64],
    first_row: int,
    test_start: int,
    times: RowTimes | None = None,
) -> Leak | None:
    """Return the first row of a training part that it must not hold, None where it is clean.

    Args:
        name: What the part is called: "fold 2".
        training: Its rows.
        label_end: For every bar, the last bar its label looks at; -1 without label.
        first_row: First bar at which every feature is known.
        test_start: First bar that training must not see; the number of bars where there is no test.
        times: Of all rows, where they are of several symbols; the split must hold by the clock too then.
    """
    return _find_by_row(name, training, label_end, first_row, test_start) or (
        None if times is None else _find_by_clock(name, training, times, test_start)
    )


def _find_by_row(
    name: str, training: TrainingRows, label_end: NDArray[np.int64], first_row: int, test_start: int
) -> Leak | None:
    parts = {"fitted rows": training.fitted, "validation rows": training.validation}
    for part, rows in parts.items():
        place = f"{name}, {part}"
        checks = (
            (np.append(False, np.diff(rows) <= 0), "it stands twice or out of order"),
            (rows < first_row, f"features are known from bar {first_row} on"),
            (rows >= test_start, f"it lies in or after the test block, which starts at bar {test_start}"),
            (_at(label_end, rows) <= rows, "it has no label, or one that ends before its entry"),
            (_at(label_end, rows) >= test_start, f"its label reaches the test block, which starts at bar {test_start}"),
        )
        for is_broken, finding in checks:
            leak = _first(place, rows, is_broken[: len(rows)], finding)
            if leak is not None:
                return leak
    if len(training.validation) == 0:
        return None
    start = int(training.validation[0])
    place, fitted = f"{name}, fitted rows", training.fitted
    return _first(place, fitted, fitted >= start, f"it does not precede validation, which starts at bar {start}") or (
        _first(place, fitted, label_end[fitted] >= start, f"its label reaches validation, which starts at bar {start}")
    )


def _find_by_clock(name: str, training: TrainingRows, times: RowTimes, test_start: int) -> Leak | None:
    opened, known = times.opened, times.label_known
    limits = [("fitted rows", training.fitted, "the test block", opened[test_start:])]
    limits.append(("validation rows", training.validation, "the test block", opened[test_start:]))
    limits.append(("fitted rows", training.fitted, "validation", opened[training.validation]))
    for part, rows, what, later in limits:
        if len(later) == 0:
            continue
        start = int(later.min())
        begins = f"{what} begins at {datetime.fromtimestamp(start / 1000, UTC):%Y-%m-%d %H:%M} UTC"
        place = f"{name}, {part}"
        leak = _first(place, rows, opened[rows] >= start, f"it opens no earlier than that: {begins}") or (
            _first(place, rows, known[rows] > start, f"its label is known only later: {begins}")
        )
        if leak is not None:
            return leak
    return None


def require_purged(
    name: str,
    training: TrainingRows,
    *,
    label_end: NDArray[np.int64],
    first_row: int,
    test_start: int,
    times: RowTimes | None = None,
) -> None:
    """Return if a training part is clean; arguments as for `find_split_leak`.

    Raises:
        OperationFailed: `leak_found`, with its place.
    """
    leak = find_split_leak(name, training, label_end=label_end, first_row=first_row, test_start=test_start, times=times)
    if leak is not None:
        raise OperationFailed(
            f"training would see the future: {leak}. The fault is in ktrdr and not in the strategy; please report it",
            reason="leak_found",
        )


def _at(label_end: NDArray[np.int64], rows: RowArray) -> NDArray[np.int64]:
    """Return the label ends of rows; a row that does not exist has none."""
    exists = (rows >= 0) & (rows < len(label_end))
    return np.where(exists, label_end[np.where(exists, rows, 0)], -1)


def _first(place: str, rows: RowArray, is_broken: NDArray[np.bool_], finding: str) -> Leak | None:
    broken = np.flatnonzero(is_broken)
    return Leak(place, int(rows[broken[0]]), finding) if len(broken) else None
