"""What the exam reads is the file that was imported, joined to research without a seam."""

import json
from datetime import date

import numpy as np
import polars as pl
import pytest
from importing import import_file

from ktrdr.errors import OperationFailed, WorkspaceUnusable
from ktrdr.market.adjust import adjust_series
from ktrdr.market.sealed import load_with_sealed

COLUMNS = ["open", "high", "low", "close", "volume"]


@pytest.fixture
def raw(write):
    """Two thousand days of a market that never closes, with a split and dividends among the sealed ones."""
    rng = np.random.default_rng(4)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 2000)))
    opened = np.concatenate([[100.0], close[:-1]])
    days = pl.date_range(date(2015, 1, 1), date(2020, 6, 22), eager=True)
    true = pl.DataFrame(
        {
            "timestamp": days.cast(pl.Datetime("us", "UTC")),
            "open": opened,
            "high": np.maximum(opened, close) * 1.001,
            "low": np.minimum(opened, close) * 0.999,
            "close": close,
            "volume": rng.integers(1000, 9000, 2000).astype(float),
        }
    )
    return true


def test_research_and_all_parts_of_sealed_bars_are_the_imported_series(store, write, raw):
    import_file(store, write("whole.parquet", raw[:1900]), symbol="AAA", timeframe="1d", calendar="24x7")
    import_file(store, write("more.parquet", raw[1850:]), symbol="AAA", timeframe="1d", calendar="24x7")
    corrected = raw[1700:1750].with_columns(close=pl.col("high"))
    import_file(store, write("fixed.parquet", corrected), symbol="AAA", timeframe="1d", calendar="24x7", replace=True)
    expected = pl.concat([raw[:1700], corrected, raw[1750:]])
    snapshot = store.series("AAA", "1d").snapshot
    bars, first = load_with_sealed(store, "AAA", "1d", snapshot=snapshot)
    assert first == len(store.load_research("AAA", "1d")) == 1520
    assert np.array_equal(bars.timestamp, expected["timestamp"].dt.epoch("ms").to_numpy())
    for name in COLUMNS:
        assert np.array_equal(getattr(bars, name), expected[name].to_numpy()), name
    part = next((store.series_folder("AAA", bars.timeframe) / "sealed").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-40])
    with pytest.raises(WorkspaceUnusable, match="Restore it from a backup"):
        load_with_sealed(store, "AAA", "1d", snapshot=snapshot)


def test_splits_and_dividends_of_the_sealed_years_leave_no_jump(store, write, raw):
    """Holding one share from the last research bar, splits kept and dividends put back into it, is the true price."""
    split_row, dividend_row = 1600, 1800
    factor = np.ones(2000)  # what a share as traded is worth in shares of the last research bar
    factor[split_row:] *= 4
    paid = 0.5
    before = raw["close"][dividend_row - 1] / 4
    traded = raw.with_columns(pl.col("volume") * pl.Series(factor))
    for name in COLUMNS[:4]:
        values = raw[name].to_numpy() / factor
        values[dividend_row:] *= 1 - paid / before  # the price falls by what was paid
        traded = traded.with_columns(pl.Series(name, values))
    import_file(store, write("traded.parquet", traded), symbol="BBB", timeframe="1d", calendar="24x7")
    actions = f"date,split,dividend\n{raw['timestamp'][split_row]:%Y-%m-%d},4,0\n"
    actions += f"{raw['timestamp'][dividend_row]:%Y-%m-%d},1,{paid}\n"
    adjust_series(store, "BBB", "1d", write("actions.csv", actions))
    bars, first = load_with_sealed(store, "BBB", "1d", snapshot=store.series("BBB", "1d").snapshot)
    assert first == split_row  # the hardest place: the bar before it is a research bar
    for name in COLUMNS:
        assert getattr(bars, name) == pytest.approx(raw[name].to_numpy(), rel=1e-12), name


def test_an_action_that_does_not_fit_tells_no_sealed_price(store, write, raw):
    import_file(store, write("raw.parquet", raw), symbol="CCC", timeframe="1d", calendar="24x7")
    adjust_series(store, "CCC", "1d", write("actions.csv", f"date,split\n{raw['timestamp'][1700]:%Y-%m-%d},7\n"))
    with pytest.raises(OperationFailed) as failure:
        load_with_sealed(store, "CCC", "1d", snapshot=store.series("CCC", "1d").snapshot)
    assert failure.value.reason == "sealed_unusable"
    assert not any(character.isdigit() for character in failure.value.message.replace("1d", ""))
    manifest = json.loads(next((store.data_dir / "CCC" / "1d" / "sealed").glob("*.json")).read_text())
    assert manifest["parts"]
