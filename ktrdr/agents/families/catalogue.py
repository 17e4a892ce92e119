"""All families by name, and what each offers a market."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from ktrdr.agents.families.activity import SEASONALITY, VOLUME
from ktrdr.agents.families.following import MOMENTUM, TREND
from ktrdr.agents.families.idea import Draws, Variant
from ktrdr.agents.families.releasing import BREAKOUT, VOLATILITY
from ktrdr.agents.families.returning import RANGE, REVERSION
from ktrdr.agents.tools import MarketListing

VARIANTS: Mapping[str, tuple[Variant, ...]] = MappingProxyType(
    {
        "trend": TREND,
        "reversion": REVERSION,
        "breakout": BREAKOUT,
        "momentum": MOMENTUM,
        "volatility": VOLATILITY,
        "volume": VOLUME,
        "seasonality": SEASONALITY,
        "range": RANGE,
    }
)


def variants_for(family: str, market: MarketListing) -> list[Variant]:
    """Return a family's variants that this market can serve, possibly none."""
    return [variant for variant in VARIANTS[family] if variant.serves(market)]


def indicator_set(variant: Variant, market: MarketListing) -> tuple[str, ...]:
    """Return the types of the indicators of a variant on a market, sorted, each once; the numbers do not matter."""
    idea = variant.draw(Draws(np.random.default_rng(0), market), market)
    return tuple(sorted({each["type"] for each in idea.indicators.values()}))
