"""The purge, asserted on the rows that are really used: what a split may hold, and where it breaks that."""

from dataclasses import dataclass

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


def find_split_leak(
    name: str,
    training: TrainingRows,
    *,
    label_end: NDArray[np.int64],
    first_row: int,
    test_start: int,
) -> Leak | None:
    """Return the first row of a training part that it must not hold, None where it is clean.

    Args:
        name: What the part is called: "fold 2".
        training: Its rows.
        label_end: For every bar, the last bar its label looks at; -1 without label.
        first_row: First bar at which every feature is known.
        test_start: First bar that training must not see; the number of bars where there is no test.
    """
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


def require_purged(
    name: str, training: TrainingRows, *, label_end: NDArray[np.int64], first_row: int, test_start: int
) -> None:
    """Return if a training part is clean; arguments as for `find_split_leak`.

    Raises:
        OperationFailed: `leak_found`, with its place.
    """
    leak = find_split_leak(name, training, label_end=label_end, first_row=first_row, test_start=test_start)
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
