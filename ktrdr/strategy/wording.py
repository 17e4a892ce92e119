"""How a fault is worded: the value as found, cut short, and the nearest name that exists."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TypeGuard

_SHOWN_CHARACTERS = 60


def shown(value: object) -> str:
    """Return a value as a message may show it: its repr, cut short so that a huge file stays out of the text."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 200:
        return "a very long whole number"  # repr of a huge int is slow, or refused by Python
    text = repr(value[:_SHOWN_CHARACTERS] if isinstance(value, str | list) else value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def did_you_mean(found: object, known: Iterable[str]) -> str:
    """Return " did you mean 'x'?" for the known name nearest to what was found, or nothing."""
    if not isinstance(found, str) or len(found) > 200:
        return ""
    by_lower = {name.lower(): name for name in known}
    near = get_close_matches(found.lower(), by_lower, n=1, cutoff=0.6)
    return f" did you mean {by_lower[near[0]]!r}?" if near else ""


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a number that a float holds; `true` is none, nor are NaN and infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -1e300 < value < 1e300
