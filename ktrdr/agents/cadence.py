"""When something recurs: every so much elapsed time, or at the times of a cron expression."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from zoneinfo import ZoneInfo, available_timezones

from croniter import CroniterBadDateError, CroniterError, croniter

from ktrdr.errors import InvalidInput

MIN_EVERY, MAX_EVERY = timedelta(minutes=1), timedelta(days=366)
_MAX_BACKOFF = timedelta(days=1)
_MAX_SKIPPED = 1440  # a day of minutes: what `_MAX_BACKOFF` can hold
_INTERVAL = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_FIELDS = (
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of the month", "1-31"),
    ("month", "1-12 or jan-dec"),
    ("day of the week", "0-7 or sun-sat, where 0 and 7 are Sunday"),
)
# The library also draws a value at random, another one each time it is asked.
_DRAWN = re.compile(r"(?<![a-z])[hr](?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Interval:
    """Recurs every `every` from `start` on, whatever the clocks on the wall do."""

    every: timedelta
    start: datetime

    def next_after(self, moment: datetime) -> datetime:
        """Return the first time later than `moment`."""
        if moment < self.start:
            return self.start
        return self.start + ((moment - self.start) // self.every + 1) * self.every


@dataclass(frozen=True, slots=True)
class Cron:
    """Recurs at the times of a cron expression of five fields, on the clocks of a time zone.

    A time that the clocks skip is taken when they have moved, one that comes twice the first time only. Where the hour
    field begins with `*`, no hour of the clock was asked for: every hour that passes counts once.
    """

    expression: str
    timezone: str

    def next_after(self, moment: datetime) -> datetime:
        """Return the first time later than `moment`."""
        times: Iterator[datetime] = croniter(
            self.expression, moment.astimezone(ZoneInfo(self.timezone)), ret_type=datetime
        )
        found = next(times)
        if not self.expression.split()[1].startswith("*"):
            while found.fold:
                found = next(times)
        return found.astimezone(UTC)


Cadence = Interval | Cron


def parse_interval(text: str) -> timedelta:
    """Read "30m", "2h" or "1d".

    Raises:
        InvalidInput: It is none, or not within 1m and 366d.
    """
    match = _INTERVAL.fullmatch(text.strip())
    every = int(match[1]) * _UNITS[match[2]] if match else timedelta()
    if not MIN_EVERY <= every <= MAX_EVERY:
        raise InvalidInput(
            f"every: need a whole number of minutes, hours or days from {format_interval(MIN_EVERY)} to "
            f"{format_interval(MAX_EVERY)}, such as 30m, 2h or 1d, was {text!r}",
            reason="bad_interval",
        )
    return every


def format_interval(every: timedelta) -> str:
    """Return whole minutes in the largest unit that holds them exactly, "90m" or "2h"."""
    unit = next(unit for unit in ("d", "h", "m") if not every % _UNITS[unit])
    return f"{every // _UNITS[unit]}{unit}"


def parse_cron(expression: str, timezone: str, now: datetime) -> Cron:
    """Read a cron expression.

    Raises:
        InvalidInput: A field is wrong (the message says which and where), no such time comes (`bad_cron`), or there
            is no such time zone (`bad_timezone`).
    """
    _check_timezone(timezone)
    fields = [*re.finditer(r"\S+", expression)]
    if len(fields) != len(_FIELDS):
        raise _bad_cron(
            f"need five fields ({', '.join(name for name, _ in _FIELDS)}), was {expression!r} with {len(fields)}"
        )
    for number, (field, (name, allowed)) in enumerate(zip(fields, _FIELDS, strict=True)):
        alone = ["*"] * len(_FIELDS)
        alone[number] = field[0]
        if _DRAWN.search(field[0]) or not croniter.is_valid(" ".join(alone)):
            raise _bad_cron(
                f"field {number + 1} ({name}, character {field.start() + 1}): need {allowed}, lists, ranges and steps "
                f"of it or *, was {field[0]!r}"
            )
    cron = Cron(" ".join(field[0] for field in fields), timezone)
    try:
        cron.next_after(now)
    except CroniterBadDateError:
        raise _bad_cron(f"no such date ever comes, was {expression!r}") from None
    except CroniterError as error:
        raise _bad_cron(f"{error}, was {expression!r}") from None
    return cron


def next_after_failures(cadence: Cadence, failed_at: datetime, failures: int) -> datetime:
    """Return when to try again after `failures` in a row (>= 1), the last one begun at `failed_at`.

    The 2^failures-th time of the cadence, or the last within a day; at least the next one, however far.
    """
    steps = min(1 << failures, _MAX_SKIPPED)
    latest = failed_at + _MAX_BACKOFF
    due = cadence.next_after(failed_at)
    if isinstance(cadence, Interval):
        return due + min(steps - 1, max(0, (latest - due) // cadence.every)) * cadence.every
    for _ in range(steps - 1):
        later = cadence.next_after(due)
        if later > latest:
            break
        due = later
    return due


def _check_timezone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        near = get_close_matches(name, available_timezones(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InvalidInput(
            f"timezone: need a name such as UTC or America/New_York, was {name!r}{hint}", reason="bad_timezone"
        ) from None


def _bad_cron(words: str) -> InvalidInput:
    return InvalidInput(f"cron: {words}", reason="bad_cron")
