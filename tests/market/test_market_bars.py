from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from ktrdr.errors import InvalidInput
from ktrdr.market.bars import Bars
from ktrdr.market.costs import AssetClass, CostModel, default_costs
from ktrdr.market.samples import install_samples
from ktrdr.market.timeframe import Timeframe


def make_bars(n_bars: int) -> Bars:
    price = np.arange(1.0, n_bars + 1)
    time = np.arange(n_bars) * 3_600_000
    return Bars(
        "EURUSD",
        Timeframe.H1,
        "0" * 64,
        time,
        time + 3_600_000,
        (time // 86_400_000).astype(np.int32),
        price,
        price,
        price,
        price,
        price,
    )


def test_bars_cannot_be_changed_through_any_array():
    bars = make_bars(5)
    for name in ("timestamp", "known_at", "session_day", "open", "high", "low", "close", "volume"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(bars, name)[0] = 7
    with pytest.raises(ValueError, match="read-only"):
        bars.prices()["close"][0] = 7


def test_a_slice_holds_the_same_rows_of_every_column():
    part = make_bars(10).slice(3, 7)
    assert len(part) == 4
    assert part.snapshot == "0" * 64
    assert part.half_spread_bps is None
    np.testing.assert_array_equal(part.close, [4.0, 5.0, 6.0, 7.0])
    np.testing.assert_array_equal(part.known_at, (np.arange(3, 7) + 1) * 3_600_000)


def test_the_clock_of_a_bar_is_that_of_new_york_when_it_is_complete_and_of_its_session(store):
    install_samples(store)
    for symbol, timeframe in (("EURUSD", "1h"), ("SPX", "1d")):
        bars = store.load_research(symbol, timeframe)
        shown = bars.indicator_inputs()
        for row in range(0, len(bars), 61):  # winter and summer
            local = datetime.fromtimestamp(int(bars.known_at[row]) / 1000, ZoneInfo("America/New_York"))
            day = date(1970, 1, 1) + timedelta(days=int(bars.session_day[row]))
            expected = (local.hour + local.minute / 60, day.weekday(), day.day)
            assert tuple(shown[name][row] for name in ("hour", "weekday", "monthday")) == expected


def test_columns_of_different_length_are_no_bars():
    bars = make_bars(5)
    with pytest.raises(ValueError, match=r"need close of shape \(5,\)"):
        Bars(*[getattr(bars, name) for name in ("symbol", "timeframe", "snapshot", "timestamp", "known_at")],
             bars.session_day, bars.open, bars.high, bars.low, bars.close[:4], bars.volume)  # fmt: skip


def test_timeframes_have_their_lengths_and_refuse_other_names():
    minutes = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440}
    assert {name: Timeframe.parse(name).milliseconds / 60_000 for name in Timeframe} == minutes
    with pytest.raises(InvalidInput, match=r"need a timeframe out of 1m, .* was '60m'"):
        Timeframe.parse("60m")


def test_default_costs_are_those_of_the_design():
    assert default_costs(AssetClass.FX) == CostModel(0.2, 0.5, 0.5, 0.0, 0.0)
    assert default_costs(AssetClass.EQUITY) == default_costs(AssetClass.INDEX) == CostModel(0.5, 1.0, 1.0, 0.0, 0.0)
    assert default_costs(AssetClass.CRYPTO) == CostModel(5.0, 2.0, 2.0, 0.0, 0.0)
