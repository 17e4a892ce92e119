"""Trend and momentum: what moves goes on."""

from ktrdr.agents.families.idea import ADX_SETS, MOVE, PATH, SIZE, Draws, Idea, Variant, three_sets
from ktrdr.agents.tools import MarketListing

_SLOW_NEWS = (
    "It should persist because large orders are worked over days and news is absorbed slowly, so that a move under way "
    "draws followers; it fails in ranges and at sudden reversals."
)
_MANY_CLOCKS = (
    "It should persist because investors of different horizons react one after the other; it fails when horizons "
    "disagree and after crashes, when winners and losers change places."
)


def _averages(draws: Draws, market: MarketListing) -> Idea:
    fast, slow = draws.fast("fast.timeperiod"), draws.slow("slow.timeperiod")
    strength = draws.smoothing("strength.timeperiod")
    return Idea(
        f"a {fast}-bar average clear of the {slow}-bar one, in a market that ADX({strength}) calls trending, goes on",
        _SLOW_NEWS,
        {
            "fast": {"type": "EMA", "timeperiod": fast},
            "slow": {"type": "SMA", "timeperiod": slow},
            "strength": {"type": "ADX", "timeperiod": strength},
        },
        {
            "gap": {"input": "fast", "relative_to": "slow", "partition": ["below", "near", "above"]},
            "strength": {"input": "strength", "sets": ADX_SETS},
        },
        (2, 4),
    )


def _efficiency(draws: Draws, market: MarketListing) -> Idea:
    fast, path = draws.smoothing("drift.fastperiod"), draws.medium("straight.timeperiod")
    slow = max(draws.medium("drift.slowperiod"), fast + 5)
    return Idea(
        f"a PPO({fast}, {slow}) away from zero goes on where the last {path} bars walked a straight path",
        _SLOW_NEWS,
        {
            "drift": {"type": "PPO", "fastperiod": fast, "slowperiod": slow},
            "straight": {"type": "ER", "timeperiod": path},
        },
        {
            "drift": {"input": "drift", "partition": ["falling", "flat", "rising"]},
            "path": {"input": "straight", "partition": PATH},
        },
        (2, 4),
    )


def _fresh_extremes(draws: Draws, market: MarketListing) -> Idea:
    lookback, movement = draws.slow("fresh.timeperiod"), draws.medium("movement.timeperiod")
    size = draws.smoothing("size.timeperiod")
    return Idea(
        f"recent highs rather than lows within {lookback} bars, with VORTEX({movement}) on the same side, are followed "
        "by more of the same",
        _SLOW_NEWS,
        {
            "fresh": {"type": "AROONOSC", "timeperiod": lookback},
            "movement": {"type": "VORTEX", "timeperiod": movement},
            "size": {"type": "NATR", "timeperiod": size},
        },
        {
            # Its sums leave their bounds by a rounding.
            "fresh": {"input": "fresh", "sets": three_sets(("lows", "mixed", "highs"), -101, -60, 60, 101)},
            "upward": {"input": "movement.plusvi", "partition": ["little", "usual", "much"]},
            "volatility": {"input": "size", "partition": SIZE},
        },
        (2, 4),
    )


def _three_returns(draws: Draws, market: MarketListing) -> Idea:
    fast, medium = draws.fast("short_term.timeperiod"), draws.medium("mid_term.timeperiod")
    slow = draws.slow("long_term.timeperiod")
    return Idea(
        f"returns over {fast}, {medium} and {slow} bars of one sign are followed by a return of that sign",
        _MANY_CLOCKS,
        {
            "short_term": {"type": "ROC", "timeperiod": fast},
            "mid_term": {"type": "ROC", "timeperiod": medium},
            "long_term": {"type": "ROC", "timeperiod": slow},
        },
        {
            "short_term": {"input": "short_term", "partition": MOVE},
            "mid_term": {"input": "mid_term", "partition": MOVE},
            "long_term": {"input": "long_term", "partition": MOVE},
        },
        (2, 4),
    )


def _calm_returns(draws: Draws, market: MarketListing) -> Idea:
    medium, slow = draws.medium("mid_term.timeperiod"), draws.slow("long_term.timeperiod")
    size = draws.smoothing("size.timeperiod")
    return Idea(
        f"returns over {medium} and {slow} bars continue while volatility is usual, and less after it has jumped",
        _MANY_CLOCKS,
        {
            "mid_term": {"type": "ROC", "timeperiod": medium},
            "long_term": {"type": "ROC", "timeperiod": slow},
            "size": {"type": "NATR", "timeperiod": size},
        },
        {
            "mid_term": {"input": "mid_term", "partition": MOVE},
            "long_term": {"input": "long_term", "partition": MOVE},
            "volatility": {"input": "size", "partition": SIZE},
        },
        (2, 4),
    )


def _smooth_turn(draws: Draws, market: MarketListing) -> Idea:
    period, upward = draws.smoothing("drift.timeperiod"), draws.medium("upward.timeperiod")
    return Idea(
        f"a change of TRIX({period}) away from zero, with upward movement of {upward} bars on the same side, goes on: "
        "three averages have taken the noise out of it",
        _MANY_CLOCKS,
        {"drift": {"type": "TRIX", "timeperiod": period}, "upward": {"type": "PLUS_DI", "timeperiod": upward}},
        {
            "drift": {"input": "drift", "partition": ["falling", "flat", "rising"]},
            "upward": {"input": "upward", "partition": ["little", "usual", "much"]},
        },
        (2, 4),
    )


TREND = (
    Variant("ema_adx", _averages),
    Variant("ppo_er", _efficiency),
    Variant("aroon_vortex", _fresh_extremes),
)
MOMENTUM = (
    Variant("roc", _three_returns),
    Variant("roc_natr", _calm_returns),
    Variant("trix_di", _smooth_turn),
)
