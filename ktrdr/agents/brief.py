"""What the offline designer understands of a brief: words it knows, and nothing more, said openly."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ktrdr.agents.tools import MarketListing

_FAMILY_WORDS = {
    "trend": ("trend",),
    "reversion": ("revert", "reversion", "mean-rever", "contrarian", "oversold", "overbought", "dip"),
    "breakout": ("breakout", "break-out", "squeeze"),
    "momentum": ("momentum",),
    "volatility": ("volatil", "calm", "storm"),
    "volume": ("volume", "money-flow"),
    "seasonality": ("season", "time-of-day", "weekday", "turn-of-month", "intraday-pattern"),
    "range": ("range",),
}
_TIMEFRAME_WORDS = {"hourly": "1h", "daily": "1d"}
_WORD = re.compile(r"[a-z0-9]+(?:[./_-][a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Understanding:
    """What a brief asks for; an empty tuple or None leaves the choice to the designer. `note` says so in words."""

    families: tuple[str, ...]
    symbols: tuple[str, ...]
    timeframes: tuple[str, ...]
    direction: str | None
    note: str

    def allows(self, market: MarketListing) -> bool:
        """Return whether the brief leaves this market open."""
        return (not self.symbols or market.symbol in self.symbols) and (
            not self.timeframes or market.timeframe in self.timeframes
        )


def understand_brief(brief: str | None, markets: Sequence[MarketListing]) -> Understanding:
    """Match a brief word by word with the stored markets, the timeframes, the families and the directions.

    A wish that no stored market can meet (a symbol in a timeframe that it does not have) is dropped, and the note
    says so.
    """
    if brief is None or not brief.strip():
        return Understanding((), (), (), None, "No brief was given: family, market and direction were drawn.")
    text = brief.casefold()
    words = _WORD.findall(text)
    symbols = _matching(words, sorted({market.symbol for market in markets}))
    known_timeframes = {*(market.timeframe for market in markets), *_TIMEFRAME_WORDS.values()}
    asked = tuple(sorted({_TIMEFRAME_WORDS.get(word, word) for word in words} & known_timeframes))
    families = tuple(
        family
        for family, stems in _FAMILY_WORDS.items()
        if any(word.startswith(stem) for word in words for stem in stems)
    )
    direction = next(
        (each for each in ("long", "short") if re.search(rf"\b({each}[- ]only|only {each})\b", text)), None
    )
    served = {market.timeframe for market in markets if not symbols or market.symbol in symbols}
    timeframes = tuple(each for each in asked if each in served)
    unserved = [each for each in asked if each not in served]
    note = _note({"family": families, "market": symbols, "timeframe": timeframes}, direction, unserved)
    return Understanding(families, symbols, timeframes, direction, note)


def _matching(words: Sequence[str], symbols: Sequence[str]) -> tuple[str, ...]:
    plain = {re.sub(r"[^a-z0-9]", "", word) for word in words}  # EUR/USD is EURUSD
    return tuple(symbol for symbol in symbols if re.sub(r"[^a-z0-9]", "", symbol.casefold()) in plain)


def _note(found: dict[str, tuple[str, ...]], direction: str | None, unserved: Sequence[str]) -> str:
    parts = [f"{kind} {' or '.join(values)}" for kind, values in found.items() if values]
    if direction is not None:
        parts.append(f"direction {direction} only")
    understood = (
        f"The offline designer understood of the brief: {', '.join(parts)}. Everything else in it was not used."
        if parts
        else "The offline designer matches words, and the brief holds no family, stored market, timeframe or "
        "direction that it knows: the brief was not used."
    )
    if unserved:
        understood += f" No stored market it could use has the timeframe {', '.join(unserved)}; another was taken."
    return understood
