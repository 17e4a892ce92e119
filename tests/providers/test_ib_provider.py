"""Interactive Brokers: the library's own objects, with a client that has no socket."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from fakes.ib_client import HOUR, FakeIbClient, is_fx_open, price
from hypothesis import given, settings
from hypothesis import strategies as st

from ktrdr.config import load_settings
from ktrdr.errors import InvalidInput, OperationFailed
from ktrdr.market.importer import import_bars
from ktrdr.market.request import ImportOptions, parse_request
from ktrdr.market.store import BarStore
from ktrdr.market.timeframe import Timeframe
from ktrdr.providers.ib_provider import MOST_REQUESTS, WINDOW_S, IbProvider
from ktrdr.providers.loading import load_pages
from ktrdr.providers.pacing import Pace
from ktrdr.providers.provider import BarsWanted

START = int(datetime(2022, 1, 3, tzinfo=UTC).timestamp())
NOW = START + 2000 * HOUR + 1800  # within a bar
HOURS = [at for at in range(START, START + 2000 * HOUR, HOUR) if is_fx_open(at)]
WANTED = BarsWanted("EUR/USD", Timeframe.H1, START * 1000, NOW * 1000)


class Clock:
    """A time that passes only while somebody sleeps."""

    def __init__(self):
        self.now_s, self.slept = 1_000_000.0, []

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now_s += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def broker(tmp_path, clock):
    """A provider, and the client that it speaks through."""
    made = []

    def make_client(wrapper):
        made.append(FakeIbClient(wrapper, first_s=START - 500 * HOUR, now_s=NOW))
        return made[0]

    pace = Pace(tmp_path / "requests.json", MOST_REQUESTS, WINDOW_S, lambda: clock.now_s, clock.sleep)
    provider = IbProvider(load_settings({}).ib_gateway, pace, make_client)
    yield provider, made[0]
    provider.close()


def load(provider, folder, wanted=WANTED):
    return load_pages(provider, wanted, folder, now_ms=lambda: NOW * 1000, report=lambda *_: None, backoff_s=0.001)


def test_mid_prices_come_month_by_month_without_volume_and_without_the_unfinished_bar(broker, tmp_path):
    provider, client = broker
    frame = load(provider, tmp_path)
    seconds = frame["timestamp"].dt.epoch("s").to_numpy()
    np.testing.assert_array_equal(seconds, HOURS)
    np.testing.assert_array_equal(frame["open"].to_numpy(), [price(int(at)) for at in seconds])
    assert frame["volume"].is_nan().all()
    assert (len(client.asked), client.connections) == (3, 1)
    frame.write_parquet(tmp_path / "ib.parquet")
    facts = provider.facts("EUR/USD")
    options = ImportOptions(symbol="EURUSD", timeframe="1h", calendar=facts.calendar, price_side=facts.price_side)
    outcome = import_bars(BarStore(tmp_path / "data"), tmp_path / "ib.parquet", parse_request(options))
    assert (outcome.series.has_volume, outcome.series.price_side, outcome.series.calendar) == (False, "mid", "fx")


def test_a_broken_load_goes_on_with_the_page_that_it_lacked(broker, tmp_path):
    provider, client = broker
    load(provider, tmp_path / "whole")
    whole = list(client.asked)
    client.asked.clear()
    provider.page(WANTED, START * 1000)
    client.refusals = [(1100, "Connectivity between IB and TWS has been lost")] * 50
    with pytest.raises(OperationFailed) as failure:
        load(provider, tmp_path / "pages")
    assert failure.value.reason == "connection"
    client.refusals = []
    load_pages(provider, BarsWanted("EUR/USD", Timeframe.H1, START * 1000, (START + 28 * 24 * HOUR) * 1000),
               tmp_path / "pages", now_ms=lambda: NOW * 1000, report=lambda *_: None)  # fmt: skip
    client.asked.clear()
    assert len(load(provider, tmp_path / "pages")) == len(HOURS)
    assert client.asked == whole[1:]


@settings(max_examples=40, deadline=None)
@given(pauses=st.lists(st.floats(0, 120), min_size=70, max_size=150))
def test_no_ten_minutes_ever_have_more_than_sixty_requests_whoever_makes_them(tmp_path_factory, pauses):
    clock, made = Clock(), []
    file = tmp_path_factory.mktemp("pace") / "requests.json"
    for pause in pauses:
        clock.now_s += pause
        # A new one each time, as another process would have.
        Pace(file, MOST_REQUESTS, WINDOW_S, lambda: clock.now_s, clock.sleep).take_turn()
        made.append(clock.now_s)
    assert all(later - earlier >= WINDOW_S for earlier, later in zip(made, made[MOST_REQUESTS:], strict=False))


def test_a_load_of_many_pages_waits_as_long_as_it_must_and_no_longer(broker, clock, tmp_path):
    provider, client = broker
    client.first_s = 0
    frame = load(provider, tmp_path, BarsWanted("AAPL", Timeframe.M1, (NOW - 70 * 86_400) * 1000, NOW * 1000))
    assert len(client.asked) == 70
    assert sum(clock.slept) == pytest.approx(WINDOW_S)  # all others cost no time here
    assert (frame["volume"] == 100).all()
    (tmp_path / "requests.json").write_text('[1, "')  # cut short: counts as none
    provider.page(WANTED, START * 1000)
    assert len(json.loads((tmp_path / "requests.json").read_text())) == 1


def test_days_carry_the_date_of_their_session_and_holes_in_history_are_skipped(broker, tmp_path):
    provider, client = broker
    wanted = BarsWanted("SAP@IBIS:EUR", Timeframe.D1, (START - 900 * 86_400) * 1000, NOW * 1000)
    frame = load(provider, tmp_path, wanted)
    assert len(client.asked) == 3  # two windows before the first bar
    assert frame["timestamp"][0] == datetime(2021, 12, 14, tzinfo=UTC)
    assert (frame["timestamp"].dt.epoch("ms") % 86_400_000 == 0).all()


def test_what_the_broker_refuses_is_said_with_what_to_do(broker, tmp_path):
    provider, client = broker
    for symbol in ("NOBODY", "a b c d e f g h", "^SPX"):
        with pytest.raises(InvalidInput) as refused:
            load(provider, tmp_path / "unknown", BarsWanted(symbol, Timeframe.D1, START * 1000, NOW * 1000))
        assert refused.value.reason == "unknown_symbol"
    client.refusals = [(162, "Historical data request pacing violation")] * 2
    assert len(load(provider, tmp_path / "slow")) == len(HOURS)
    client.refusals = [(354, "Requested market data is not subscribed")]
    with pytest.raises(OperationFailed, match="not subscribed") as failure:
        load(provider, tmp_path / "unpaid")
    assert failure.value.reason == "provider_error"
    client.first_s = NOW
    with pytest.raises(OperationFailed) as failure:
        load(provider, tmp_path / "empty", BarsWanted("AAPL", Timeframe.D1, START * 1000, (NOW - 86_400) * 1000))
    assert failure.value.reason == "empty_answer"
    client.disconnect()
    client.is_down = True
    with pytest.raises(OperationFailed, match=r"no TWS or IB Gateway answers at 127\.0\.0\.1:4002") as failure:
        provider.page(WANTED, START * 1000)
    assert failure.value.reason == "connection"
