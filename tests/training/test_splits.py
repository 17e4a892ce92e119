import numpy as np
import pandas as pd
import purgedcv
from hypothesis import given, settings
from hypothesis import strategies as st

from ktrdr.training.splits import block_bounds, split_training_part, walk_forward

HOUR_MS = 3_600_000


def test_blocks_are_equal_in_calendar_time_and_not_in_bars():
    # Twelve days: hourly bars on the first two, then one bar a day. Each block is two days long.
    opens = [*range(48), *range(48, 288, 24)]
    timestamp = np.array(opens) * HOUR_MS
    assert block_bounds(timestamp, 288 * HOUR_MS) == (0, 48, 50, 52, 54, 56, 58)


def test_rows_of_a_small_window_are_split_and_purged_as_counted_by_hand():
    # 120 bars, blocks of 20; labels look 3 bars ahead, so the last 3 rows before each border are purged.
    timestamp = np.arange(120) * HOUR_MS
    label_end = np.arange(120) + 3
    rows = np.arange(10, 117)  # warm-up of 10, no label for the last 3 bars
    folds = walk_forward(rows, label_end, block_bounds(timestamp, 120 * HOUR_MS))
    assert [fold.index for fold in folds] == [1, 2, 3, 4, 5]
    assert [(fold.test_start, fold.test_stop) for fold in folds] == [
        (20, 40),
        (40, 60),
        (60, 80),
        (80, 100),
        (100, 120),
    ]
    # Fold 2: rows 10..36 may train (37..39 reach into bar 40); 15 % of 27 rows are 4: 33..36; 30..32 reach 33.
    second = folds[1].training
    assert second.fitted.tolist() == list(range(10, 30))
    assert second.validation.tolist() == [33, 34, 35, 36]
    assert (second.purged_before_test, second.purged_before_validation) == (3, 3)
    # The final model may see every bar: nothing lies behind the window's end.
    final = split_training_part(rows, label_end, 120)
    assert final.validation.tolist() == list(range(101, 117))
    assert final.fitted.tolist() == list(range(10, 98))
    assert (final.purged_before_test, final.purged_before_validation) == (0, 3)


@st.composite
def windows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Opens with gaps, label ends of varying reach, and a random choice of usable rows."""
    n_bars = draw(st.integers(30, 150))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps = generator.choice([1, 1, 1, 5, 48], n_bars)
    timestamp = np.cumsum(steps) * HOUR_MS
    label_end = np.minimum(np.arange(n_bars) + generator.integers(1, 12, n_bars), n_bars - 1)
    rows = np.flatnonzero(generator.random(n_bars) < 0.9)
    return timestamp, label_end, rows


@settings(max_examples=60, deadline=None)
@given(windows())
def test_no_fitted_row_knows_anything_of_validation_or_test_and_no_row_is_lost(window):
    timestamp, label_end, rows = window
    end = int(timestamp[-1]) + HOUR_MS
    folds = walk_forward(rows, label_end, block_bounds(timestamp, end))
    span = end - int(timestamp[0])
    block_of_bar = [(int(opened) - int(timestamp[0])) * 6 // span for opened in timestamp]
    for k, fold in enumerate(folds, start=1):
        tested = [bar for bar, block in enumerate(block_of_bar) if block == k]
        assert list(range(fold.test_start, fold.test_stop)) == tested
        training = fold.training
        first_tested = sum(block < k for block in block_of_bar)
        earlier = [row for row in rows.tolist() if row < first_tested]
        part = [row for row in earlier if label_end[row] < first_tested]
        assert training.purged_before_test == len(earlier) - len(part)
        assert training.validation.tolist() == part[len(part) - int(0.15 * len(part) + 1e-9) :]
        borders = [*training.validation[:1].tolist(), first_tested]
        candidates = [row for row in part if row not in set(training.validation.tolist())]
        assert training.fitted.tolist() == [row for row in candidates if label_end[row] < borders[0]]
        assert training.purged_before_validation == len(candidates) - len(training.fitted)
        seen = {bar for row in training.fitted for bar in range(row, label_end[row] + 1)}
        assert not seen & {*training.validation.tolist(), *tested}
        reached = {bar for row in training.validation for bar in range(row, label_end[row] + 1)}
        assert not reached & set(tested)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_purging_leaves_the_rows_that_purgedcv_leaves(seed):
    rng = np.random.default_rng(seed)
    n_bars, stop = 200, int(rng.integers(20, 180))
    label_end = np.minimum(np.arange(n_bars) + rng.integers(1, 30, n_bars), n_bars - 1)
    rows = np.flatnonzero(rng.random(n_bars - 1) < 0.8)
    opened = pd.date_range("2024-01-01", periods=n_bars + 1, freq="h")
    # Half open in time: what a label sees of its last bar ends where the next one begins.
    times = (opened[:-1], opened[label_end + 1])

    ours = split_training_part(rows, label_end, stop)

    part = purgedcv.purge(rows[rows < stop], np.arange(stop, n_bars), *times)
    earlier = part[: len(part) - len(ours.validation)]
    assert ours.validation.tolist() == part[len(earlier) :].tolist()
    assert ours.fitted.tolist() == purgedcv.purge(earlier, ours.validation, *times).tolist()
    assert ours.purged_before_test == (rows < stop).sum() - len(part)
