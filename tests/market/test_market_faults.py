"""Each fault that a file may have gets the outcome that docs/data.md promises."""

import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from faulty_files import BTC, ELSEWHERE, GOOD, REFUSED, REPAIRED, WARNED, Faulty
from importing import import_file
from sealed_reading import read_all

from ktrdr.errors import ImportRefused
from ktrdr.market.merge import Change
from ktrdr.market.store import BarStore

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "data.md"


@pytest.fixture(scope="module")
def filled_data(tmp_path_factory) -> Path:
    """A store that holds the good bars."""
    folder = tmp_path_factory.mktemp("good")
    GOOD.write_parquet(folder / "good.parquet")
    import_file(BarStore(folder / "data"), folder / "good.parquet", **BTC)
    return folder / "data"


def names(faults: list[Faulty]) -> list[str]:
    return [f"{i}-{fault.row}" for i, fault in enumerate(faults)]


def test_the_table_of_faults_is_what_these_tests_show():
    rows = re.findall(r"^\| (.+?) \| (refused|repaired|warned) \|$", DOCUMENT.read_text(), re.MULTILINE)
    shown = {(fault.row, fault.outcome) for fault in (*REFUSED, *REPAIRED, *WARNED)} | set(ELSEWHERE.items())
    assert set(rows) == shown
    assert len(rows) == len(set(rows))
    assert len(REFUSED) + len(REPAIRED) + len(WARNED) >= 80


@pytest.mark.parametrize("fault", REFUSED, ids=names(REFUSED))
def test_what_cannot_be_read_with_certainty_is_refused_and_nothing_is_written(fault, store, tree, write, filled_data):
    path = write(fault.name, fault.content)
    options = {**BTC, **fault.options}
    with pytest.raises(ImportRefused, match=fault.says) as refusal:
        import_file(store, path, now=fault.now, **options)
    assert str(refusal.value).startswith(fault.name)
    assert "Nothing was imported" in str(refusal.value)
    assert not store.data_dir.exists()
    shutil.copytree(filled_data, store.data_dir)
    before = tree()
    if fault.row == "too few rows":  # bars for a stored series may be few
        assert import_file(store, path, **options).change is Change.UNCHANGED
    else:
        with pytest.raises(ImportRefused):
            import_file(store, path, now=fault.now, **options)
    assert tree() == before


@pytest.mark.parametrize("fault", REPAIRED, ids=names(REPAIRED))
def test_what_has_one_meaning_only_is_repaired_and_told(fault, store, write):
    outcome = import_file(store, write(fault.name, fault.content), now=fault.now, **{**BTC, **fault.options})
    assert re.search(fault.says, "\n".join(outcome.notices)), outcome.notices
    bars = read_all(store, outcome.series.symbol, outcome.series.timeframe)
    if fault.same_bars:
        assert bars.equals(GOOD.select(bars.columns))
    else:
        assert len(bars) < 3000
        assert (bars["high"] > bars["low"]).all()


@pytest.mark.parametrize("fault", WARNED, ids=names(WARNED))
def test_what_may_be_right_or_wrong_is_taken_and_told(fault, store, write):
    outcome = import_file(store, write(fault.name, fault.content), **{**BTC, **fault.options})
    assert re.search(fault.says, "\n".join(outcome.notices)), outcome.notices
    assert outcome.series.is_refused_for_research == ("serious: " in "\n".join(outcome.notices))


def test_packed_files_are_those_inside(store, write):
    import gzip
    import io
    import zipfile

    import zstandard
    from faulty_files import CSV

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("inside.csv", CSV)
    for name, content in (
        ("a.csv.gz", gzip.compress(CSV.encode())),
        ("a.csv.zst", zstandard.compress(CSV.encode())),
        ("a.zip", archive.getvalue()),
        ("a.txt", CSV),
    ):
        outcome = import_file(store, write(name, content), **BTC)
        assert outcome.change is (Change.CREATED if name == "a.csv.gz" else Change.UNCHANGED)
    assert read_all(store, "BTCUSD", "1h").equals(GOOD)


@pytest.mark.parametrize(
    ("layout", "content", "zone"),
    [
        ("metatrader", "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n", "UTC"),
        ("metatrader", "", "UTC"),
        ("dukascopy", "Gmt time,Open,High,Low,Close,Volume\n", None),
        ("binance", "", None),
    ],
)
def test_files_of_well_known_layouts_hold_the_same_bars(layout, content, zone, store, write):
    rows = []
    for time, *numbers in GOOD.rows():
        values = ",".join(map(str, numbers))
        if layout == "metatrader" and content:
            rows.append(f"{time:%Y.%m.%d,%H:%M:%S},{values},0,12".replace(",", "\t"))
        elif layout == "metatrader":
            rows.append(f"{time:%Y.%m.%d,%H:%M},{values}")
        elif layout == "dukascopy":
            rows.append(f"{time:%d.%m.%Y %H:%M:%S}.000,{values}")
        else:
            opened = int(time.timestamp()) * 10**6
            rows.append(f"{opened},{values},{opened + 3_599_999_999},1.0,5,1.0,1.0,0")
    path = write("bars.csv", content + "\n".join(rows) + "\n")
    import_file(store, path, format=layout, timezone=zone, **BTC)
    assert read_all(store, "BTCUSD", "1h").equals(GOOD)


def test_faulty_parquet_files_are_refused_by_row(store, write):
    naive = pl.col("timestamp").dt.replace_time_zone(None)
    row = pl.int_range(pl.len())
    for content, message in (
        (GOOD.with_columns(naive), r"row 1 .*--timezone"),
        (GOOD.with_columns(close=pl.lit(True)), "need numbers in column close, were Boolean"),
        (GOOD.with_columns(low=pl.when(row == 41).then(None).otherwise("low")), r"row 42 .*need a number in low"),
        (GOOD.with_columns(spread_close=pl.lit(-1.0)), "at least zero in spread_close"),
        (GOOD.with_columns(pl.col("timestamp").dt.date()), "dates without a time cannot be 1h"),
        (GOOD[::-1].with_columns(low=pl.when(row == 41).then(1e6).otherwise("low")), r"row 42 "),
    ):
        with pytest.raises(ImportRefused, match=message):
            import_file(store, write("bad.parquet", content), **BTC)
    assert not store.data_dir.exists()


def test_splits_and_reused_names_of_an_exchange_are_found(store, write):
    from ktrdr.market.calendar import load_sessions

    day = load_sessions("XNYS", 1_400_000_000_000, 1_560_000_000_000).day[:900].astype(np.int64) * 86_400_000
    base = pl.DataFrame(
        {"timestamp": pl.Series(day).cast(pl.Datetime("ms", "UTC")), **{name: GOOD[name] for name in GOOD.columns[1:]}}
    )
    at = pl.int_range(pl.len())
    for kind, rows, factor in (("suspected_split", slice(0, 900), 0.5), ("ticker_reuse", slice(0, 860), 0.31)):
        prices = {name: pl.when(at >= 300).then(pl.col(name) * factor).otherwise(name) for name in GOOD.columns[1:5]}
        bars = base.with_columns(**prices)
        kept = bars if kind == "suspected_split" else bars.filter((at < 300) | (at >= 330))
        outcome = import_file(
            store, write(f"{kind}.parquet", kept[rows]), symbol=kind[:6], timeframe="1d", calendar="XNYS"
        )
        serious = {finding.kind for finding in outcome.quality.findings if finding.severity == "serious"}
        assert serious == {kind}
        assert outcome.series.is_refused_for_research
