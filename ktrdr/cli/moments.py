"""Times as a user types them."""

import re
from datetime import UTC, datetime, timedelta

from ktrdr.clock import utc_now
from ktrdr.errors import InvalidInput

_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(option: str, text: str | None) -> datetime | None:
    """Return the time that `12h` ago or an ISO 8601 text means, UTC where it says no zone; None for None.

    Raises:
        InvalidInput: It is neither; the message names the option.
    """
    if text is None:
        return None
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            return utc_now() - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"{option}: need a time such as 2026-03-01T08:00, or how long ago, such as 12h, was {text!r}"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
