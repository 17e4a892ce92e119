"""Several symbols in one training: every split worked out again by the clock alone, and the order of symbols."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from training_samples import HOUR_MS, START_MS, bars_from_returns, ignore_progress, random_walk, strategy

from ktrdr.errors import OperationFailed
from ktrdr.features.inputs import compute_inputs
from ktrdr.labels.label import make_labels
from ktrdr.training.artifacts import write_training
from ktrdr.training.pool import compute_pool, gather_rows
from ktrdr.training.predictions import read_all_predictions
from ktrdr.training.purging import find_split_leak
from ktrdr.training.rows import usable_rows
from ktrdr.training.splits import block_bounds, split_training_part, walk_forward
from ktrdr.training.train import train_strategy

WEEK, DAY = 168, 24


def on_calendar(symbol, seed, *, hours=range(24), days=7, minute=0, n_weeks=12, first_week=0, gaps=0.0):
    """Hourly bars of the open hours of a week, some of them missing."""
    rng = np.random.default_rng(seed)
    hour = np.arange(first_week * WEEK, (first_week + n_weeks) * WEEK)
    is_open = np.isin(hour % DAY, list(hours)) & (hour // DAY % 7 < days) & (rng.random(len(hour)) >= gaps)
    opened = START_MS // (7 * DAY * HOUR_MS) * 7 * DAY * HOUR_MS + hour[is_open] * HOUR_MS + minute * 60_000
    bars = bars_from_returns(rng.standard_normal(len(opened)) * 0.002, opened)
    return replace(bars, symbol=symbol, snapshot=f"{seed:064x}")


def drawn(rng):
    stock = {"hours": range(13, 21), "days": 5, "minute": 30}
    kinds = [stock, {"days": 5}, {}, {"gaps": 0.2}, {"hours": range(0, 24, 2)}]
    return [
        on_calendar(
            f"S{n}", int(rng.integers(2**31)), first_week=int(rng.integers(0, 3)), n_weeks=int(rng.integers(30, 50)),
            **kinds[rng.integers(len(kinds))],
        )
        for n in range(int(rng.integers(2, 5)))
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_every_fold_is_what_the_clock_says_on_random_calendars(seed):
    rng = np.random.default_rng(seed)
    series = drawn(rng)
    label = [{"type": "forward_return", "horizon": int(rng.integers(1, 40))}, {"type": "first_move", "threshold": 3.0}]
    specification = strategy(labels=label[seed % 2])
    pool = compute_pool(specification, series[:: 1 - 2 * (seed % 2)])
    rows, labels, opens = usable_rows(pool.inputs, pool.labels), pool.labels, pool.rows.timestamp
    folds = walk_forward(rows, labels.end, block_bounds(opens, pool.rows.end), timestamp=opens)

    first, last = max(b.timestamp[0] for b in series), min(b.timestamp[-1] for b in series)
    table, settled = {}, 0  # by open and symbol: when the label is known, and the label; 0 where there is none
    for bars in series:
        inputs, own = compute_inputs(specification, bars), make_labels(specification, bars)
        settled = max(settled, bars.timestamp[inputs.first_row])
        for bar, (opened, value, end) in enumerate(zip(bars.timestamp, own.value, own.end, strict=True)):
            if first <= opened <= last:
                ends_inside = value >= 0 and bars.timestamp[end] <= last
                table[int(opened), bars.symbol] = (int(bars.known_at[end]), int(value), bar) if ends_inside else None
    close = max(int(bars.known_at[bars.timestamp <= last][-1]) for bars in series)
    assert [(int(opens[row]), series_of(pool, row)) for row in range(len(opens))] == sorted(table)
    edges = [first + (close - first) * block // 6 for block in range(7)]
    usable = sorted(key for key, found in table.items() if found is not None and key[0] >= settled)
    starts = sorted({opened for opened, _ in table})
    for fold, begin, end in zip(folds, edges[1:6], edges[2:], strict=True):
        test_opens = next(opened for opened in starts if opened >= begin)
        part = [key for key in usable if key[0] < test_opens and table[key][0] <= test_opens]
        at = part[len(part) - len(part) * 15 // 100][0]
        expected = [key for key in part if key[0] < at and table[key][0] <= at], [key for key in part if key[0] >= at]
        found = [
            [(int(opens[row]), series_of(pool, row)) for row in each]
            for each in (fold.training.fitted, fold.training.validation)
        ]
        assert found == [*expected]
        assert min(map(len, found)) > 20
        tested = [key for key in sorted(table) if begin <= key[0] < end]
        assert [(int(opens[row]), series_of(pool, row)) for row in range(fold.test_start, fold.test_stop)] == tested
        values = [table[int(opens[row]), series_of(pool, row)][1] for row in fold.training.fitted]
        assert labels.value[fold.training.fitted].tolist() == values
        assert find_split_leak(
            "a fold", fold.training, label_end=labels.end, first_row=pool.inputs.first_row,
            test_start=fold.test_start, times=pool.times,
        ) is None  # fmt: skip
    final = split_training_part(rows, labels.end, len(opens), timestamp=opens)
    assert final.purged_before_test == 0  # a label that leaves the common window is none


def series_of(pool, row):
    return pool.rows.series[pool.rows.place[row]].symbol


def test_features_in_a_pool_are_those_of_each_symbol_with_all_its_history():
    series = [on_calendar("OLD", 1, n_weeks=9), on_calendar("NEW", 2, first_week=3, hours=range(8, 16))]
    pool = compute_pool(strategy(), series)
    for bars in series:
        alone = compute_inputs(strategy(), bars)
        own = pool.rows.rows_of(["NEW", "OLD"].index(bars.symbol))
        own = own[own >= pool.inputs.first_row]
        assert np.array_equal(pool.inputs.values[own], alone.values[pool.rows.bar[own]])
    assert np.isnan(pool.inputs.values[: pool.inputs.first_row]).all()
    assert np.isfinite(pool.inputs.values[pool.inputs.first_row :]).all()


def test_turned_labels_keep_together_what_symbols_have_in_common():
    series = [on_calendar("A", 1), on_calendar("B", 2), on_calendar("C", 3, hours=range(8, 16), days=5)]
    rows = gather_rows(series)
    span = np.arange(100, len(rows) - 50)
    moments = rows.moment[span].astype(np.float32)
    turned = rows.turn(span, moments, 500)
    opens = np.unique(moments)
    expected = opens[(np.searchsorted(opens, moments) - 500) % len(opens)]
    always_open = rows.place[span] < 2
    assert np.array_equal(turned[always_open], expected[always_open])
    late = expected - turned  # a symbol that was closed then gives its last label before, or the last of all
    assert (late[(late >= 0)] <= 64).all()
    assert (late < 0).mean() < 0.02


def test_the_order_of_symbols_changes_nothing_and_each_has_its_own_predictions(tmp_path):
    series = [on_calendar("BTC", 5, n_weeks=7), on_calendar("ACME", 6, n_weeks=9, hours=range(13, 21), days=5)]
    specification = strategy(market={"symbols": ["BTC", "ACME"], "timeframe": "1h"})
    assert specification == strategy(market={"symbols": ["ACME", "BTC"], "timeframe": "1h"})
    for name, given in (("one", series), ("other", series[::-1])):
        outcome = train_strategy(specification, given, seed=3, on_progress=ignore_progress, n_shifts=2)
        write_training(tmp_path / name, outcome, given)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "other" / file.name).read_bytes(), file.name
    assert outcome.report.snapshots == {"ACME": f"{6:064x}", "BTC": f"{5:064x}"}
    btc, acme = read_all_predictions(tmp_path / "one" / "predictions.parquet", series)
    frame = pl.read_parquet(tmp_path / "one" / "predictions.parquet")
    for bars, found in zip(series, (btc, acme), strict=True):
        own = frame.filter(pl.col("symbol") == bars.symbol)
        assert own["timestamp"].dt.epoch("ms").to_list() == bars.timestamp[found.bar_index].tolist()
        assert own["probability"].to_list() == found.probability.tolist()
        assert set(found.fold.tolist()) == {1, 2, 3, 4, 5}
        # Every bar of the test blocks, no bar after the common window.
        assert (np.diff(found.bar_index) == 1).all()
    with pytest.raises(OperationFailed, match="it holds predictions of ACME too"):
        read_all_predictions(tmp_path / "one" / "predictions.parquet", series[:1])


def test_symbols_that_hardly_overlap_are_refused_with_what_each_covers():
    apart = [on_calendar("EARLY", 1, n_weeks=4), on_calendar("LATER", 2, first_week=3, n_weeks=9, days=5)]
    with pytest.raises(OperationFailed) as refused:
        train_strategy(strategy(), apart, seed=1, on_progress=ignore_progress)
    assert refused.value.reason == "no_common_time"
    last = datetime.fromtimestamp(int(apart[0].timestamp[-1]) / 1000, UTC)
    assert f"EARLY 1h covers 2017-07-13 to {last:%Y-%m-%d}, 168 of its 672 bars" in refused.value.message
    assert "LATER 1h" in refused.value.message
    still = replace(random_walk(900), symbol="STILL", close=np.full(900, 100.0))
    with pytest.raises(OperationFailed, match="closes of STILL 1h are 100"):
        compute_pool(strategy(), [random_walk(900), still])
