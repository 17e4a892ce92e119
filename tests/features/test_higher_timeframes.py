"""An indicator of a higher timeframe: known at its own close, from bars of the base series alone."""

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktrdr.errors import OperationFailed
from ktrdr.features.inputs import compute_inputs
from ktrdr.indicators.catalogue import CATALOGUE, parameter_faults
from ktrdr.indicators.compute import compute_indicator, warmup_bars
from ktrdr.market.bars import Bars
from ktrdr.market.calendar import clock_bars, find_grid, load_sessions
from ktrdr.market.resample import resample
from ktrdr.market.timeframe import HOUR_MS, MINUTE_MS, Timeframe
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.strategy.validation import validate_strategy

FIRST = int(datetime(2018, 11, 1, tzinfo=UTC).timestamp() * 1000)


def session_bars(calendar: str, timeframe: Timeframe, n_days: int, seed: int = 1, *, missing: float = 0.02) -> Bars:
    """A walk on a market's true clock, some bars missing, as an import would clock it."""
    rng = np.random.default_rng(seed)
    end = FIRST + n_days * 24 * HOUR_MS
    sessions = load_sessions(calendar, FIRST, end)
    marks = np.arange(FIRST, end, timeframe.milliseconds)
    marks = np.union1d(marks, sessions.open[(sessions.open >= FIRST) & (sessions.open < end)])
    session = np.searchsorted(sessions.open, marks, side="right") - 1
    marks = marks[(marks < sessions.close[session]) & (rng.random(len(marks)) >= missing)]
    clock = clock_bars(marks, timeframe, sessions, find_grid(marks, timeframe, sessions))
    n_bars = len(marks)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, n_bars)))
    opened = np.r_[100, close[:-1]] * np.exp(rng.normal(0, 0.0005, n_bars))
    return Bars(
        symbol="TEST", timeframe=timeframe, snapshot="0" * 64, timestamp=marks, known_at=clock.known_at,
        session_day=clock.session_day, open=opened, close=close, high=np.maximum(opened, close) * 1.001,
        low=np.minimum(opened, close) * 0.999, volume=rng.lognormal(3, 1, n_bars), calendar=calendar,
    )  # fmt: skip


ROUND_THE_CLOCK = session_bars("24x7", Timeframe.M15, 160)
MARKETS = {
    "fx": session_bars("fx", Timeframe.H1, 60),
    "XNYS": session_bars("XNYS", Timeframe.H1, 60),  # a half day on 23 November, daylight saving ends on the 4th
    "24x7": ROUND_THE_CLOCK.slice(0, 3000),
}


def with_indicator(timeframe: str, name: str, base: str = "15m", **parameters: float) -> StrategySpecification:
    output = f"only.{CATALOGUE[name].outputs[0]}" if len(CATALOGUE[name].outputs) > 1 else "only"
    relative = {"relative_to": "close"} if CATALOGUE[name].unit == "price" else {}
    return validate_strategy(
        {
            "schema": 1,
            "name": "for_features",
            "hypothesis": "One indicator alone, as given by the test.",
            "market": {"symbols": ["TEST"], "timeframe": base},
            "indicators": {"only": {"type": name, "timeframe": timeframe, **parameters}},
            "fuzzy_sets": {"only": {"input": output, **relative, "partition": ["low", "high"]}},
            "labels": {"type": "forward_return", "horizon": 5},
        }
    )


@pytest.mark.parametrize("name", CATALOGUE)
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_features_stay_bit_identical_when_the_series_ends_within_a_higher_bar(name: str, data: st.DataObject):
    parameters = {
        each.name: each.minimum + each.step * data.draw(st.integers(0, 6)) for each in CATALOGUE[name].parameters
    }
    specification = with_indicator("1h", name, **({} if parameter_faults(name, parameters) else parameters))
    start = data.draw(st.integers(0, 50))
    bars = ROUND_THE_CLOCK.slice(start, start + 12_000 if name in ("KC", "EMA", "TSI") else start + 6_000)
    whole = compute_inputs(specification, bars)
    stop = data.draw(st.integers(whole.first_row + 1, len(bars) - 1))
    higher_prices = {field: getattr(bars, field).copy() for field in ("open", "high", "low", "close", "volume")}
    for values in higher_prices.values():
        values[stop:] *= 7
    for future in (bars.slice(0, stop), replace(bars, **higher_prices)):
        part = compute_inputs(specification, future)
        assert part.first_row == whole.first_row
        assert part.values[:stop].tobytes() == whole.values[:stop].tobytes()
    settled = whole.values[whole.first_row :, 0]
    assert np.isfinite(settled).all()
    assert len(np.unique(settled)) > 2


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("timeframe", [Timeframe.H4, Timeframe.D1])
def test_a_higher_bar_holds_the_bars_since_the_one_before_and_is_known_at_its_own_close(market, timeframe):
    """Bar by bar from the sessions' text: what is complete at a bar's close, and what is still being made."""
    bars = MARKETS[market]
    sessions = load_sessions(market, int(bars.timestamp[0]), int(bars.known_at[-1]))
    done, making, ends = [], [], 0
    known_row = []
    for t in range(len(bars)):
        s = next(i for i, close in enumerate(sessions.close) if close >= bars.known_at[t])
        opened, closed = int(sessions.open[s]), int(sessions.close[s])
        if making and bars.timestamp[t] >= ends:  # its last bar is missing: it ended unseen
            done.append(making)
            known_row.append(t)
            making = []
        length = timeframe.milliseconds
        ends = (
            closed
            if timeframe.is_daily
            else min(opened + ((bars.timestamp[t] - opened) // length + 1) * length, closed)
        )
        making = [*making, t]
        if bars.known_at[t] >= ends:
            done.append(making)
            known_row.append(t)
            making = []
    found = resample(bars, timeframe)
    assert found.known_row.tolist() == known_row
    assert len(done) > 30
    np.testing.assert_array_equal(found.prices["open"], [bars.open[rows[0]] for rows in done])
    np.testing.assert_array_equal(found.prices["high"], [max(bars.high[rows]) for rows in done])
    np.testing.assert_array_equal(found.prices["low"], [min(bars.low[rows]) for rows in done])
    np.testing.assert_array_equal(found.prices["close"], [bars.close[rows[-1]] for rows in done])
    np.testing.assert_allclose(found.prices["volume"], [sum(bars.volume[rows]) for rows in done])


def test_the_daily_value_of_a_half_day_is_known_when_that_session_closes_early_and_not_before():
    bars = session_bars("XNYS", Timeframe.H1, 60, missing=0.0)
    day = (date(2018, 11, 23) - date(1970, 1, 1)).days
    (rows,) = np.nonzero(bars.session_day == day)
    assert bars.known_at[rows[-1]] == datetime(2018, 11, 23, 18, tzinfo=UTC).timestamp() * 1000  # 13:00 in New York
    inputs = compute_inputs(with_indicator("1d", "ROC", "1h", timeperiod=1), bars)
    yesterday, before = (bars.close[bars.session_day < limit][-1] for limit in (day, day - 1))  # Thursday is closed
    before = bars.close[bars.session_day < int(bars.session_day[rows[0] - 1])][-1]
    assert inputs.values[rows[:-1], 0] == pytest.approx(100 * (yesterday / before - 1))
    assert inputs.values[rows[-1], 0] == pytest.approx(100 * (bars.close[rows[-1]] / yesterday - 1))


def test_the_warmup_is_that_of_the_higher_bars_and_too_few_of_them_say_which_and_how_many():
    bars = session_bars("24x7", Timeframe.M15, 40, missing=0.0)
    needed = warmup_bars("RSI", {"timeperiod": 14}) + 1  # the first higher bar may be cut: it does not count
    inputs = compute_inputs(with_indicator("4h", "RSI", timeperiod=14), bars)
    assert inputs.first_row == 16 * (needed + 1) - 1
    higher = resample(bars, Timeframe.H4)
    expected = compute_indicator("RSI", {"timeperiod": 14}, higher.prices)["real"]
    np.testing.assert_array_equal(inputs.values[15 + 16 * needed :: 16, 0], expected[needed:])
    with pytest.raises(OperationFailed, match=rf"indicator 'only' needs {needed + 1} bars of 4h .* make 39;") as few:
        compute_inputs(with_indicator("4h", "RSI", timeperiod=14), bars.slice(0, 16 * 40 - 1))
    assert few.value.reason == "too_few_bars"
    assert MINUTE_MS * 15 == bars.timestamp[1] - bars.timestamp[0]
