"""Real files that are not part of the project: each must import with the right flags."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from importing import import_file

from ktrdr.market.store import BarStore

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the test data folder {SHARED} is absent")


def import_shared(store: BarStore, file: str, symbol: str, timeframe: str, **flags):
    return import_file(store, SHARED / f"{file}.parquet", symbol=symbol, timeframe=timeframe, **flags)


@pytest.mark.parametrize(
    ("file", "symbol", "timeframe", "flags", "calendar", "asset_class", "missing_share", "extra"),
    [
        ("EURUSD_1h", "EURUSD", "1h", {"price_side": "mid"}, "fx", "fx", 0.01, 0),
        ("GBPUSD_1h", "GBPUSD", "1h", {"price_side": "bid"}, "fx", "fx", 0.01, 1),  # one tick at a Friday's close
        ("SPY_1h", "SPY", "1h", {}, "XNYS", "equity", 0.001, 47),  # late prints of half days
        ("GOOG_1d", "GOOG", "1d", {}, "XNYS", "equity", 0, 0),
        ("SPX_1d", "SPX", "1d", {}, "XNYS", "equity", 0, 0),
        ("BTCUSD_1h", "BTCUSD", "1h", {}, "24x7", "crypto", 0, 0),
        ("BTCUSD_1d", "BTCUSD", "1d", {}, "24x7", "crypto", 0, 0),
    ],
)
def test_real_files_import_and_their_calendars_are_found(
    store, file, symbol, timeframe, flags, calendar, asset_class, missing_share, extra
):
    outcome = import_shared(store, file, symbol, timeframe, **flags)
    assert (outcome.series.calendar, outcome.series.asset_class) == (calendar, asset_class)
    assert outcome.quality.extra == extra
    assert not outcome.quality.is_serious
    assert outcome.quality.missing <= missing_share * outcome.quality.bars
    bars = store.load_research(symbol, timeframe)
    source = pl.read_parquet(SHARED / f"{file}.parquet")
    np.testing.assert_array_equal(bars.close, source["close"].to_numpy()[: len(bars)])
    assert 0.7 <= len(bars) / len(source) <= 0.8 or symbol == "BTCUSD"  # two years of bitcoin: one of them sealed
    assert (np.diff(bars.known_at) >= 0).all()
    assert (bars.known_at > bars.timestamp).all()
    assert (bars.known_at <= bars.timestamp + 86_400_000).all()
    assert (np.diff(bars.session_day) >= 0).all()


def test_the_quoted_spread_becomes_a_half_spread_per_bar(store):
    import_shared(store, "EURUSD_1h", "EURUSD", "1h", price_side="mid")
    bars = store.load_research("EURUSD", "1h")
    source = pl.read_parquet(SHARED / "EURUSD_1h.parquet").head(len(bars))
    assert bars.half_spread_bps is not None
    price = bars.close * bars.half_spread_bps / 10_000 * 2
    np.testing.assert_allclose(price, source["spread_close"].to_numpy(), rtol=1e-12)


def test_two_timeframes_of_bitcoin_share_their_sealed_date(store):
    hours = import_shared(store, "BTCUSD_1h", "BTCUSD", "1h").series
    days = import_shared(store, "BTCUSD_1d", "BTCUSD", "1d").series
    assert hours.sealed_from == days.sealed_from
    assert days.last < days.sealed_from


def test_the_first_half_hour_of_spy_is_known_at_ten_new_york(store):
    import_shared(store, "SPY_1h", "SPY", "1h")
    bars = store.load_research("SPY", "1h")
    known = pl.Series(bars.known_at).cast(pl.Datetime("ms", "UTC")).dt.convert_time_zone("America/New_York")
    first_of_day = np.flatnonzero(np.diff(bars.session_day, prepend=-1))
    times = known[first_of_day].dt.strftime("%H:%M").value_counts(sort=True)
    assert times.row(0)[0] == "10:00"
    assert times.row(0)[1] >= len(first_of_day) - 2  # a day that opened late


def test_a_longer_history_replaces_the_sample_and_keeps_its_sealed_date(store):
    sample = import_shared(store, "EURUSD_1h_2017_ask_volume", "EURUSD", "1h", price_side="ask").series
    outcome = import_shared(store, "EURUSD_1h", "EURUSD", "1h", price_side="mid", replace=True)
    assert outcome.series.sealed_from == sample.sealed_from
    assert (outcome.series.price_side, outcome.series.has_volume) == ("mid", False)
    assert outcome.series.n_bars > 60_000


def test_unadjusted_splits_are_pointed_out_and_adjusted_on_request(store):
    raw = import_shared(store, "AAPL_1d_raw", "RAW", "1d")
    assert any("2 split(s), the first on 2000-06-21" in notice for notice in raw.notices)
    import_shared(store, "AAPL_1d_raw", "AAPL", "1d", adjust=True)
    worst = [np.diff(np.log(store.load_research(symbol, "1d").close))[77:80].min() for symbol in ("RAW", "AAPL")]
    assert worst[0] < np.log(0.6) < np.log(0.9) < worst[1]


def plant(kind: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Put one fault of a kind into real bars."""
    at, prices = pl.int_range(pl.len()), ("open", "high", "low", "close")

    def scale(rows: pl.Expr, factor: float) -> pl.DataFrame:
        return frame.with_columns(pl.when(rows).then(pl.col(name) * factor).otherwise(name) for name in prices)

    match kind:
        case "clock_drift":  # a broker that is an hour late from one summer on
            late = pl.col("timestamp") >= pl.datetime(2016, 3, 14, time_zone="UTC")
            shifted = pl.col("timestamp") + pl.duration(hours=1)
            return frame.with_columns(timestamp=pl.when(late).then(shifted).otherwise("timestamp"))
        case "spike":
            return scale(at == 5000, 1.2)
        case "scale_change":
            return scale(at < 5000, 100.0)
        case "close_only":
            return frame.with_columns(pl.col("close").alias(name) for name in prices)
        case "bodiless":
            return frame.with_columns(open="close", high=pl.max_horizontal("high", "close")).with_columns(
                low=pl.min_horizontal("low", "close")
            )
        case "gaps":
            return frame.filter(at % 9 > 0)
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["clock_drift", "spike", "scale_change", "close_only", "bodiless", "gaps"])
def test_each_serious_kind_is_found_where_it_is_planted_into_real_bars(kind, store, tmp_path):
    frame = plant(kind, pl.read_parquet(SHARED / "GBPUSD_1h.parquet").head(20_000))
    frame.write_parquet(tmp_path / "planted.parquet")
    outcome = import_file(
        store, tmp_path / "planted.parquet", symbol="GBPUSD", timeframe="1h", price_side="bid", calendar="fx"
    )
    serious = {finding.kind for finding in outcome.quality.findings if finding.severity == "serious"}
    assert serious == {kind}
