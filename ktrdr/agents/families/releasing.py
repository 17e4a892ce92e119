"""Breakout and volatility: quiet times end, wild ones too."""

from ktrdr.agents.families.idea import PATH, PLACE_SETS, RANK_SETS, SIZE, Draws, Idea, Variant, three_sets
from ktrdr.agents.tools import MarketListing

_STORED_ORDERS = (
    "It should persist because stop and entry orders gather beyond old extremes and quiet markets hold many small "
    "positions; it fails when the break finds no followers, which happens often."
)
_BORROWED_RISK = (
    "It should persist because much money is sized by recent volatility: it buys into calm and must sell into storms, "
    "whatever the price, and volatility itself comes in clusters; it fails when calm was only the wait for news."
)


def _channel(draws: Draws, market: MarketListing) -> Idea:
    lookback, size = draws.slow("channel.timeperiod"), draws.smoothing("size.timeperiod")
    return Idea(
        f"a close at the edge of the last {lookback} bars goes through it when volatility has been low",
        _STORED_ORDERS,
        {
            "channel": {"type": "DONCHIAN", "timeperiod": lookback},
            "size": {"type": "NATR", "timeperiod": size},
        },
        {
            "ceiling": {"input": "channel.upperband", "relative_to": "close", "partition": ["at", "near", "far"]},
            "floor": {"input": "channel.lowerband", "relative_to": "close", "partition": ["far", "near", "at"]},
            "volatility": {"input": "size", "partition": ["quiet", "usual", "busy"]},
        },
        (1, 2.5),
    )


def _squeeze(draws: Draws, market: MarketListing) -> Idea:
    period, place = draws.medium("bands.timeperiod"), draws.slow("place.timeperiod")
    width = draws.one_of("bands.nbdevup", [1.5, 2.0, 2.5])
    return Idea(
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
            "place": {"input": "place", "sets": RANK_SETS},
        },
        (1, 2.5),
    )


def _keltner(draws: Draws, market: MarketListing) -> Idea:
    period, range_period = draws.smoothing("channel.timeperiod"), draws.smoothing("channel.atrperiod")
    path, width = draws.fast("straight.timeperiod"), draws.one_of("channel.nbdev", [1.5, 2.0, 2.5])
    return Idea(
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
            "path": {"input": "straight", "partition": PATH},
        },
        (1, 2.5),
    )


def _calm_drift(draws: Draws, market: MarketListing) -> Idea:
    size, first = draws.smoothing("size.timeperiod"), draws.medium("drift.firstperiod")
    second = draws.fast("drift.secondperiod")
    return Idea(
        f"while NATR({size}) is calm the drift that TSI({first}, {second}) shows is paid; when it turns wild the drift "
        "is given back",
        _BORROWED_RISK,
        {
            "size": {"type": "NATR", "timeperiod": size},
            "drift": {"type": "TSI", "firstperiod": first, "secondperiod": second},
        },
        {
            "volatility": {"input": "size", "partition": SIZE},
            "drift": {"input": "drift", "partition": ["falling", "flat", "rising"]},
        },
        (2, 4),
    )


def _spent_storm(draws: Draws, market: MarketListing) -> Idea:
    size, period = draws.fast("size.timeperiod"), draws.smoothing("stretch.timeperiod")
    lookback = draws.medium("stretch.fastk_period")
    return Idea(
        f"after a burst of NATR({size}) a price at the edge of its RSI range of {lookback} bars recovers, because "
        "those who had to trade are done",
        _BORROWED_RISK,
        {
            "size": {"type": "NATR", "timeperiod": size},
            "stretch": {"type": "STOCHRSI", "timeperiod": period, "fastk_period": lookback, "fastd_period": 3},
        },
        {
            "volatility": {"input": "size", "partition": SIZE},
            "stretch": {"input": "stretch.fastd", "sets": PLACE_SETS},
        },
        (1, 3),
    )


def _two_widths(draws: Draws, market: MarketListing) -> Idea:
    period, channel = draws.medium("bands.timeperiod"), draws.smoothing("channel.timeperiod")
    push = draws.smoothing("push.timeperiod")
    return Idea(
        f"Bollinger bands of {period} bars that lie inside a Keltner channel of {channel} bars are followed by a move "
        f"to the side of CMO({push}); bands far outside are followed by quiet",
        _BORROWED_RISK,
        {
            "bands": {"type": "BBANDS", "timeperiod": period, "nbdevup": 2.0, "nbdevdn": 2.0},
            "channel": {"type": "KC", "timeperiod": channel, "atrperiod": channel, "nbdev": 1.5},
            "push": {"type": "CMO", "timeperiod": push},
        },
        {
            "width": {
                "input": "bands.upperband",
                "relative_to": "channel.upperband",
                "partition": ["inside", "even", "outside"],
            },
            "push": {"input": "push", "sets": three_sets(("down", "none", "up"), -100, -30, 30, 100)},
        },
        (1, 3),
    )


BREAKOUT = (Variant("donchian_natr", _channel), Variant("squeeze_rank", _squeeze), Variant("keltner_er", _keltner))
VOLATILITY = (
    Variant("natr_tsi", _calm_drift),
    Variant("natr_stochrsi", _spent_storm),
    Variant("bbands_keltner", _two_widths),
)
