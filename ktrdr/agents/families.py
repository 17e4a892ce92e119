"""The four families of hypotheses that the offline designer draws from.

Each idea says what the market is thought to do, why that should last, and when it fails. Periods are drawn; sets
over bounded oscillators are explicit and overlap so that every value belongs somewhere, all others are partitions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ktrdr.agents.tools import MarketListing

Document = dict[str, Any]
_MINUTES = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240}
_ROUND_THE_CLOCK = ("fx", "24x7")


@dataclass(frozen=True, slots=True)
class Idea:
    """A hypothesis and the inputs that express it. `horizon_days`: how far ahead it is meant, lowest and highest."""

    words: tuple[str, ...]
    claim: str
    reason: str
    indicators: Document
    fuzzy_sets: Document
    horizon_days: tuple[float, float]


class Periods:
    """Draws indicator periods in bars: of hours to days on intraday bars, of weeks to months on daily ones."""

    def __init__(self, rng: np.random.Generator, market: MarketListing) -> None:
        self._rng = rng
        self._is_daily = market.timeframe == "1d"

    def fast(self) -> int:
        """Return 5..12 daily bars, or 8..24 intraday ones."""
        return self._draw((5, 12), (8, 24))

    def medium(self) -> int:
        """Return 12..25 daily bars, or 24..48 intraday ones."""
        return self._draw((12, 25), (24, 48))

    def slow(self) -> int:
        """Return 40..100 daily bars, or 72..168 intraday ones."""
        return self._draw((40, 100), (72, 168))

    def smoothing(self) -> int:
        """Return 7..14 daily bars, or 10..20 intraday ones: averages whose warm-up is many times as long."""
        return self._draw((7, 14), (10, 20))

    def _draw(self, daily: tuple[int, int], intraday: tuple[int, int]) -> int:
        low, high = daily if self._is_daily else intraday
        return int(self._rng.integers(low, high + 1))


def session_bars(market: MarketListing) -> int:
    """Return about how many bars a trading day has."""
    if market.timeframe == "1d":
        return 1
    minutes = 24 * 60 if market.calendar in _ROUND_THE_CLOCK else 390
    return max(1, round(minutes / _MINUTES[market.timeframe]))


def draw_idea(family: str, rng: np.random.Generator, market: MarketListing) -> Idea:
    """Return one idea of a family for a market."""
    variants = _VARIANTS[family]
    return variants[int(rng.integers(len(variants)))](Periods(rng, market), rng, market)


def _three_sets(names: tuple[str, str, str], floor: float, low: float, high: float, ceiling: float) -> Document:
    """Return three sets over floor..ceiling that add up to 1 at every value: no dead zone."""
    middle = (low + high) / 2
    return {
        names[0]: {"shape": "trapezoid", "points": [floor, floor, low, middle]},
        names[1]: {"shape": "triangle", "points": [low, middle, high]},
        names[2]: {"shape": "trapezoid", "points": [middle, high, ceiling, ceiling]},
    }


_ADX_SETS = _three_sets(("weak", "fair", "strong"), 0, 15, 35, 100)
_SLOW_NEWS = (
    "It should persist because large orders are worked over days and news is absorbed slowly, so that a move under way "
    "draws followers; it fails in ranges and at sudden reversals."
)
_PAID_PATIENCE = (
    "It should persist because whoever must trade at once pays those who need not, and the price comes back when the "
    "pressure ends; it fails when the move was news, which is why the regime is an input."
)
_STORED_ORDERS = (
    "It should persist because stop and entry orders gather beyond old extremes and quiet markets hold many small "
    "positions; it fails when the break finds no followers, which happens often."
)
_MANY_CLOCKS = (
    "It should persist because investors of different horizons react one after the other; it fails when horizons "
    "disagree and after crashes, when winners and losers change places."
)


def _trend_averages(periods: Periods, rng: np.random.Generator, market: MarketListing) -> Idea:
    fast, slow, strength = periods.fast(), periods.slow(), periods.smoothing()
    return Idea(
        ("ema", "adx"),
        f"a {fast}-bar average clear of the {slow}-bar one, in a market that ADX({strength}) calls trending, goes on",
        _SLOW_NEWS,
        {
            "fast": {"type": "EMA", "timeperiod": fast},
            "slow": {"type": "SMA", "timeperiod": slow},
            "strength": {"type": "ADX", "timeperiod": strength},
        },
        {
            "gap": {"input": "fast", "relative_to": "slow", "partition": ["below", "near", "above"]},
            "strength": {"input": "strength", "sets": _ADX_SETS},
        },
        (2, 4),
    )


def _trend_efficiency(periods: Periods, rng: np.random.Generator, market: MarketListing) -> Idea:
    fast, slow, path = periods.smoothing(), periods.medium(), periods.medium()
    slow = max(slow, fast + 5)
    return Idea(
        ("ppo", "er"),
        f"a PPO({fast}, {slow}) away from zero goes on where the last {path} bars walked a straight path",
        _SLOW_NEWS,
        {
            "drift": {"type": "PPO", "fastperiod": fast, "slowperiod": slow},
            "straight": {"type": "ER", "timeperiod": path},
        },
        {
            "drift": {"input": "drift", "partition": ["falling", "flat", "rising"]},
            "path": {"input": "straight", "partition": ["choppy", "mixed", "straight"]},
        },
        (2, 4),
    )


def _trend_fresh_extremes(periods: Periods, rng: np.random.Generator, market: MarketListing) -> Idea:
    lookback, movement, size = periods.slow(), periods.medium(), periods.smoothing()
    return Idea(
        ("aroon", "vortex"),
        f"recent highs rather than lows within {lookback} bars, with VORTEX({movement}) on the same side, are followed "
        "by more of the same",
        _SLOW_NEWS,
        {
            "fresh": {"type": "AROONOSC", "timeperiod": lookback},
            "movement": {"type": "VORTEX", "timeperiod": movement},
            "size": {"type": "NATR", "timeperiod": size},
        },
        {
            "fresh": {"input": "fresh", "sets": _three_sets(("lows", "mixed", "highs"), -100, -60, 60, 100)},
            "upward": {"input": "movement.plusvi", "partition": ["little", "usual", "much"]},
            "volatility": {"input": "size", "partition": ["calm", "usual", "wild"]},
        },
        (2, 4),
    )


def _reversion_rsi(periods: Periods, rng: np.random.Generator, market: MarketListing) -> Idea:
    period, strength, low = periods.smoothing(), periods.smoothing(), float(rng.integers(25, 36))
    return Idea(
        ("rsi", "adx"),
        f"an RSI({period}) below {low:g} or above {100 - low:g} reverts where ADX({strength}) shows no trend",
        _PAID_PATIENCE,
        {"rsi": {"type": "RSI", "timeperiod": period}, "strength": {"type": "ADX", "timeperiod": strength}},
        {
            "rsi": {"input": "rsi", "sets": _three_sets(("oversold", "neutral", "overbought"), 0, low, 100 - low, 100)},
            "strength": {"input": "strength", "sets": _ADX_SETS},
        },
        (1, 2),
    )


def _reversion_bands(periods: Periods, rng: np.random.Generator, market: MarketListing) -> Idea:
    period, path, width = periods.medium(), periods.medium(), float(rng.choice([1.5, 1.75, 2.0, 2.25, 2.5]))
    return Idea(
        ("bbands", "er"),
        f"a close near or beyond a {width:g}-deviation band of {period} bars comes back, unless the last {path} bars "
        "walked straight there",
        _PAID_PATIENCE,
        {
            "bands": {"type": "BBANDS", "timeperiod": period, "nbdevup": width, "nbdevdn": width},
            "straight": {"type": "ER", "timeperiod": path},
        },
        {
            "lower": {"input": "bands.lowerband", "relative_to": "close", "partition": ["far", "near", "beyond"]},
            "upper": {"input": "bands.upperband", "relative_to": "close", "partition": ["beyond", "near", "far"]},
            "path": {"input": "straight", "partition": ["choppy", "mixed", "straight"]},
        },
        (1, 2),
    )


def _reversion_rank(periods: Periods, rng: np.random.Generator, market: MarketListing) -> Idea:
    place, lookback, size = periods.slow(), periods.fast(), periods.smoothing()
    return Idea(
        ("rank", "willr"),
        f"a close at the edge of its last {lookback} bars reverts, the more so where it is at the edge of {place} bars "
        "too and the market is calm",
        _PAID_PATIENCE,
        {
            "place": {"type": "PERCENTRANK", "timeperiod": place},
            "edge": {"type": "WILLR", "timeperiod": lookback},
            "size": {"type": "NATR", "timeperiod": size},
        },
        {
            "place": {"input": "place", "sets": _three_sets(("low", "middle", "high"), 0, 15, 85, 100)},
            "edge": {"input": "edge", "sets": _three_sets(("bottom", "inside", "top"), -100, -80, -20, 0)},
            "volatility": {"input": "size", "partition": ["calm", "usual", "wild"]},
        },
        (1, 2),
    )


def _breakout_channel(periods: Periods, rng: np.random.Generator, market: MarketListing) -> Idea:
    lookback, size = periods.slow(), periods.smoothing()
    indicators: Document = {
        "channel": {"type": "DONCHIAN", "timeperiod": lookback},
        "size": {"type": "NATR", "timeperiod": size},
    }
    fuzzy_sets: Document = {
        "ceiling": {"input": "channel.upperband", "relative_to": "close", "partition": ["at", "near", "far"]},
        "floor": {"input": "channel.lowerband", "relative_to": "close", "partition": ["far", "near", "at"]},
        "volatility": {"input": "size", "partition": ["quiet", "usual", "busy"]},
    }
    words = ("donchian", "natr")
    if market.has_volume:
        words = ("donchian", "rvol")
        indicators["activity"] = {"type": "RVOL", "timeperiod": periods.medium()}
        fuzzy_sets["activity"] = {"input": "activity", "partition": ["thin", "usual", "heavy"]}
    claim = f"a close at the edge of the last {lookback} bars goes through it when volatility has been low"
    return Idea(words, claim, _STORED_ORDERS, indicators, fuzzy_sets, (1, 2.5))


def _breakout_squeeze(periods: Periods, rng: np.random.Generator, market: MarketListing) -> Idea:
    period, place, width = periods.medium(), periods.slow(), float(rng.choice([1.5, 2.0, 2.5]))
    return Idea(
        ("squeeze", "rank"),
        f"after the {width:g}-deviation bands of {period} bars have narrowed, the side on which the close leaves its "
        f"place among {place} bars is the one that runs",
        _STORED_ORDERS,
        {
            "bands": {"type": "BBANDS", "timeperiod": period, "nbdevup": width, "nbdevdn": width},
            "place": {"type": "PERCENTRANK", "timeperiod": place},
        },
        {
            "width": {
                "input": "bands.upperband",
                "relative_to": "bands.lowerband",
                "partition": ["narrow", "usual", "wide"],
            },
            "place": {"input": "place", "sets": _three_sets(("low", "middle", "high"), 0, 15, 85, 100)},
        },
        (1, 2.5),
    )


def _breakout_keltner(periods: Periods, rng: np.random.Generator, market: MarketListing) -> Idea:
    period, range_period, path = periods.smoothing(), periods.smoothing(), periods.fast()
    width = float(rng.choice([1.5, 2.0, 2.5]))
    return Idea(
        ("keltner", "er"),
        f"a close outside a Keltner channel of {period} bars and {width:g} ranges keeps going where the last {path} "
        "bars went straight",
        _STORED_ORDERS,
        {
            "channel": {"type": "KC", "timeperiod": period, "atrperiod": range_period, "nbdev": width},
            "straight": {"type": "ER", "timeperiod": path},
        },
        {
            "ceiling": {"input": "channel.upperband", "relative_to": "close", "partition": ["beyond", "near", "far"]},
            "floor": {"input": "channel.lowerband", "relative_to": "close", "partition": ["far", "near", "beyond"]},
            "path": {"input": "straight", "partition": ["choppy", "mixed", "straight"]},
        },
        (1, 2.5),
    )


def _momentum_returns(periods: Periods, rng: np.random.Generator, market: MarketListing) -> Idea:
    fast, medium, slow = periods.fast(), periods.medium(), periods.slow()
    return Idea(
        ("roc", f"{fast}x{medium}x{slow}"),
        f"returns over {fast}, {medium} and {slow} bars of one sign are followed by a return of that sign",
        _MANY_CLOCKS,
        {
            "short_term": {"type": "ROC", "timeperiod": fast},
            "mid_term": {"type": "ROC", "timeperiod": medium},
            "long_term": {"type": "ROC", "timeperiod": slow},
        },
        {
            "short_term": {"input": "short_term", "partition": ["down", "flat", "up"]},
            "mid_term": {"input": "mid_term", "partition": ["down", "flat", "up"]},
            "long_term": {"input": "long_term", "partition": ["down", "flat", "up"]},
        },
        (2, 4),
    )


def _momentum_calm(periods: Periods, rng: np.random.Generator, market: MarketListing) -> Idea:
    medium, slow, size = periods.medium(), periods.slow(), periods.smoothing()
    return Idea(
        ("roc", "natr"),
        f"returns over {medium} and {slow} bars continue while volatility is usual, and less after it has jumped",
        _MANY_CLOCKS,
        {
            "mid_term": {"type": "ROC", "timeperiod": medium},
            "long_term": {"type": "ROC", "timeperiod": slow},
            "size": {"type": "NATR", "timeperiod": size},
        },
        {
            "mid_term": {"input": "mid_term", "partition": ["down", "flat", "up"]},
            "long_term": {"input": "long_term", "partition": ["down", "flat", "up"]},
            "volatility": {"input": "size", "partition": ["calm", "usual", "wild"]},
        },
        (2, 4),
    )


_Variant = Callable[[Periods, np.random.Generator, MarketListing], Idea]
_VARIANTS: dict[str, tuple[_Variant, ...]] = {
    "trend": (_trend_averages, _trend_efficiency, _trend_fresh_extremes),
    "reversion": (_reversion_rsi, _reversion_bands, _reversion_rank),
    "breakout": (_breakout_channel, _breakout_squeeze, _breakout_keltner),
    "momentum": (_momentum_returns, _momentum_calm),
}
