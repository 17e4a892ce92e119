"""The bar lengths that ktrdr knows."""

from enum import StrEnum

from ktrdr.errors import InvalidInput

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


class Timeframe(StrEnum):
    """Nominal length of a bar; a daily bar is a session, not 24 hours."""

    M1 = "1m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H4 = "4h"
    D1 = "1d"

    @property
    def milliseconds(self) -> int:
        """Nominal length in milliseconds; 24 hours for a daily bar."""
        number, unit = int(self.value[:-1]), self.value[-1]
        return number * {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}[unit]

    @property
    def is_daily(self) -> bool:
        """Whether a bar is a whole session, labelled by the session's date."""
        return self is Timeframe.D1

    @property
    def longer(self) -> tuple["Timeframe", ...]:
        """The timeframes above this one, shortest first."""
        return tuple(each for each in Timeframe if each.milliseconds > self.milliseconds)

    @classmethod
    def parse(cls, text: str) -> "Timeframe":
        """Return the timeframe that `text` names.

        Raises:
            InvalidInput: It names none.
        """
        try:
            return cls(text)
        except ValueError:
            allowed = ", ".join(cls)
            raise InvalidInput(f"need a timeframe out of {allowed}, was {text!r}") from None
