"""Reversion and the place in the range: what has gone far comes back, or leaves where it pauses."""

from ktrdr.agents.families.idea import ADX_SETS, PATH, PLACE_SETS, RANK_SETS, SIZE, Draws, Idea, Variant, three_sets
from ktrdr.agents.tools import MarketListing

_PAID_PATIENCE = (
    "It should persist because whoever must trade at once pays those who need not, and the price comes back when the "
    "pressure ends; it fails when the move was news, which is why the regime is an input."
)
_REMEMBERED_PRICES = (
    "It should persist because people act on prices they remember, the highest and lowest of late, and dealers lean "
    "against the edges of a range as long as it holds; it fails when news moves the range itself."
)
_AGE_SETS = three_sets(("old", "middling", "fresh"), -1, 20, 80, 101)


def _rsi(draws: Draws, market: MarketListing) -> Idea:
    period, strength = draws.smoothing("rsi.timeperiod"), draws.smoothing("strength.timeperiod")
    low = draws.whole("rsi.low", 25, 35)
    return Idea(
        f"an RSI({period}) below {low} or above {100 - low} reverts where ADX({strength}) shows no trend",
        _PAID_PATIENCE,
        {"rsi": {"type": "RSI", "timeperiod": period}, "strength": {"type": "ADX", "timeperiod": strength}},
        {
            "rsi": {"input": "rsi", "sets": three_sets(("oversold", "neutral", "overbought"), 0, low, 100 - low, 100)},
            "strength": {"input": "strength", "sets": ADX_SETS},
        },
        (1, 2),
    )


def _bands(draws: Draws, market: MarketListing) -> Idea:
    period, path = draws.medium("bands.timeperiod"), draws.medium("straight.timeperiod")
    width = draws.one_of("bands.nbdevup", [1.5, 1.75, 2.0, 2.25, 2.5])
    return Idea(
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
            "path": {"input": "straight", "partition": PATH},
        },
        (1, 2),
    )


def _rank(draws: Draws, market: MarketListing) -> Idea:
    place, lookback = draws.slow("place.timeperiod"), draws.fast("edge.timeperiod")
    size = draws.smoothing("size.timeperiod")
    return Idea(
        f"a close at the edge of its last {lookback} bars reverts, the more so where it is at the edge of {place} bars "
        "too and the market is calm",
        _PAID_PATIENCE,
        {
            "place": {"type": "PERCENTRANK", "timeperiod": place},
            "edge": {"type": "WILLR", "timeperiod": lookback},
            "size": {"type": "NATR", "timeperiod": size},
        },
        {
            "place": {"input": "place", "sets": RANK_SETS},
            "edge": {"input": "edge", "sets": three_sets(("bottom", "inside", "top"), -100, -80, -20, 0)},
            "volatility": {"input": "size", "partition": SIZE},
        },
        (1, 2),
    )


def _stochastic(draws: Draws, market: MarketListing) -> Idea:
    lookback, strength = draws.medium("place.fastk_period"), draws.smoothing("strength.timeperiod")
    smooth = draws.whole("place.slowk_period", 2, 5)
    return Idea(
        f"inside the range of {lookback} bars the close swings from edge to edge as long as ADX({strength}) is weak, "
        "and leaves it where ADX is strong",
        _REMEMBERED_PRICES,
        {
            "place": {"type": "STOCH", "fastk_period": lookback, "slowk_period": smooth, "slowd_period": smooth},
            "strength": {"type": "ADX", "timeperiod": strength},
        },
        {
            "place": {"input": "place.slowk", "sets": PLACE_SETS},
            "strength": {"input": "strength", "sets": ADX_SETS},
        },
        (1, 3),
    )


def _distance(draws: Draws, market: MarketListing) -> Idea:
    lookback, size = draws.slow("ceiling.timeperiod"), draws.smoothing("size.timeperiod")
    return Idea(
        f"how far the close stands below the highest and above the lowest close of {lookback} bars says on which side "
        "the room is, the more so in calm markets",
        _REMEMBERED_PRICES,
        {
            "ceiling": {"type": "MAX", "timeperiod": lookback},
            "floor": {"type": "MIN", "timeperiod": lookback},
            "size": {"type": "NATR", "timeperiod": size},
        },
        {
            "ceiling": {"input": "ceiling", "relative_to": "close", "partition": ["at", "near", "far"]},
            "floor": {"input": "floor", "relative_to": "close", "partition": ["far", "near", "at"]},
            "volatility": {"input": "size", "partition": SIZE},
        },
        (1, 3),
    )


def _age(draws: Draws, market: MarketListing) -> Idea:
    lookback, stretch = draws.slow("age.timeperiod"), draws.medium("stretch.timeperiod")
    return Idea(
        f"an old extreme of {lookback} bars holds when a stretched price (CCI of {stretch} bars) comes near it, a "
        "fresh one does not",
        _REMEMBERED_PRICES,
        {"age": {"type": "AROON", "timeperiod": lookback}, "stretch": {"type": "CCI", "timeperiod": stretch}},
        {
            "high": {"input": "age.aroonup", "sets": _AGE_SETS},
            "low": {"input": "age.aroondown", "sets": _AGE_SETS},
            "stretch": {"input": "stretch", "partition": ["low", "usual", "high"]},
        },
        (1, 3),
    )


REVERSION = (Variant("rsi_adx", _rsi), Variant("bbands_er", _bands), Variant("rank_willr", _rank))
RANGE = (Variant("stoch_adx", _stochastic), Variant("minmax_natr", _distance), Variant("aroon_cci", _age))
