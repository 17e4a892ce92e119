import hashlib
import re
from datetime import UTC, datetime

import numpy as np
import polars as pl

from ktrdr.market.samples import BUNDLED, SAMPLES, install_samples
from ktrdr.market.timeframe import Timeframe


def test_samples_install_once_with_their_calendars_sides_and_licences(store, tree):
    infos = install_samples(store)
    assert [(i.symbol, i.timeframe, i.calendar, i.price_side, i.asset_class) for i in infos] == [
        ("EURUSD", "1h", "fx", "ask", "fx"),
        ("SPX", "1d", "XNYS", "trade", "index"),
        ("AAPL", "1d", "XNYS", "trade", "equity"),
        ("MSFT", "1d", "XNYS", "trade", "equity"),
    ]
    assert all(info.licence and info.has_volume for info in infos)
    # Of one year a fifth is sealed; of twenty a fifth, which is more than a year.
    assert [info.sealed_from.date().isoformat() for info in infos] == [
        "2017-10-18", "2014-12-31", "2010-07-27", "2010-07-27",
    ]  # fmt: skip
    assert all(info.last < info.sealed_from for info in infos)
    before = tree()
    assert install_samples(store) == infos
    assert tree() == before
    assert store.list_series() == sorted(infos, key=lambda info: info.symbol)


def test_no_bundled_bar_is_missing_or_extra_by_its_calendar(store):
    for info in install_samples(store):
        quality = store.sidecar(info.symbol, info.timeframe).quality
        assert (quality.missing, quality.extra) == (0, 0)
        bars = store.load_research(info.symbol, info.timeframe)
        assert (bars.known_at > bars.timestamp).all()
        assert (np.diff(bars.known_at) > 0).all()


def test_apple_shows_no_split_as_a_return_and_ends_at_its_traded_price(store):
    install_samples(store)
    bars = store.load_research("AAPL", "1d")
    raw = pl.read_parquet(BUNDLED / "AAPL_1d_raw.parquet").head(len(bars))
    truth = np.diff(np.log(raw["adj_close"].to_numpy()))
    np.testing.assert_allclose(np.diff(np.log(bars.close)), truth, atol=1e-12)
    dates = raw["timestamp"].to_list()
    for split in (datetime(2000, 6, 21, tzinfo=UTC), datetime(2005, 2, 28, tzinfo=UTC)):
        assert abs(bars.close[dates.index(split)] / bars.close[dates.index(split) - 1] - 1) < 0.1
    assert bars.close[-1] == raw["close"][-1]
    np.testing.assert_allclose(bars.close * bars.volume, (raw["close"] * raw["volume"]).to_numpy())


def test_samples_leave_bars_of_the_same_name_alone(store, fx_hours, write):
    from importing import import_file

    mine = import_file(store, write("mine.parquet", fx_hours()), symbol="EURUSD", timeframe="1h").series
    assert install_samples(store)[0] == mine


def test_every_bundled_file_is_the_one_that_the_notice_describes():
    notice = (BUNDLED / "NOTICE").read_text()
    described = dict(re.findall(r"^(\S+\.parquet)\n(?:.*\n)*?\s+sha256\s+([0-9a-f]{64})$", notice, re.MULTILINE))
    bundled = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in BUNDLED.glob("*.parquet")}
    assert described == bundled
    assert set(SAMPLES) == set(bundled)
    assert {request.timeframe for request in SAMPLES.values()} == {Timeframe.H1, Timeframe.D1}
