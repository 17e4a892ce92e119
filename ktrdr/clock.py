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
