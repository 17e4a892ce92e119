"""What a designer is told unasked: markets and what was tried, a line each. It is paid for at every turn."""

from collections.abc import Iterator, Sequence

from ktrdr.agents.memory import TriedStrategy, cut
from ktrdr.agents.tools import GET_RECENT_STRATEGIES, LIST_MARKETS, MarketListing

# As many strategies as are looked at for an overview; fewer fit into it.
OVERVIEW_DEPTH = 40
MARKETS_BYTES, HISTORY_BYTES = 3_000, 1_800
_SUGGESTIONS, _SUGGESTION_CHARACTERS = 2, 140


def markets_overview(markets: Sequence[MarketListing]) -> str:
    """Return a line per market, as many as fit into `MARKETS_BYTES`."""
    lines = [_market_line(market) for market in markets]
    return _fitting(lines, MARKETS_BYTES, f"{LIST_MARKETS} has the others")


def history_overview(tried: Sequence[TriedStrategy]) -> str:
    """Return a line per strategy, newest first, and the newest suggestions, within `HISTORY_BYTES`."""
    if not tried:
        return "nothing"
    suggestions = [
        f"- suggested after {each.name}: {cut(each.suggestions[0], _SUGGESTION_CHARACTERS)}"
        for each in tried
        if each.suggestions
    ][:_SUGGESTIONS]
    room = HISTORY_BYTES - sum(len(line.encode()) + 1 for line in suggestions)
    lines = _fitting([_tried_line(each) for each in tried], room, f"{GET_RECENT_STRATEGIES} has more, and hypotheses")
    return "\n".join([lines, *suggestions])


def _fitting(lines: Sequence[str], room: int, rest: str) -> str:
    """Return as many lines as fit, and what to do for the rest where some do not."""
    if sum(len(line.encode()) + 1 for line in lines) <= room:
        return "\n".join(lines)
    return "\n".join([*_first(lines, room - len(rest.encode()) - 1), rest])


def _first(lines: Sequence[str], room: int) -> Iterator[str]:
    for line in lines:
        room -= len(line.encode()) + 1
        if room < 0:
            return
        yield line


def _market_line(market: MarketListing) -> str:
    volume = "volume" if market.has_volume else "no volume"
    return (
        f"{market.symbol} {market.timeframe}, {market.asset_class}, {market.calendar}, {market.n_bars} bars "
        f"{market.first[:10]} to {market.last[:10]}, {volume}, round trip {market.round_trip_cost_bps:g} bps"
    )


def _tried_line(tried: TriedStrategy) -> str:
    results = [
        tried.outcome,
        f"Sharpe {tried.sharpe_ratio}" if tried.sharpe_ratio is not None else "",
        tried.judgement or "",
    ]
    return f"{tried.name}: {tried.symbol} {tried.timeframe}, {' '.join(tried.indicators)}; " + "; ".join(
        filter(None, results)
    )
