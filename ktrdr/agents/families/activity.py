"""Volume and season: who trades now, and when."""

from ktrdr.agents.families.idea import (
    MOVE,
    RANK_SETS,
    ROUND_THE_CLOCK,
    SIZE,
    Document,
    Draws,
    Idea,
    Variant,
    has_volume,
    is_daily,
    plateaus,
    session_bars,
    three_sets,
)
from ktrdr.agents.tools import MarketListing

_SEEN_COMMITMENT = (
    "It should persist because volume shows how much conviction stands behind a price, and large traders cannot hide "
    "that they trade; it fails where volume comes from expiries, index changes or one-off blocks."
)
_FIXED_HOURS = (
    "It should persist because banks, funds and hedgers trade at hours and days that rules and habit fix for them, not "
    "at prices they choose; it fails when too many know of it, and around holidays."
)
_WEEK = three_sets(("early", "middle", "late"), 0, 1, 3, 6)
_MONTH = plateaus(("start", "middle", "end"), [(3, 6), (22, 26)], 1, 31)
# New York's clock: Asia trades until about 3, Europe from then, America from 8 to 17, and then Asia again.
_WORLD = plateaus(("asia", "europe", "america", "evening"), [(2, 4), (7, 9), (15, 17)], 0, 24)


def _has_hours(market: MarketListing) -> bool:
    """Return whether a session has enough bars for three parts of the day."""
    return session_bars(market) >= 4


def _hours(market: MarketListing) -> Document:
    if market.calendar in ROUND_THE_CLOCK:
        return {"input": "hour", "sets": _WORLD}
    return {"input": "hour", "partition": ["early", "midday", "late"]}


def _flow(draws: Draws, market: MarketListing) -> Idea:
    flow, move = draws.medium("flow.timeperiod"), draws.medium("move.timeperiod")
    return Idea(
        f"a return over {move} bars goes on where the money of {flow} bars flowed the same way (CMF), and turns where "
        "it flowed against it",
        _SEEN_COMMITMENT,
        {"flow": {"type": "CMF", "timeperiod": flow}, "move": {"type": "ROC", "timeperiod": move}},
        {
            "flow": {"input": "flow", "partition": ["out", "even", "in"]},
            "move": {"input": "move", "partition": MOVE},
        },
        (1, 3),
    )


def _climax(draws: Draws, market: MarketListing) -> Idea:
    activity, period = draws.medium("activity.timeperiod"), draws.smoothing("rsi.timeperiod")
    low = draws.whole("rsi.low", 25, 35)
    return Idea(
        f"an RSI({period}) beyond {low} or {100 - low} on volume far above that of {activity} bars is a climax and "
        "turns; on thin volume it drifts on",
        _SEEN_COMMITMENT,
        {"activity": {"type": "RVOL", "timeperiod": activity}, "rsi": {"type": "RSI", "timeperiod": period}},
        {
            "activity": {"input": "activity", "partition": ["thin", "usual", "heavy"]},
            "rsi": {"input": "rsi", "sets": three_sets(("oversold", "neutral", "overbought"), 0, low, 100 - low, 100)},
        },
        (1, 2),
    )


def _paid_trend(draws: Draws, market: MarketListing) -> Idea:
    flow, slow = draws.medium("flow.timeperiod"), draws.slow("slow.timeperiod")
    return Idea(
        f"a close away from its {slow}-bar average stays there as long as the money flow of {flow} bars (MFI) pays for "
        "it",
        _SEEN_COMMITMENT,
        {"flow": {"type": "MFI", "timeperiod": flow}, "slow": {"type": "SMA", "timeperiod": slow}},
        {
            "flow": {"input": "flow", "sets": three_sets(("out", "even", "in"), 0, 30, 70, 100)},
            "gap": {"input": "slow", "relative_to": "close", "partition": ["below", "near", "above"]},
        },
        (2, 4),
    )


def _attended_break(draws: Draws, market: MarketListing) -> Idea:
    lookback, activity = draws.slow("channel.timeperiod"), draws.medium("activity.timeperiod")
    return Idea(
        f"a close at the edge of {lookback} bars goes through it on volume above that of {activity} bars, and not "
        "without",
        _SEEN_COMMITMENT,
        {
            "channel": {"type": "DONCHIAN", "timeperiod": lookback},
            "activity": {"type": "RVOL", "timeperiod": activity},
        },
        {
            "ceiling": {"input": "channel.upperband", "relative_to": "close", "partition": ["at", "near", "far"]},
            "floor": {"input": "channel.lowerband", "relative_to": "close", "partition": ["far", "near", "at"]},
            "activity": {"input": "activity", "partition": ["thin", "usual", "heavy"]},
        },
        (1, 2.5),
    )


def _hour_of_moves(draws: Draws, market: MarketListing) -> Idea:
    move = draws.fast("move.timeperiod")
    return Idea(
        f"whether the move of the last {move} bars goes on or turns depends on the hour: the next continent confirms "
        "it or takes the other side",
        _FIXED_HOURS,
        {"hour": {"type": "HOUR"}, "move": {"type": "ROC", "timeperiod": move}},
        {"hour": _hours(market), "move": {"input": "move", "partition": MOVE}},
        (0.25, 1),
    )


def _hour_of_edges(draws: Draws, market: MarketListing) -> Idea:
    place = draws.medium("place.timeperiod")
    return Idea(
        f"a price at the edge of its last {place} bars comes back in quiet hours and breaks out in busy ones",
        _FIXED_HOURS,
        {"hour": {"type": "HOUR"}, "place": {"type": "PERCENTRANK", "timeperiod": place}},
        {"hour": _hours(market), "place": {"input": "place", "sets": RANK_SETS}},
        (0.25, 1),
    )


def _hour_and_day(draws: Draws, market: MarketListing) -> Idea:
    size = draws.smoothing("size.timeperiod")
    return Idea(
        f"the hour and the day of the week have a drift of their own, one in calm and another in wild markets "
        f"(NATR of {size} bars)",
        _FIXED_HOURS,
        {"hour": {"type": "HOUR"}, "day": {"type": "WEEKDAY"}, "size": {"type": "NATR", "timeperiod": size}},
        {
            "hour": _hours(market),
            "day": {"input": "day", "sets": _WEEK},
            "volatility": {"input": "size", "partition": SIZE},
        },
        (0.25, 1),
    )


def _day_of_dips(draws: Draws, market: MarketListing) -> Idea:
    period, low = draws.smoothing("rsi.timeperiod"), draws.whole("rsi.low", 25, 35)
    return Idea(
        f"what an RSI({period}) below {low} or above {100 - low} is worth depends on the day of the week: positions "
        "are cut before the weekend and taken again after it",
        _FIXED_HOURS,
        {"day": {"type": "WEEKDAY"}, "rsi": {"type": "RSI", "timeperiod": period}},
        {
            "day": {"input": "day", "sets": _WEEK},
            "rsi": {"input": "rsi", "sets": three_sets(("oversold", "neutral", "overbought"), 0, low, 100 - low, 100)},
        },
        (1, 3),
    )


def _turn_of_the_month(draws: Draws, market: MarketListing) -> Idea:
    slow = draws.slow("slow.timeperiod")
    return Idea(
        f"money comes in around the turn of the month, and more of it where the close is above its {slow}-bar average",
        _FIXED_HOURS,
        {"day": {"type": "MONTHDAY"}, "slow": {"type": "SMA", "timeperiod": slow}},
        {
            "month": {"input": "day", "sets": _MONTH},
            "gap": {"input": "slow", "relative_to": "close", "partition": ["below", "near", "above"]},
        },
        (1, 3),
    )


VOLUME = (
    Variant("cmf_roc", _flow, has_volume),
    Variant("rvol_rsi", _climax, has_volume),
    Variant("mfi_sma", _paid_trend, has_volume),
    Variant("donchian_rvol", _attended_break, has_volume),
)
SEASONALITY = (
    Variant("hour_roc", _hour_of_moves, _has_hours),
    Variant("hour_rank", _hour_of_edges, _has_hours),
    Variant("hour_weekday", _hour_and_day, _has_hours),
    Variant("weekday_rsi", _day_of_dips),
    Variant("monthday_sma", _turn_of_the_month, is_daily),
)
