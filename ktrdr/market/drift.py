"""Clocks that are wrong for part of a file: the market seems to open and to close early, or late, by the same time."""

from datetime import UTC, datetime

import numpy as np

from ktrdr.market.bars import Bars
from ktrdr.market.calendar import FX, ROUND_THE_CLOCK, IntArray, Sessions
from ktrdr.market.findings import Finding, Severity
from ktrdr.market.timeframe import HOUR_MS, MINUTE_MS

FARTHEST_MS = 12 * HOUR_MS  # a clock that is off by more is off by a day
LEAST_SHIFT_MS = 30 * MINUTE_MS
FEWEST_SHIFTED = 2
SHIFTED_SHARE = 0.01


def find_clock_drift(bars: Bars, sessions: Sessions) -> list[Finding]:
    """Return whether some weeks (of FX; sessions of an exchange) begin and end late or early by one and the same time.

    A holiday or a late start moves one end only. Markets that never close, and daily bars, show nothing.
    """
    if bars.timeframe.is_daily or sessions.calendar == ROUND_THE_CLOCK:
        return []
    opens, closes = _spans(sessions)
    inside = (opens > bars.timestamp[0]) & (closes < bars.timestamp[-1])
    opens, closes = opens[inside], closes[inside]
    if not len(opens):
        return []
    label, length = bars.timestamp, bars.timeframe.milliseconds
    reach = min(FARTHEST_MS, int(np.min(opens[1:] - closes[:-1])) // 2) if len(opens) > 1 else FARTHEST_MS
    first = np.searchsorted(label, opens - reach)
    last = np.searchsorted(label, closes + reach, side="left") - 1
    held = last > first
    opens, closes, first, last = opens[held], closes[held], first[held], last[held]
    early, late = label[first] - opens, label[last] + length - closes
    shifted = np.flatnonzero((np.abs(early - late) < length) & (np.abs(early) >= LEAST_SHIFT_MS) & (early * late > 0))
    if length >= 2 * LEAST_SHIFT_MS:
        shifted = shifted[early[shifted] == late[shifted]]
    if len(shifted) < max(FEWEST_SHIFTED, SHIFTED_SHARE * len(opens)):
        return []
    shifts, counts = np.unique(early[shifted], return_counts=True)
    usual = int(shifts[np.argmax(counts)])
    unit = "weeks" if sessions.calendar == FX else "sessions"
    return [
        Finding(
            kind="clock_drift",
            severity=Severity.SERIOUS,
            count=len(shifted),
            first=datetime.fromtimestamp(int(label[first[shifted[0]]]) / 1000, UTC),
            what=(
                f"{len(shifted)} of {len(opens)} {unit} begin and end {abs(usual) / HOUR_MS:g} hours"
                f" {'late' if usual > 0 else 'early'}"
            ),
            advice=(
                "check --timezone, and whether times are bar ends; a broker's clock may change its zone within a file:"
                " split it there and import each part with its own"
            ),
        )
    ]


def _spans(sessions: Sessions) -> tuple[IntArray, IntArray]:
    """Return the open and close of each stretch after which the market rests: FX weeks, an exchange's sessions."""
    rests = np.flatnonzero(np.diff(sessions.day) > 1) if sessions.calendar == FX else np.arange(len(sessions.day) - 1)
    starts = np.concatenate([[0], rests + 1])
    stops = np.concatenate([rests, [len(sessions.day) - 1]])
    return sessions.open[starts], sessions.close[stops]
