"""Which hypothesis the offline designer takes up next: from what is remembered, by these rules, and from nothing else.

What a tried strategy was worth is a number from 0 to 1: the place of its band of Sharpe ratios among all bands, whether
a gate refused it or not, and the lowest where it was refused without ever trading.

Most designs *explore*. A family and a market are drawn by Thompson sampling: what was tried there makes a beta
distribution of what more of it is worth, a quarter of what the family was worth in other markets counts too, and the
highest draw wins; so what did badly is tried less, and what is hardly known is tried. Of the family the variant is
taken whose kinds of indicators none of the last nineteen strategies used.

Others *refine*: a strategy that did better than the average becomes the parent of one with the same indicators, on the
same market, its periods and horizon drawn near the parent's. Of twenty strategies in a row at most five repeat the
indicators of another, so that a search never settles where luck put it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ktrdr.agents.brief import Understanding
from ktrdr.agents.families.catalogue import VARIANTS, indicator_set, variants_for
from ktrdr.agents.families.idea import Variant
from ktrdr.agents.memory import SHARPE_BANDS, TriedStrategy
from ktrdr.agents.tools import MarketListing

WINDOW = 20
MOST_REPEATS = 5
REFINING_SHARE = 0.35
FEWEST_JUDGED = 3
_FAMILY_WEIGHT = 0.25
_REFUSED = "gate_failed"


@dataclass(frozen=True, slots=True)
class DesignChoice:
    """What to design. `parent` is the strategy whose numbers the new ones are drawn near to, None for a fresh start."""

    family: str
    variant: Variant
    market: MarketListing
    parent: TriedStrategy | None = None


@dataclass(frozen=True, slots=True)
class _Cell:
    """A family in a market, with the variants that the market can serve."""

    family: str
    market: MarketListing
    variants: tuple[Variant, ...]


class DesignChooser:
    """Chooses among the markets given, as far as a brief leaves them open.

    Args:
        understood: What the brief asks for.
        markets: Those that the brief allows; at least one.
        tried: What is remembered, newest first.
    """

    def __init__(
        self, understood: Understanding, markets: Sequence[MarketListing], tried: Sequence[TriedStrategy]
    ) -> None:
        self._tried = tried
        families = understood.families or tuple(VARIANTS)
        cells = [
            _Cell(family, market, tuple(variants_for(family, market))) for family in families for market in markets
        ]
        self._cells = [cell for cell in cells if cell.variants]
        self._recent = [tuple(each.indicators) for each in tried[: WINDOW - 1]]

    def choose(self, rng: np.random.Generator) -> DesignChoice | None:
        """Return what to design next, None where no market can serve any of the families asked for."""
        if not self._cells:
            return None
        fresh = [(cell, unused) for cell in self._cells if (unused := self._unused(cell))]
        parents = self._parents()
        may_repeat = len(self._recent) - len(set(self._recent)) < MOST_REPEATS or not fresh
        if parents and may_repeat and rng.random() < REFINING_SHARE:
            weights = np.array([worth(choice.parent) for choice in parents if choice.parent is not None], dtype=float)
            return parents[int(rng.choice(len(parents), p=weights / weights.sum()))]
        cell, variants = self._draw_cell(rng, fresh or [(cell, self._longest_unused(cell)) for cell in self._cells])
        return DesignChoice(cell.family, variants[int(rng.integers(len(variants)))], cell.market)

    def _unused(self, cell: _Cell) -> list[Variant]:
        return [variant for variant in cell.variants if indicator_set(variant, cell.market) not in self._recent]

    def _longest_unused(self, cell: _Cell) -> list[Variant]:
        ages = [self._recent.index(indicator_set(variant, cell.market)) for variant in cell.variants]
        return [cell.variants[ages.index(max(ages))]]

    def _draw_cell(
        self, rng: np.random.Generator, cells: Sequence[tuple[_Cell, list[Variant]]]
    ) -> tuple[_Cell, list[Variant]]:
        draws = []
        for cell, _ in cells:
            won, lost = 1.0, 1.0
            for each in self._tried:
                value = worth(each)
                if value is not None and each.family == cell.family:
                    weight = 1.0 if _is_of(each, cell.market) else _FAMILY_WEIGHT
                    won, lost = won + weight * value, lost + weight * (1.0 - value)
            draws.append(rng.beta(won, lost))
        return cells[int(np.argmax(draws))]

    def _parents(self) -> list[DesignChoice]:
        """Return every strategy that did better than the average and can be drawn near to."""
        values = [value for value in map(worth, self._tried) if value is not None]
        if len(values) < FEWEST_JUDGED:
            return []
        average = sum(values) / len(values)
        better = (each for each in self._tried if (worth(each) or 0.0) > average)
        return [choice for each in better for choice in self._as_parent(each)]

    def _as_parent(self, tried: TriedStrategy) -> Iterator[DesignChoice]:
        for cell in self._cells:
            if tried.family != cell.family or not _is_of(tried, cell.market):
                continue
            for variant in cell.variants:
                if re.fullmatch(rf".+_{variant.key}_[0-9a-f]{{4}}", tried.name) is not None:
                    yield DesignChoice(cell.family, variant, cell.market, parent=tried)


def worth(tried: TriedStrategy | None) -> float | None:
    """Return what a strategy was worth, 0..1; None where nothing is known yet."""
    if tried is None:
        return None
    if tried.sharpe_ratio in SHARPE_BANDS:
        return (SHARPE_BANDS.index(tried.sharpe_ratio) + 0.5) / len(SHARPE_BANDS)
    return 0.5 / len(SHARPE_BANDS) if tried.outcome.startswith(_REFUSED) else None


def _is_of(tried: TriedStrategy, market: MarketListing) -> bool:
    return (tried.symbol, tried.timeframe) == (market.symbol, market.timeframe)
