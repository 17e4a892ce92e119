"""Providers against a local server that answers as they do."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from fakes.market_server import HOUR, MarketServer, price

from ktrdr.config import load_settings
from ktrdr.errors import InvalidInput, OperationFailed
from ktrdr.market.timeframe import Timeframe
from ktrdr.providers import catalogue
from ktrdr.providers.catalogue import check_provider
from ktrdr.providers.loading import load_pages
from ktrdr.providers.provider import BarsWanted

START = int(datetime(2022, 1, 3, tzinfo=UTC).timestamp())
NOW = START + 2500 * HOUR + 1800  # within a bar
WANTED = BarsWanted("BTC/USD", Timeframe.H1, START * 1000, NOW * 1000)


def open_provider(name, url, folder):
    return catalogue.open_provider(name, url, folder, gateway=load_settings({}).ib_gateway, state_folder=folder)


@pytest.fixture
def server():
    server = MarketServer(first_s=START - 1000 * HOUR, now_s=NOW)
    yield server
    server.close()


def load(provider, folder, wanted=WANTED, now_s=NOW):
    said = []
    frame = load_pages(
        provider,
        wanted,
        folder,
        now_ms=lambda: now_s * 1000,
        report=lambda percentage, words: said.append((percentage, words)),
        backoff_s=0.01,
    )
    return frame, said


def assert_hours(frame: pl.DataFrame, first_s: int, n_bars: int) -> None:
    seconds = frame["timestamp"].dt.epoch("s").to_numpy()
    np.testing.assert_array_equal(seconds, first_s + HOUR * np.arange(n_bars))
    np.testing.assert_array_equal(frame["open"].to_numpy(), [price(int(at)) for at in seconds])


def test_candles_come_page_by_page_and_the_unfinished_one_is_left_out(server, tmp_path):
    frame, said = load(open_provider("ccxt:bitstamp", server.url, tmp_path), tmp_path)
    assert_hours(frame, START, 2500)
    assert len(server.asked) == 3
    assert [round(percentage) for percentage, _ in said] == [0, 40, 80]
    assert said[1][1] == "bars from 2022-02-13 16:00"


def test_a_second_run_goes_on_where_the_first_one_broke(server, tmp_path):
    provider = open_provider("ccxt:bitstamp", server.url, tmp_path)
    server.dies_after = 2
    with pytest.raises(OperationFailed) as failure:
        load(provider, tmp_path)
    assert failure.value.reason == "connection"
    server.dies_after, server.asked[:] = None, []
    frame, _ = load(provider, tmp_path)
    assert_hours(frame, START, 2500)
    assert server.asked == [str(START + 2000 * HOUR)]
    later, _ = load(provider, tmp_path, BarsWanted("BTC/USD", Timeframe.H1, START * 1000, (NOW + 3 * HOUR) * 1000), NOW)
    assert_hours(later, START, 2500)  # what was unfinished is asked for again, never taken from a page


def test_a_provider_that_says_to_slow_down_is_asked_again(server, tmp_path):
    server.refusals = [429, 429]
    frame, _ = load(open_provider("ccxt:bitstamp", server.url, tmp_path), tmp_path)
    assert_hours(frame, START, 2500)
    server.refusals = [429] * 50
    with pytest.raises(OperationFailed, match="slow down") as failure:
        load(open_provider("ccxt:bitstamp", server.url, tmp_path), tmp_path / "other")
    assert failure.value.reason == "rate_limited"


@pytest.mark.parametrize("name", ["ccxt:bitstamp", "yfinance"])
def test_an_empty_answer_is_an_error(name, server, tmp_path):
    server.first_s = NOW
    timeframe = Timeframe.D1 if name == "yfinance" else Timeframe.H1
    wanted = BarsWanted("BTC/USD" if ":" in name else "ACME", timeframe, START * 1000, (NOW - 86_400) * 1000)
    with pytest.raises(OperationFailed) as failure:
        load(open_provider(name, server.url, tmp_path), tmp_path, wanted)
    assert failure.value.reason == "empty_answer"


def test_days_of_a_share_carry_the_date_of_their_session(server, tmp_path):
    wanted = BarsWanted("ACME", Timeframe.D1, START * 1000, NOW * 1000)
    frame, _ = load(open_provider("yfinance", server.url, tmp_path), tmp_path, wanted)
    times = frame["timestamp"]
    assert (times.dt.epoch("ms") % 86_400_000 == 0).all()
    assert set(times.dt.weekday()) == {1, 2, 3, 4, 5}
    assert times[0] == datetime(2022, 1, 3, tzinfo=UTC)
    assert frame["open"][0] == pytest.approx(price(START + 14 * HOUR + 1800))
    server.refusals = [429] * 200
    # Another symbol: the library remembers what it was told of this one.
    wanted = BarsWanted("OTHER", Timeframe.D1, START * 1000, NOW * 1000)
    with pytest.raises(OperationFailed) as failure:
        load(open_provider("yfinance", server.url, tmp_path), tmp_path / "other", wanted)
    assert failure.value.reason == "rate_limited"


def test_what_a_provider_has_not_is_said(server, tmp_path):
    with pytest.raises(InvalidInput, match="bitstamp has no symbol 'BTC/EUR'; it has BTC/USD"):
        load(
            open_provider("ccxt:bitstamp", server.url, tmp_path),
            tmp_path,
            BarsWanted("BTC/EUR", Timeframe.H1, 0, NOW * 1000),
        )
    with pytest.raises(InvalidInput, match="Yahoo has no 4h bars"):
        load(open_provider("yfinance", server.url, tmp_path), tmp_path, BarsWanted("ACME", Timeframe.H4, 0, NOW * 1000))
    for name in ("quandl", "ccxt", "yfinance:x", "ccxt:"):
        with pytest.raises(InvalidInput, match="need a provider yfinance or ccxt:EXCHANGE"):
            check_provider(name)
    with pytest.raises(InvalidInput, match="no exchange 'mtgox'"):
        open_provider("ccxt:mtgox", None, tmp_path)
