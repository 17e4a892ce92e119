"""A good file changed at random never becomes wrong bars without a word."""

import re
import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
from faulty_files import BTC, GOOD, HEADER, ROWS, join
from hypothesis import given, settings
from hypothesis import strategies as st
from importing import import_file
from sealed_reading import read_all

from ktrdr.errors import ImportRefused
from ktrdr.market.store import BarStore

PRICES = ("open", "high", "low", "close")
N_BARS = len(ROWS)
# What is said of the good file too.
USUAL = re.compile(r"calendar 24x7: inferred|price side trade: assumed|bars of sessions from .* are sealed")
row_numbers = st.integers(1, N_BARS - 2)
spans = st.tuples(row_numbers, row_numbers).map(sorted)
factors = st.sampled_from([1e-5, 0.01, 0.1, 0.5, 2.0, 10.0, 1000.0])


class Changed:
    """A changed file, shown by how it was changed: its text is too long."""

    def __init__(self, how: str, text: str) -> None:
        self.how, self.text = how, text

    def __repr__(self) -> str:
        return self.how


def as_rows(frame: pl.DataFrame) -> list[str]:
    text = frame.with_columns(pl.col("timestamp").dt.strftime("%Y-%m-%d %H:%M:%S+00:00")).write_csv()
    return text.splitlines()[1:]


@st.composite
def dropped(draw):
    out = draw(st.sets(st.integers(0, N_BARS - 1), min_size=1, max_size=60))
    return Changed(f"without {sorted(out)}", join([HEADER, *[row for i, row in enumerate(ROWS) if i not in out]]))


@st.composite
def duplicated(draw):
    rows = list(ROWS)
    for i in draw(st.lists(st.integers(0, N_BARS - 1), min_size=1, max_size=5)):
        copy = ROWS[i] if draw(st.booleans()) else ROWS[i].rpartition(",")[0] + ",99999"
        rows.insert(draw(st.integers(0, N_BARS)), copy)
    return Changed("duplicated", join([HEADER, *rows]))


@st.composite
def shuffled(draw):
    rows = list(ROWS)
    np.random.default_rng(draw(st.integers(0, 99))).shuffle(rows)
    return Changed("shuffled", join([HEADER, *rows]))


@st.composite
def scaled(draw):
    first, last = draw(spans)
    if draw(st.booleans()):
        last = N_BARS  # a unit that changes for good
    names = PRICES if draw(st.booleans()) else [draw(st.sampled_from(PRICES))]
    inside = pl.int_range(pl.len()).is_between(first, last)
    factor = draw(factors)
    changed = GOOD.with_columns(**{name: pl.when(inside).then(pl.col(name) * factor).otherwise(name) for name in names})
    return Changed(f"{names} of {first}..{last} x {factor}", join([HEADER, *as_rows(changed)]))


@st.composite
def shifted(draw):
    first, _ = draw(spans)
    inside = pl.int_range(pl.len()) >= first
    if draw(st.booleans()):
        minutes = draw(st.sampled_from([-10_080, -180, -60, -7, 15, 60, 240, 1440]))
        moved = GOOD.with_columns(
            timestamp=pl.when(inside).then(pl.col("timestamp") + pl.duration(minutes=minutes)).otherwise("timestamp")
        )
        how = f"{minutes} minutes"
    else:
        name = draw(st.sampled_from(PRICES))
        inside = pl.int_range(pl.len()) >= min(first, N_BARS - 60)  # a few closes that slipped are possible bars
        moved = GOOD.with_columns(pl.when(inside).then(pl.col(name).shift(1)).otherwise(name).alias(name))
        how = f"{name} by a row"
    return Changed(f"{how} from {first} on", join([HEADER, *as_rows(moved)]))


@st.composite
def truncated(draw):
    text = join([HEADER, *ROWS])
    kept = draw(st.integers(len(text) // 2, len(text) - 1))
    return Changed(f"{kept} characters", text[:kept])


@settings(max_examples=150, deadline=None)
@given(changed=st.one_of(dropped(), duplicated(), shuffled(), scaled(), shifted(), truncated()))
def test_a_changed_file_is_refused_or_told_or_its_bars_are_the_good_ones(changed):
    with tempfile.TemporaryDirectory() as folder:
        path, store = Path(folder) / "changed.csv", BarStore(Path(folder) / "data")
        path.write_text(changed.text)
        try:
            outcome = import_file(store, path, **BTC)
        except ImportRefused:
            assert not store.data_dir.exists()
            return
        stored = read_all(store, "BTCUSD", "1h")[: outcome.series.n_bars]  # nothing is told of the others
    told = [notice for notice in outcome.notices if USUAL.match(notice) is None]
    paired = stored.join(GOOD, on="timestamp", how="left", suffix="_good")
    are_good = all(np.array_equal(paired[name], paired[f"{name}_good"]) for name in stored.columns[1:])
    assert are_good or told
    hours = (stored["timestamp"][-1] - stored["timestamp"][0]) // timedelta(hours=1)
    assert told or len(stored) == hours + 1  # a file that begins later or ends earlier is a shorter file
