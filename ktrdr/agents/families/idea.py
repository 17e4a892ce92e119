"""What an idea is, and how its numbers are drawn: afresh, or near those of a strategy that did well."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ktrdr.agents.tools import MarketListing

Document = dict[str, Any]
# Standard deviation of the logarithm by which a number leaves its parent's: most stay within a third of it.
PARENT_SPREAD = 0.25
_MINUTES = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240}
ROUND_THE_CLOCK = ("fx", "24x7")


@dataclass(frozen=True, slots=True)
class Idea:
    """A hypothesis and the inputs that express it. `horizon_days`: how far ahead it is meant, lowest and highest."""

    claim: str
    reason: str
    indicators: Document
    fuzzy_sets: Document
    horizon_days: tuple[float, float]


class Draws:
    """Draws numbers for a market, each under a key such as `fast.timeperiod`.

    Periods are of hours to days on intraday bars, of weeks to months on daily ones. A number that `parent` has is
    drawn near it, within the same bounds.
    """

    def __init__(
        self, rng: np.random.Generator, market: MarketListing, parent: Mapping[str, float] | None = None
    ) -> None:
        self._rng = rng
        self._is_daily = market.timeframe == "1d"
        self._parent = parent or {}

    def fast(self, key: str) -> int:
        """Return 5..12 daily bars, or 8..24 intraday ones."""
        return self._period(key, (5, 12), (8, 24))

    def medium(self, key: str) -> int:
        """Return 12..25 daily bars, or 24..48 intraday ones."""
        return self._period(key, (12, 25), (24, 48))

    def slow(self, key: str) -> int:
        """Return 40..100 daily bars, or 72..168 intraday ones."""
        return self._period(key, (40, 100), (72, 168))

    def smoothing(self, key: str) -> int:
        """Return 7..14 daily bars, or 10..20 intraday ones: averages whose warm-up is many times as long."""
        return self._period(key, (7, 14), (10, 20))

    def whole(self, key: str, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`."""
        near = self._near(key, low, high)
        return int(self._rng.integers(low, high + 1)) if near is None else round(near)

    def one_of(self, key: str, choices: Sequence[float]) -> float:
        """Return one of the choices, in ascending order; the one closest to what lies near the parent's."""
        near = self._near(key, choices[0], choices[-1])
        if near is None:
            return float(self._rng.choice(choices))
        return min(choices, key=lambda choice: abs(choice - near))

    def _period(self, key: str, daily: tuple[int, int], intraday: tuple[int, int]) -> int:
        return self.whole(key, *(daily if self._is_daily else intraday))

    def _near(self, key: str, low: float, high: float) -> float | None:
        parent = self._parent.get(key)
        if parent is None:
            return None
        return float(np.clip(parent * math.exp(PARENT_SPREAD * self._rng.standard_normal()), low, high))


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to put a family's hypothesis. `key` is a part of the names of its strategies."""

    key: str
    draw: Callable[[Draws, MarketListing], Idea]
    serves: Callable[[MarketListing], bool] = lambda _: True


def is_daily(market: MarketListing) -> bool:
    """Return whether a bar is a whole session."""
    return market.timeframe == "1d"


def has_volume(market: MarketListing) -> bool:
    """Return whether it is known how much was traded."""
    return market.has_volume


def session_bars(market: MarketListing) -> int:
    """Return about how many bars a trading day has."""
    if is_daily(market):
        return 1
    minutes = 24 * 60 if market.calendar in ROUND_THE_CLOCK else 390
    return max(1, round(minutes / _MINUTES[market.timeframe]))


def three_sets(names: tuple[str, str, str], floor: float, low: float, high: float, ceiling: float) -> Document:
    """Return three sets over floor..ceiling that add up to 1 at every value: no dead zone."""
    middle = (low + high) / 2
    return {
        names[0]: {"shape": "trapezoid", "points": [floor, floor, low, middle]},
        names[1]: {"shape": "triangle", "points": [low, middle, high]},
        names[2]: {"shape": "trapezoid", "points": [middle, high, ceiling, ceiling]},
    }


def plateaus(names: Sequence[str], edges: Sequence[tuple[float, float]], floor: float, ceiling: float) -> Document:
    """Return sets side by side that add up to 1: each gives way to the next between the two ends of an edge."""
    lefts = [(floor, floor), *edges]
    rights = [*edges, (ceiling, ceiling)]
    return {
        name: {"shape": "trapezoid", "points": [*left, *right]}
        for name, left, right in zip(names, lefts, rights, strict=True)
    }


ADX_SETS = three_sets(("weak", "fair", "strong"), 0, 15, 35, 100)
# Sums that run on leave their bounds by a rounding: the outer sets reach a little beyond.
PLACE_SETS = three_sets(("low", "inside", "high"), -1, 20, 80, 101)
RANK_SETS = three_sets(("low", "middle", "high"), 0, 15, 85, 100)
PATH = ["choppy", "mixed", "straight"]
SIZE = ["calm", "usual", "wild"]
MOVE = ["down", "flat", "up"]
