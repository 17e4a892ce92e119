"""When something is due, against a walk over every minute of the calendar."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktrdr.agents.cadence import Cron, Interval, format_interval, next_after_failures, parse_cron, parse_interval
from ktrdr.errors import InvalidInput

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
# Three nights around a change of the clocks: forward in Europe and America, back in both, by half an hour, and none.
NIGHTS = [
    ("Europe/Berlin", datetime(2026, 3, 28, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 24, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 10, 31, tzinfo=UTC)),
    ("Asia/Tokyo", datetime(2026, 3, 28, tzinfo=UTC)),
]


def walk(minutes, hours, zone, start, end):
    """Return the UTC times at which minute and hour of the wall clock fit, asking it every minute."""
    due, moment = [], start + MINUTE
    while moment <= end:
        now, before = moment.astimezone(zone), (moment - MINUTE).astimezone(zone)
        jump = now.utcoffset() - before.utcoffset()
        skipped = [before.replace(tzinfo=None) + MINUTE * n for n in range(1, 1 + max(0, jump // MINUTE))]
        shown = [now.replace(tzinfo=None)] if hours is None else [*skipped, now.replace(tzinfo=None)] * (1 - now.fold)
        if any(each.minute in minutes and (hours is None or each.hour in hours) for each in shown):
            due.append(moment)
        moment += MINUTE
    return due


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(NIGHTS),
    st.sets(st.sampled_from([0, 1, 15, 30, 59]), min_size=1),
    st.none() | st.sets(st.integers(0, 4), min_size=1),
)
def test_cron_is_due_once_a_skipped_hour_when_it_ends_and_a_repeated_one_the_first_time(night, minutes, hours):
    name, start = night
    fields = [",".join(map(str, sorted(minutes))), "*" if hours is None else ",".join(map(str, sorted(hours)))]
    cron = parse_cron(" ".join([*fields, "*", "*", "*"]), name, start)
    end = start + timedelta(days=2)
    found, moment = [], start
    while (moment := cron.next_after(moment)) <= end:
        found.append(moment)
    assert found == walk(minutes, hours, ZoneInfo(name), start, end)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["1m", "7m", "30m", "5h", "1d", "3d"]),
    st.integers(0, 40_000),
    st.integers(0, 59),
    st.integers(1, 12),
)
def test_backoff_of_an_interval_is_what_a_walk_from_due_time_to_due_time_comes_to(text, minutes, seconds, failures):
    interval = Interval(parse_interval(text), NOW)
    failed_at = NOW + minutes * MINUTE + timedelta(seconds=seconds)
    due = [interval.next_after(failed_at)]
    while len(due) < 2**failures and due[-1] + interval.every <= failed_at + timedelta(days=1):
        due.append(interval.next_after(due[-1]))
    assert next_after_failures(interval, failed_at, failures) == due[-1]
    assert (due[0] - NOW) % interval.every == timedelta()
    assert timedelta() < due[0] - failed_at <= interval.every


def test_backoff_of_a_cron_takes_every_second_then_every_fourth_time_and_at_most_a_day():
    hourly = Cron("0 * * * *", "UTC")
    failed_at = NOW + timedelta(seconds=2)
    hours = [(next_after_failures(hourly, failed_at, failures) - NOW) / timedelta(hours=1) for failures in range(1, 7)]
    assert hours == [2, 4, 8, 16, 24, 24]
    friday = datetime(2026, 11, 27, 22, 0, 1, tzinfo=UTC)
    assert next_after_failures(Cron("0 22 * * 1-5", "UTC"), friday, 3) == datetime(2026, 11, 30, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 25 * * *", r"field 2 \(hour, character 3\): need 0-23.*'25'"),
        ("0  22 *   * mon-fry", r"field 5 \(day of the week, character 13\).*'mon-fry'"),
        ("60 * * * *", r"field 1 \(minute, character 1\)"),
        ("R * * * *", r"field 1 \(minute, character 1\)"),
        ("0 0 30 2 *", "no such date ever comes"),
        ("* * * *", r"five fields \(minute, hour.*with 4"),
        ("0 * * * * *", "with 6"),
        ("@daily", "with 1"),
    ],
)
def test_wrong_cron_is_refused_with_the_place_of_its_fault(expression, words):
    with pytest.raises(InvalidInput, match=words) as caught:
        parse_cron(expression, "UTC", NOW)
    assert caught.value.reason == "bad_cron"


@pytest.mark.parametrize("name", ["Europe/Berlln", "Europe", "../etc/passwd", "", "a\0b"])
def test_unknown_time_zone_is_refused(name):
    with pytest.raises(InvalidInput, match="timezone: need a name") as caught:
        parse_cron("* * * * *", name, NOW)
    assert ("did you mean 'Europe/Berlin'" in caught.value.message) == (name == "Europe/Berlln")


@pytest.mark.parametrize("text", ["0m", "30", "30s", "1.5h", "-1m", "367d", "", "999999d", "1 h"])
def test_wrong_interval_is_refused(text):
    with pytest.raises(InvalidInput, match="such as 30m, 2h or 1d"):
        parse_interval(text)


def test_interval_is_shown_as_it_would_be_written():
    assert [format_interval(parse_interval(text)) for text in ("1m", "90m", "60m", "24h", "366d")] == [
        "1m",
        "90m",
        "1h",
        "1d",
        "366d",
    ]
