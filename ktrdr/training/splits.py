"""Walk-forward splits with purging: which bar may be fitted, validated or tested in which fold.

The research window runs from the open of its first bar to the close of its last one and is cut into six blocks
of equal calendar time; a bar belongs to the block in which it opens. Fold k = 1..5 trains on the blocks before
block k and tests on block k (counted from 0). No training follows a test block, so there is no embargo.

Rows are the bars of one symbol, or of several in order of their opens (`ktrdr.training.pool`): a block begins at the
same moment for all.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_BLOCKS = 6
VALIDATION_PERCENT = 15

RowArray = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingRows:
    """One training part: bar indices, ascending, and how many rows were dropped for what their labels see.

    Attributes:
        fitted: Rows that weights, scaling and quantiles are fitted on.
        validation: The last 15 % (rounded down, but rows of one open stay together) of the part's rows, all later than
            the fitted ones.
        purged_before_test: Rows dropped because their label reaches into the test block.
        purged_before_validation: Rows dropped because their label reaches the first validation row.
    """

    fitted: RowArray
    validation: RowArray
    purged_before_test: int
    purged_before_validation: int


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """Fold `index` (1..5): its training part and its test block, bars test_start..test_stop-1."""

    index: int
    training: TrainingRows
    test_start: int
    test_stop: int


def block_bounds(timestamp: NDArray[np.int64], end: int) -> tuple[int, ...]:
    """Return the first bar of each of the six blocks and, last, the number of bars.

    Args:
        timestamp: Opens of all bars of the research window, never decreasing, epoch milliseconds; at least one.
        end: Close of the last bar, epoch milliseconds.
    """
    start = int(timestamp[0])
    edges = [start + (end - start) * block // N_BLOCKS for block in range(N_BLOCKS)]
    return (*np.searchsorted(timestamp, edges, side="left").tolist(), len(timestamp))


def split_training_part(
    rows: RowArray, label_end: NDArray[np.int64], stop: int, *, timestamp: NDArray[np.int64] | None = None
) -> TrainingRows:
    """Split the rows before bar `stop` into fitted and validation rows, both purged.

    Args:
        rows: Bars with valid features and a label, ascending.
        label_end: For every bar, the last bar its label looks at.
        stop: First bar that training must not see, directly or through a label; the number of bars when all may
            be seen.
        timestamp: Opens of all rows, never decreasing; None where no two are equal. Rows of one open stay together:
            validation begins with the first of them.
    """
    before = rows[rows < stop]
    part = before[label_end[before] < stop]
    first = len(part) - len(part) * VALIDATION_PERCENT // 100
    if timestamp is not None and first < len(part):
        first = int(np.searchsorted(timestamp[part], timestamp[part[first]]))
    earlier, validation = part[:first], part[first:]
    fitted = earlier[label_end[earlier] < validation[0]] if len(validation) else earlier
    return TrainingRows(
        fitted=fitted,
        validation=validation,
        purged_before_test=len(before) - len(part),
        purged_before_validation=len(earlier) - len(fitted),
    )


def walk_forward(
    rows: RowArray,
    label_end: NDArray[np.int64],
    bounds: tuple[int, ...],
    *,
    timestamp: NDArray[np.int64] | None = None,
) -> list[Fold]:
    """Return folds 1..5.

    Args:
        rows: Bars with valid features and a label, ascending.
        label_end: For every bar, the last bar its label looks at.
        bounds: What `block_bounds` gives.
        timestamp: As for `split_training_part`.
    """
    return [
        Fold(
            index=block,
            training=split_training_part(rows, label_end, bounds[block], timestamp=timestamp),
            test_start=bounds[block],
            test_stop=bounds[block + 1],
        )
        for block in range(1, N_BLOCKS)
    ]
