from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktrdr.errors import ImportRefused, InvalidInput
from ktrdr.market.calendar import (
    clock_bars,
    expected_slots,
    find_grid,
    instants_of,
    load_sessions,
    resolve_calendar,
)
from ktrdr.market.inference import infer_calendar, infer_quote_currency, is_currency_pair
from ktrdr.market.timeframe import Timeframe

NEW_YORK = ZoneInfo("America/New_York")
HOUR = timedelta(hours=1)


def ms(*moments: datetime) -> np.ndarray:
    return np.array([int(moment.timestamp() * 1000) for moment in moments], dtype=np.int64)


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def clock(calendar: str, timeframe: Timeframe, *moments: datetime):
    label = ms(*moments)
    sessions = load_sessions(calendar, int(label[0]), int(label[-1]))
    return clock_bars(label, timeframe, sessions, find_grid(label, timeframe, sessions))


def days(clocked) -> list[date]:
    return [date(1970, 1, 1) + timedelta(days=int(day)) for day in clocked.session_day]


@settings(max_examples=60, deadline=None)
@given(hour=st.integers(0, 20 * 366 * 24), timeframe=st.sampled_from([Timeframe.M5, Timeframe.H1]))
def test_the_fx_day_rolls_at_17_new_york_in_winter_and_summer(hour, timeframe):
    start = datetime(2005, 1, 1, tzinfo=UTC) + hour * HOUR
    local = start.astimezone(NEW_YORK)
    rolled = (local.replace(tzinfo=None) + timedelta(hours=7)).date()
    is_open = rolled.isoweekday() <= 5
    while rolled.isoweekday() > 5:
        rolled += timedelta(days=1)  # what trades while the market is closed belongs to Monday
    clocked = clock("fx", timeframe, start)
    assert days(clocked) == [rolled]
    assert clocked.inside[0] == is_open
    assert clocked.known_at[0] == ms(start)[0] + timeframe.milliseconds


def test_a_four_hour_bar_across_the_fx_roll_belongs_to_the_day_in_which_it_ends_and_the_last_ends_with_the_week():
    week = [at("2021-01-04T20:00") + 4 * k * HOUR for k in range(25)]  # Monday 20:00 to Friday 20:00 UTC
    clocked = clock("fx", Timeframe.H4, *week)
    assert days(clocked)[0] == date(2021, 1, 5)
    assert days(clocked)[-1] == date(2021, 1, 8)
    assert clocked.known_at[-1] == ms(at("2021-01-08T17:00", "America/New_York"))[0]


def test_daily_exchange_bars_are_known_at_their_close_half_days_and_summer_time_included():
    label = ms(at("2021-11-24"), at("2021-11-26"), at("2021-07-01"), at("2021-11-25"))
    label = np.sort(label)
    sessions = load_sessions("XNYS", int(label[0]), int(label[-1]))
    clocked = clock_bars(label, Timeframe.D1, sessions, None)
    closes = [
        at("2021-07-01T16:00", "America/New_York"),
        at("2021-11-24T16:00", "America/New_York"),
        at("2021-11-26"),  # Thanksgiving is no session: known when the date is over
        at("2021-11-26T13:00", "America/New_York"),
    ]
    np.testing.assert_array_equal(clocked.known_at, ms(*closes))
    assert clocked.inside.tolist() == [True, True, False, True]


def test_fx_daily_bars_are_never_known_too_early_wherever_the_source_ends_its_day():
    label = ms(at("2021-06-01"))
    clocked = clock_bars(label, Timeframe.D1, load_sessions("fx", int(label[0]), int(label[0])), None)
    assert clocked.known_at[0] == ms(at("2021-06-02"))[0]  # 17:00 New York is three hours earlier


def test_a_first_half_hour_is_known_at_ten_whether_labelled_nine_or_half_past_nine():
    rest = [at(f"2021-03-02T{hour}:00", "America/New_York") for hour in range(10, 16)]
    for first in ("09:00", "09:30"):
        clocked = clock("XNYS", Timeframe.H1, at(f"2021-03-02T{first}", "America/New_York"), *rest)
        assert clocked.known_at[0] == ms(at("2021-03-02T10:00", "America/New_York"))[0]
        assert clocked.inside.all()


def test_bars_that_count_from_the_open_end_with_the_session():
    opens = [at("2021-03-02T09:30", "America/New_York") + k * HOUR for k in range(7)]
    half_day = [at("2021-11-26T09:30", "America/New_York") + k * HOUR for k in range(4)]
    for bars, close in ((opens, "2021-03-02T16:00"), (half_day, "2021-11-26T13:00")):
        known_at = clock("XNYS", Timeframe.H1, *bars).known_at
        assert known_at[0] == ms(bars[1])[0]
        assert known_at[-1] == ms(at(close, "America/New_York"))[0]


def test_late_prints_of_a_half_day_stay_with_it_and_are_not_known_before_they_end():
    clocked = clock("XNYS", Timeframe.H1, *[at("2021-11-26T12:00", "America/New_York") + k * HOUR for k in range(3)])
    assert clocked.inside.tolist() == [True, False, False]
    assert set(days(clocked)) == {date(2021, 11, 26)}
    assert clocked.known_at[2] == ms(at("2021-11-26T15:00", "America/New_York"))[0]


def test_four_hour_bars_that_follow_new_york_are_on_their_marks_across_a_clock_change():
    opens = [
        at(f"2021-{day}T{time}", "America/New_York")
        for day in ("03-11", "03-12", "03-15", "03-16")
        for time in ("09:30", "13:30")
    ]
    label = ms(*opens)
    sessions = load_sessions("XNYS", int(label[0]), int(label[-1]))
    assert find_grid(label, Timeframe.H4, sessions).first_off_grid is None
    label[5] += 60_000
    assert find_grid(label, Timeframe.H4, sessions).first_off_grid == 5


@pytest.mark.parametrize(
    ("calendar", "first", "n_days", "timeframe"),
    [
        ("XNYS", "2021-11-22T14:00", 9, Timeframe.H1),  # Thanksgiving and a half day
        ("fx", "2021-03-10T03:00", 12, Timeframe.M15),  # a clock change
        ("XTKS", "2021-01-04T00:00", 9, Timeframe.M30),  # a lunch break
        ("24x7", "2021-01-01T05:00", 4, Timeframe.H4),
    ],
)
def test_expected_bars_are_those_found_by_walking_every_slot(calendar, first, n_days, timeframe):
    length = timeframe.milliseconds
    start = int(ms(at(first))[0])
    slots = np.arange(start, start + n_days * 86_400_000, length)
    sessions = load_sessions(calendar, start, int(slots[-1]))
    grid = find_grid(slots, timeframe, sessions)

    def has_trading(slot: int) -> bool:
        minutes = np.arange(slot, slot + length, 60_000)
        is_open = (minutes[:, None] >= sessions.open) & (minutes[:, None] < sessions.close)
        at_lunch = (minutes[:, None] >= sessions.break_start) & (minutes[:, None] < sessions.break_end)
        return bool((is_open & ~at_lunch).any())

    walked = [slot for slot in slots if has_trading(int(slot))]
    counted = len(expected_slots(sessions, timeframe, grid, first_ms=start, end_ms=int(slots[-1]) + length))
    assert counted == len(walked)


def test_wall_clock_times_that_exist_twice_or_never_are_flagged():
    wall = ms(at("2021-03-14T02:30"), at("2021-11-07T01:30"), at("2021-11-07T03:30"))
    instants, exists_once = instants_of(wall, "America/New_York")
    assert exists_once.tolist() == [False, False, True]
    assert instants[2] == ms(at("2021-11-07T08:30"))[0]


def test_calendars_are_named_case_aside_and_unknown_ones_refused():
    assert [resolve_calendar(name) for name in ("FX", "24x7", "xnys", "NYSE")] == ["fx", "24x7", "XNYS", "XNYS"]
    for name in ("24/5", "MARS", ""):
        with pytest.raises(InvalidInput, match="need a calendar 'fx'"):
            resolve_calendar(name)
    with pytest.raises(InvalidInput, match="XTKS does not reach"):
        load_sessions("XTKS", int(ms(at("1990-01-01"))[0]), int(ms(at("1991-01-01"))[0]))


def test_a_calendar_is_inferred_only_where_the_bars_leave_no_doubt():
    sessions = load_sessions("XNYS", int(ms(at("2020-01-01"))[0]), int(ms(at("2020-12-31"))[0]))
    daily = sessions.day.astype(np.int64) * 86_400_000
    assert infer_calendar("SPX", Timeframe.D1, daily) == "XNYS"
    assert infer_calendar("BTCUSD", Timeframe.D1, daily[0] + np.arange(300) * 86_400_000) == "24x7"
    london = load_sessions("XLON", int(ms(at("2020-01-01"))[0]), int(ms(at("2020-12-31"))[0]))
    with pytest.raises(ImportRefused, match="--calendar"):
        infer_calendar("VOD", Timeframe.D1, london.day.astype(np.int64) * 86_400_000)
    with pytest.raises(ImportRefused, match="--calendar"):
        infer_calendar("SPX", Timeframe.D1, daily[:10])


def test_symbols_say_what_they_are_quoted_in():
    assert is_currency_pair("EUR.USD")
    assert not is_currency_pair("GOOGLE")
    assert infer_quote_currency("EURJPY", "fx") == "JPY"
    assert infer_quote_currency("BTCUSDT", "24x7") == "USDT"
    assert infer_quote_currency("VOD", "XLON") == "GBP"
    assert infer_quote_currency("GAZP", "XMOS") is None
