import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ktrdr.errors import ImportRefused, InvalidInput
from ktrdr.market.importer import import_file
from ktrdr.market.merge import Change
from ktrdr.market.store import BarStore

EURUSD = {"symbol": "EURUSD", "timeframe": "1h"}


def read_sealed(store: BarStore, symbol: str, timeframe: str) -> pl.DataFrame:
    """Apply the sealed parts in their order, as the vault will."""
    folder = store.data_dir / symbol / timeframe / "sealed"
    snapshot = store.series(symbol, timeframe).snapshot
    manifest = json.loads((folder / f"{snapshot}.json").read_text())
    bars: pl.DataFrame | None = None
    for part in manifest["parts"]:
        new = pl.read_parquet(folder / f"{part['sha256']}.parquet")
        if bars is not None:
            at = pl.col("timestamp").dt.epoch("ms")
            outside = (at < part["replaces_from_ms"]) | (at > part["replaces_to_ms"])
            new = pl.concat([bars.filter(outside), new]).sort("timestamp")
        bars = new
    assert bars is not None
    return bars


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
    outcome = import_file(store, write("fix.parquet", part), **EURUSD)
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
    replaced = import_file(store, write("ask.parquet", frame.drop("volume")), price_side="ask", **EURUSD).series
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


def test_bars_that_are_not_complete_yet_are_refused_when_the_present_is_known(store, fx_hours, write):
    frame = fx_hours()
    last = frame["timestamp"][-1]
    path = write("bars.parquet", frame)
    with pytest.raises(ImportRefused, match=r"row 1200 .* is not complete at"):
        import_file(store, path, now=last + timedelta(minutes=59), **EURUSD)
    import_file(store, path, now=last + timedelta(minutes=60), **EURUSD)


GOOD = [
    f"{datetime(2021, 1, 1, tzinfo=UTC) + timedelta(hours=i):%Y-%m-%d %H:%M:%S}+00:00,10,12,9,11,5" for i in range(900)
]
HEADER = "timestamp,open,high,low,close,volume"


def edit(line: int, text: str) -> str:
    """The good file with one physical line (2 is the first bar) replaced."""
    lines = [HEADER, *GOOD]
    lines[line - 1] = text
    return "\n".join(lines) + "\n"


def bar(line: int, cells: str) -> str:
    return edit(line, GOOD[line - 2].split(",")[0] + "," + cells)


def every(pattern: str, replacement: str) -> str:
    return "\n".join([HEADER, *[re.sub(pattern, replacement, row) for row in GOOD]])


REFUSED = {
    "empty": ("", r"the file is empty"),
    "header only": (HEADER + "\n", "no bars"),
    "html": ("<html>\n<body>404</body>\n</html>\n", "no timestamp column"),
    "no timestamp": (every("^", "").replace("timestamp", "when"), "no timestamp column"),
    "no close": (every("^", "").replace("close", "last"), "no column close"),
    "two closes": (every("^", "").replace("volume", "Close"), "'close' occurs more than once"),
    "semicolons": (every(",", ";").replace(",", ";"), "no timestamp column"),
    "utf-16": ("\n".join([HEADER, *GOOD]).encode("utf-16"), "binary or UTF-16"),
    "latin-1": (edit(4, "Änderung").encode("latin-1"), r"line 4: need UTF-8"),
    "ragged": (bar(5, "10,12,9,11"), r"line 5: need 6 cells .* were 5"),
    "text price": (bar(5, "10,12,9,n/a,5"), r"line 5 .*need a number .* in close, was 'n/a'"),
    "decimal comma": (bar(5, '10,12,9,"11,5",5'), r"line 5 .*was '11,5'"),
    "empty price": (bar(5, "10,12,,11,5"), r"line 5 .*need a number in low, was empty"),
    "nan": (bar(5, "10,nan,9,11,5"), r"line 5 .*need a finite number in high"),
    "infinite": (bar(5, "10,inf,9,11,5"), r"line 5 .*need a finite number in high"),
    "zero": (bar(5, "10,12,0,11,5"), r"line 5 .*above zero in low, was 0\.0"),
    "negative": (bar(5, "10,12,-9,11,5"), r"line 5 .*above zero in low"),
    "high below low": (bar(5, "10,8,9,8,5"), r"line 5 .*high is below the low"),
    "close above high": (bar(5, "10,12,9,13,5"), r"line 5 .*close is above the high"),
    "open below low": (bar(5, "8,12,9,11,5"), r"line 5 .*open is below the low"),
    "negative volume": (bar(5, "10,12,9,11,-5"), r"line 5 .*volume of at least zero"),
    "volume missing once": (bar(5, "10,12,9,11,"), r"line 5 .*volume in every row or in none"),
    "twice": (edit(5, GOOD[2]), r"line 5 .*occurs twice"),
    "unsorted": (edit(5, GOOD[1]), r"line 5 .*older than the one before"),
    "no such day": (edit(5, "2021-02-30 00:00:00+00:00,10,12,9,11,5"), r"line 5 .*no such date"),
    "day first": (edit(5, "01/02/2021 00:00,10,12,9,11,5"), r"line 5 .*every timestamp written as"),
    "epoch": (every(r"^[^,]+", "1609459200"), r"line 2 .*every timestamp written as"),
    "naive": (every(r"\+00:00", ""), r"line 2 .*--timezone UTC"),
    "one naive": (edit(5, GOOD[3].replace("+00:00", "")), r"line 5 .*this one has none"),
    "no timestamp once": (edit(5, ",10,12,9,11,5"), r"line 5 .*need every timestamp"),
    "off the marks": (edit(5, GOOD[3].replace(":00:00+", ":20:00+")), r"line 5 .*clock marks"),
    "wrong timeframe": ("\n".join([HEADER, *GOOD[::4]]), r"line 2 .*4 hours apart, which is not 1h"),
    "two instruments": (
        "\n".join([HEADER + ",symbol", *[row + (",B" if i > 500 else ",A") for i, row in enumerate(GOOD)]]),
        "several instruments",
    ),
    "too few": ("\n".join([HEADER, *GOOD[:299]]), "need at least 300 bars for a first import"),
    "quote left open": (bar(5, '10,12,9,11,"5'), r"line \d+: unexpected end"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_faulty_csv_is_refused_by_name_rule_and_line_and_nothing_is_written(fault, store, tree, write):
    content, message = REFUSED[fault]
    path = write("bad.csv", content)
    with pytest.raises(ImportRefused, match=message) as refusal:
        import_file(store, path, symbol="BTCUSD", timeframe="1h")
    assert str(refusal.value).startswith("bad.csv")
    assert "Nothing was imported" in str(refusal.value)
    assert not store.data_dir.exists()
    good = write("good.csv", "\ufeff" + "\n".join([HEADER, *GOOD]) + "\n\n")  # byte order mark and blank line pass
    import_file(store, good, symbol="BTCUSD", timeframe="1h")
    before = tree()
    if fault != "too few":  # an addition to a stored series may be short
        with pytest.raises(ImportRefused, match=message):
            import_file(store, path, symbol="BTCUSD", timeframe="1h")
    else:
        assert import_file(store, path, symbol="BTCUSD", timeframe="1h").change is Change.UNCHANGED
    assert tree() == before


def test_faulty_parquet_files_are_refused_by_row(store, fx_hours, write):
    frame = fx_hours()
    naive = pl.col("timestamp").dt.replace_time_zone(None)
    whole = write("whole.parquet", frame).read_bytes()
    for name, content, message in (
        ("text.parquet", b"no parquet at all", "is not a Parquet file"),
        ("cut.parquet", whole[: len(whole) // 2], "damaged or unsupported Parquet"),
        ("naive.parquet", frame.with_columns(naive), r"row 1 .*--timezone"),
        ("number.parquet", frame.with_columns(pl.col("timestamp").dt.epoch("ms")), "were Int64"),
        ("text.parquet", frame.with_columns(close=pl.lit(True)), "need numbers in column close, were Boolean"),
        ("nan.parquet", frame.with_columns(low=pl.when(pl.int_range(pl.len()) == 41).then(None).otherwise("low")),
         r"row 42 .*need a number in low"),
        ("spread.parquet", frame.with_columns(spread_close=pl.lit(-1.0)), "at least zero in spread_close"),
        ("days.parquet", frame.with_columns(pl.col("timestamp").dt.date()), "dates without a time cannot be 1h"),
    ):  # fmt: skip
        with pytest.raises(ImportRefused, match=message):
            import_file(store, write(name, content), **EURUSD)
    hours = pl.datetime_range(datetime(2021, 3, 20), datetime(2021, 4, 20), "1h", eager=True)
    gap = pl.DataFrame({"timestamp": hours, "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0})
    with pytest.raises(ImportRefused, match=r"2021-03-28 03:00:00\): .*twice or never"):  # Athens skips that hour
        import_file(store, write("gap.parquet", gap), timezone="Europe/Athens", **EURUSD)
    with pytest.raises(ImportRefused, match=r"of \d+ research bars lie outside the sessions of XNYS"):
        import_file(store, write("bars.parquet", frame), calendar="XNYS", **EURUSD)
    with pytest.raises(ImportRefused, match="fit neither fx, 24x7 nor XNYS"):
        import_file(store, write("bars.parquet", frame), symbol="VOD", timeframe="1h")
    with pytest.raises(ImportRefused, match="no column adj_close"):
        import_file(store, write("bars.parquet", frame), adjust=True, **EURUSD)
    assert not store.data_dir.exists()


@pytest.mark.parametrize("symbol", ["", "../x", "A/B", "A\\B", "1INCH", ".A", "Ä", "A" * 33, "A\n"])
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
    with pytest.raises(ImportRefused, match=r"need a \.csv or \.parquet file"):
        import_file(store, Path(__file__), **EURUSD)
