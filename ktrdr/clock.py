"""The one place that reads the wall clock; everything else is handed a `Clock`."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the present time, timezone-aware, in UTC."""
    return datetime.now(UTC)


def epoch_ms(moment: datetime) -> int:
    """Return a timezone-aware time as whole milliseconds since 1970-01-01 UTC."""
    return int(moment.timestamp() * 1000)


def from_epoch_ms(milliseconds: int) -> datetime:
    """Return the UTC time of whole milliseconds since 1970-01-01."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def format_time(moment: datetime) -> str:
    """Return an aware time as ISO 8601 in UTC with milliseconds, `2017-05-01T08:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
