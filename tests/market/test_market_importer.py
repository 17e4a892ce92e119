from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from importing import import_file
from sealed_reading import read_sealed

from ktrdr.errors import ImportRefused, InvalidInput, NotFound
from ktrdr.market.merge import Change
from ktrdr.market.store import BarStore

EURUSD = {"symbol": "EURUSD", "timeframe": "1h"}


def test_research_and_sealed_bars_are_together_the_bars_of_the_file(store, fx_hours, write):
    frame = fx_hours(1200)
    outcome = import_file(store, write("bars.parquet", frame), price_side="bid", **EURUSD)
    research, sealed = store.load_research("EURUSD", "1h"), read_sealed(store, "EURUSD", "1h")
    assert len(research) == outcome.series.n_bars
    assert len(research) + len(sealed) == 1200
    assert 250 <= len(sealed) < 250 + 24  # whole sessions
    cut = len(research)
    for name, column in research.prices().items():
        np.testing.assert_array_equal(column, frame[name].to_numpy()[:cut])
        np.testing.assert_array_equal(sealed[name].to_numpy(), frame[name].to_numpy()[cut:])
    np.testing.assert_array_equal(research.timestamp, frame["timestamp"].dt.epoch("ms").to_numpy()[:cut])
    assert sealed["session_day"].min() == outcome.series.sealed_from.date()
    assert date(1970, 1, 1) + timedelta(days=int(research.session_day[-1])) < outcome.series.sealed_from.date()
    assert research.known_at[-1] <= outcome.series.sealed_from.timestamp() * 1000
    assert any("calendar fx: inferred from" in notice for notice in outcome.notices)


def test_nothing_that_research_sees_depends_on_a_sealed_bar(tmp_path, fx_hours, write):
    frame = fx_hours(1200)
    import_file(BarStore(tmp_path / "plain"), write("bars.parquet", frame), **EURUSD)
    is_sealed = pl.int_range(pl.len()) >= BarStore(tmp_path / "plain").series("EURUSD", "1h").n_bars
    seen = []
    for name, price_factor, volume_factor in (("same", 1.0, 1.0), ("tripled", 3.0, 2.0), ("no volume", 1.0, 0.0)):
        factors = {**dict.fromkeys(("open", "high", "low", "close"), price_factor), "volume": volume_factor}
        changed = frame.with_columns(
            pl.when(is_sealed).then(pl.col(column) * factor).otherwise(pl.col(column))
            for column, factor in factors.items()
        )
        store = BarStore(tmp_path / name)
        outcome = import_file(store, write("bars.parquet", changed), **EURUSD)
        files = {
            str(path.relative_to(store.data_dir)): path.read_bytes()
            for path in store.data_dir.rglob("*")
            if path.is_file() and path.parent.name != "sealed"
        }
        seen.append((outcome, files))
    assert len(seen[0][1]) == 2  # the sidecar and the snapshot
    assert seen[0] == seen[1] == seen[2]


def test_csv_and_parquet_of_the_same_bars_are_the_same_snapshot(tmp_path, fx_hours, write):
    frame = fx_hours(600)
    snapshots = set()
    for name in ("bars.csv", "bars.parquet"):
        outcome = import_file(BarStore(tmp_path / f"data of {name}"), write(name, frame), **EURUSD)
        snapshots.add(outcome.series.snapshot)
    naive = frame.with_columns(pl.col("timestamp").dt.convert_time_zone("Europe/Athens").dt.replace_time_zone(None))
    path = write("naive.parquet", naive)
    outcome = import_file(BarStore(tmp_path / "athens"), path, timezone="Europe/Athens", **EURUSD)
    snapshots.add(outcome.series.snapshot)
    assert len(snapshots) == 1


def test_the_same_file_again_changes_nothing(store, tree, fx_hours, write):
    path = write("bars.parquet", fx_hours())
    first = import_file(store, path, price_side="bid", **EURUSD)
    before = tree()
    again = import_file(store, path, **EURUSD)
    assert (first.change, again.change) == (Change.CREATED, Change.UNCHANGED)
    assert again.series == first.series  # what was said once is kept
    assert tree() == before


def test_appended_bars_are_sealed_and_research_stays_byte_for_byte(store, fx_hours, write):
    frame = fx_hours(1500)
    first = import_file(store, write("first.parquet", frame.head(1200)), **EURUSD).series
    sidecar = (store.data_dir / "EURUSD/1h/series.json").read_bytes()
    outcome = import_file(store, write("later.csv", frame.slice(1190)), **EURUSD)
    assert outcome.change is Change.UPDATED
    assert outcome.series == first
    assert (store.data_dir / "EURUSD/1h/series.json").read_bytes() == sidecar
    import_file(store, write("whole.parquet", frame), **EURUSD)
    assert store.series("EURUSD", "1h").snapshot == first.snapshot
    sealed = read_sealed(store, "EURUSD", "1h")
    np.testing.assert_array_equal(sealed["close"].to_numpy(), frame["close"].to_numpy()[first.n_bars :])


def test_appending_piece_by_piece_seals_the_same_bars_as_importing_them_at_once(tmp_path, fx_hours, write):
    frame = fx_hours(1500)
    pieces, whole = BarStore(tmp_path / "pieces"), BarStore(tmp_path / "whole")
    for store, cuts in ((pieces, [(0, 1000), (990, 200), (1190, 310)]), (whole, [(0, 1000), (0, 1500)])):
        for start, length in cuts:
            import_file(store, write("piece.parquet", frame.slice(start, length)), **EURUSD)
    assert pieces.series("EURUSD", "1h").snapshot == whole.series("EURUSD", "1h").snapshot
    assert read_sealed(pieces, "EURUSD", "1h").equals(read_sealed(whole, "EURUSD", "1h"))


def test_corrected_bars_make_a_new_snapshot_and_the_old_one_stays_readable(store, fx_hours, write):
    frame = fx_hours()
    first = import_file(store, write("bars.parquet", frame), **EURUSD).series
    old = store.load_research("EURUSD", "1h")
    part = frame.slice(100, 50).with_columns(high=pl.col("high") * 1.001)
    with pytest.raises(ImportRefused, match=r"50 bars differ .*: row 1 \(.*stored high .*, here .*and 47 more"):
        import_file(store, write("fix.parquet", part), **EURUSD)
    assert store.series("EURUSD", "1h") == first
    outcome = import_file(store, write("fix.parquet", part), replace=True, **EURUSD)
    assert outcome.series.snapshot != first.snapshot
    assert outcome.series.source == "bars.parquet; fix.parquet"
    assert any("0 added, 50 changed, 0 removed" in notice for notice in outcome.notices)
    new = store.load_research("EURUSD", "1h")
    np.testing.assert_array_equal(new.high[100:150], old.high[100:150] * 1.001)
    np.testing.assert_array_equal(np.delete(new.high, range(100, 150)), np.delete(old.high, range(100, 150)))
    kept = store.load_research("EURUSD", "1h", snapshot=first.snapshot)
    np.testing.assert_array_equal(kept.high, old.high)
    sealed = read_sealed(store, "EURUSD", "1h")
    np.testing.assert_array_equal(sealed["close"].to_numpy(), frame["close"].to_numpy()[first.n_bars :])


def test_an_older_history_goes_to_research_and_the_sealed_date_stays(store, fx_hours, write):
    whole = fx_hours(2000)
    first = import_file(store, write("late.parquet", whole.slice(800)), **EURUSD).series
    outcome = import_file(store, write("early.parquet", whole.head(900)), **EURUSD)
    assert outcome.series.n_bars == first.n_bars + 800
    assert outcome.series.sealed_from == first.sealed_from


def test_every_timeframe_of_an_instrument_is_sealed_from_the_same_session(store, fx_hours, write):
    hours = fx_hours(2400)
    sealed_from = import_file(store, write("hours.parquet", hours), **EURUSD).series.sealed_from
    halves = pl.concat([hours, hours.with_columns(pl.col("timestamp").dt.offset_by("30m"))]).sort("timestamp")
    series = import_file(store, write("halves.parquet", halves), symbol="EURUSD", timeframe="30m").series
    assert series.sealed_from == sealed_from
    bars = store.load_research("EURUSD", "30m")
    assert bars.session_day.max() == store.load_research("EURUSD", "1h").session_day.max()
    late = hours.filter(pl.col("timestamp") > sealed_from)
    quarters = [late.with_columns(pl.col("timestamp").dt.offset_by(f"{minutes}m")) for minutes in (0, 15, 30, 45)]
    path = write("late.parquet", pl.concat(quarters).sort("timestamp"))
    with pytest.raises(ImportRefused, match="sealed, by its first import, in every timeframe"):
        import_file(store, path, symbol="EURUSD", timeframe="15m")


def test_bars_of_another_kind_cannot_be_joined_to_a_part_of_a_series(store, tree, fx_hours, write):
    frame = fx_hours()
    import_file(store, write("bars.parquet", frame), price_side="bid", **EURUSD)
    before = tree()
    piece = frame.slice(1100)
    with pytest.raises(ImportRefused, match="differs in its price side: need 'bid', was 'ask'"):
        import_file(store, write("ask.parquet", piece), price_side="ask", **EURUSD)
    with pytest.raises(ImportRefused, match="differs in its volume: need one, was none"):
        import_file(store, write("none.parquet", piece.drop("volume")), **EURUSD)
    with pytest.raises(ImportRefused, match="it cannot become 24x7"):
        import_file(store, write("bars.parquet", frame), calendar="24x7", **EURUSD)
    assert tree() == before
    ask = write("ask.parquet", frame.drop("volume"))
    with pytest.raises(ImportRefused, match="differ from the stored ones: row 1 "):
        import_file(store, ask, price_side="ask", **EURUSD)
    replaced = import_file(store, ask, price_side="ask", replace=True, **EURUSD).series
    assert (replaced.price_side, replaced.has_volume) == ("ask", False)


def test_adjusted_prices_are_joined_only_where_they_share_their_base(store, tree, fx_hours, write):
    frame = fx_hours().with_columns(adj_close=pl.col("close") * pl.linear_space(0.5, 0.9, 1200))
    whole = import_file(store, write("bars.parquet", frame), adjust=True, **EURUSD).series
    adjusted, raw = store.load_research("EURUSD", "1h").close, frame["close"].to_numpy()[: whole.n_bars]
    truth = frame["adj_close"].to_numpy()[: whole.n_bars]
    np.testing.assert_allclose(adjusted / adjusted[0], truth / truth[0])
    assert adjusted[-1] == raw[-1]
    before = tree()
    with pytest.raises(ImportRefused, match="at which they are rebased"):
        import_file(store, write("early.parquet", frame.head(600)), adjust=True, **EURUSD)
    assert tree() == before
    # A later download knows of a further dividend: every adj_close is scaled, no research price moves.
    later = frame.slice(300).with_columns(adj_close=pl.col("adj_close") * 0.5)
    assert import_file(store, write("bars.parquet", later), adjust=True, **EURUSD).series == whole


def test_a_spread_column_becomes_half_spread_only_of_mid_prices(tmp_path, fx_hours, write):
    path = write("mid.parquet", fx_hours().with_columns(spread_close=pl.col("close") * 0.0002, adj_close="close"))
    mid = BarStore(tmp_path / "mid")
    outcome = import_file(mid, path, price_side="mid", **EURUSD)
    spread = mid.load_research("EURUSD", "1h").half_spread_bps
    assert spread is not None
    np.testing.assert_allclose(spread, 1.0)
    assert any("adj_close not applied" in notice for notice in outcome.notices)
    bid = BarStore(tmp_path / "bid")
    outcome = import_file(bid, path, price_side="bid", **EURUSD)
    assert bid.load_research("EURUSD", "1h").half_spread_bps is None
    assert any("spread column not used" in notice for notice in outcome.notices)


def test_what_was_dropped_or_taken_for_granted_is_said(store, fx_hours, write):
    frame = fx_hours().with_columns(volume=pl.lit(0.0), Note=pl.lit("x")).rename({"close": "Close"})
    outcome = import_file(store, write("odd.parquet", frame), symbol="eurusd", timeframe="1h")
    said = "\n".join(outcome.notices)
    for words in (
        "'eurusd' stored as EURUSD", "columns not used: note", "volume is zero in every research bar",
        "calendar fx: inferred", "price side mid: assumed", "are sealed",
    ):  # fmt: skip
        assert words in said
    assert not outcome.series.has_volume
    assert np.isnan(store.load_research("EURUSD", "1h").volume).all()


def test_daily_bars_may_be_labelled_by_date_or_by_midnight_anywhere(tmp_path, write):
    days = pl.date_range(date(2015, 1, 1), date(2016, 12, 31), eager=True)
    rows = [f"{day},2,3,1,2,{i + 1}" for i, day in enumerate(days)]
    texts = {
        "date.csv": rows,
        "midnight.csv": [row.replace(",", " 00:00:00,", 1) for row in rows],
        "offset.csv": [row.replace(",", "T00:00:00-05:00,", 1) for row in rows],
        "utc.csv": [row.replace(",", "T05:00:00Z,", 1) for row in rows],
    }
    snapshots = set()
    for name, lines in texts.items():
        path = write(name, "Date,Open,High,Low,Close,Volume\n" + "\n".join(lines) + "\n")
        zone = "Etc/GMT+5" if name == "utc.csv" else None
        outcome = import_file(BarStore(tmp_path / f"{name}-store"), path, symbol="X", timeframe="1d", timezone=zone)
        snapshots.add(outcome.series.snapshot)
        assert outcome.series.calendar == "24x7"
    assert len(snapshots) == 1


def test_only_a_last_bar_may_be_unfinished_and_it_is_left_out(store, fx_hours, write):
    frame = fx_hours()
    last = frame["timestamp"][-1]
    path = write("bars.parquet", frame)
    with pytest.raises(ImportRefused, match=r"row 1200 .*begins in the future"):
        import_file(store, path, now=last - timedelta(minutes=1), **EURUSD)
    outcome = import_file(store, path, now=last + timedelta(minutes=59), **EURUSD)
    assert any("row 1200" in notice and "not complete yet: left out" in notice for notice in outcome.notices)
    assert import_file(store, path, now=last + timedelta(minutes=60), **EURUSD).change is Change.UPDATED


@pytest.mark.parametrize("symbol", ["", "../x", "A/../B", "/A", "A/", "A\\B", "1INCH", ".A", "Ä", "A" * 33, "A\n"])
def test_a_symbol_can_never_name_another_folder(symbol, store, fx_hours, write):
    path = write("bars.parquet", fx_hours(400))
    with pytest.raises(InvalidInput, match="need a symbol"):
        import_file(store, path, symbol=symbol, timeframe="1h")


def test_wrong_options_are_named(store, tmp_path, fx_hours, write):
    path = write("bars.parquet", fx_hours(400))
    for options, message in (
        ({"timeframe": "2h"}, "need a timeframe"),
        ({"timezone": "broker time"}, "need an IANA time zone"),
        ({"calendar": "MARS"}, "need a calendar"),
        ({"price_side": "last"}, "need a price side out of bid, ask, mid, trade"),
    ):
        with pytest.raises(InvalidInput, match=message):
            import_file(store, path, **{**EURUSD, **options})
    with pytest.raises(ImportRefused, match="No such file"):
        import_file(store, tmp_path / "absent.csv", **EURUSD)
    with pytest.raises(ImportRefused, match=r"need a \.csv, \.tsv, \.txt or \.parquet file"):
        import_file(store, Path(__file__), **EURUSD)


def test_sealed_bars_that_differ_are_refused_by_row_and_so_are_stored_ones_that_a_file_has_not(
    store, tree, fx_hours, write
):
    frame = fx_hours()
    import_file(store, write("bars.parquet", frame), **EURUSD)
    before, at = tree(), pl.int_range(pl.len())
    changed = frame.with_columns(close=pl.when(at == 1150).then(pl.col("open")).otherwise("close"))
    with pytest.raises(ImportRefused, match=r"1 bars differ .*: row 1151 \(.*another bar is stored there, sealed"):
        import_file(store, write("sealed.parquet", changed), **EURUSD)
    for holes in ([40, 41], [1100]):
        with pytest.raises(ImportRefused, match=rf"{len(holes)} bars are stored that it has not.*--replace"):
            import_file(store, write("holes.parquet", frame.filter(~at.is_in(holes))), **EURUSD)
    assert tree() == before
    import_file(store, write("sealed.parquet", changed), replace=True, **EURUSD)
    assert read_sealed(store, "EURUSD", "1h")["close"].to_list()[-50] == frame["open"][1150]


def test_every_spelling_of_a_symbol_is_one_instrument(store, fx_hours, write):
    frame = fx_hours(2400)
    first = import_file(store, write("bars.parquet", frame), **EURUSD).series
    for spelling in ("EUR/USD", "eurusd", "EURUSD=X", "EUR.USD", "EUR-USD", "eur_usd"):
        outcome = import_file(store, write("bars.parquet", frame), symbol=spelling, timeframe="1h")
        assert (outcome.series, outcome.change) == (first, Change.UNCHANGED)
        assert outcome.notices[0] == f"symbol {spelling!r} stored as EURUSD"
    halves = pl.concat([frame, frame.with_columns(pl.col("timestamp").dt.offset_by("30m"))]).sort("timestamp")
    outcome = import_file(store, write("halves.parquet", halves), symbol="EUR/USD", timeframe="30m")
    assert (outcome.series.symbol, outcome.series.sealed_from) == ("EURUSD", first.sealed_from)


def test_an_alias_shares_the_sealed_date_of_its_instrument(store, tree, fx_hours, write):
    frame = fx_hours(2400)
    root = import_file(store, write("bars.parquet", frame), **EURUSD).series
    other = write("other.parquet", fx_hours(2400, seed=2, start=datetime(2020, 12, 20, 22, tzinfo=UTC)))
    alias = import_file(store, other, symbol="FIBER", timeframe="1h", calendar="fx", alias_of="EUR/USD").series
    assert (alias.symbol, alias.alias_of, alias.sealed_from) == ("FIBER", "EURUSD", root.sealed_from)
    third = import_file(store, other, symbol="EURO", timeframe="1h", calendar="fx", alias_of="FIBER").series
    assert third.alias_of == "EURUSD"
    alone = import_file(store, other, symbol="ALONE", timeframe="1h", calendar="fx").series
    assert alone.sealed_from != root.sealed_from
    before = tree()
    with pytest.raises(ImportRefused, match="is stored by itself and sealed from"):
        import_file(store, other, symbol="ALONE", timeframe="1h", alias_of="EURUSD")
    with pytest.raises(NotFound, match="no instrument 'GBPUSD' is stored; there are"):
        import_file(store, other, symbol="CABLE", timeframe="1h", alias_of="GBPUSD")
    assert tree() == before
