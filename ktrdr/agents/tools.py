"""The tools that every agent works through: their names, what they take, what they show."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ktrdr.agents.records import Judgement, Remarks
from ktrdr.agents.task import Role
from ktrdr.indicators.catalogue import CATALOGUE, IndicatorType
from ktrdr.market.series import SeriesInfo

LIST_INDICATORS = "list_indicators"
LIST_MARKETS = "list_markets"
GET_RECENT_STRATEGIES = "get_recent_strategies"
VALIDATE_STRATEGY = "validate_strategy"
SAVE_STRATEGY_CONFIG = "save_strategy_config"
SAVE_ASSESSMENT = "save_assessment"

MAXIMUM_RECENT = 200
ERROR_PREFIX = "error: "


class Arguments(BaseModel):
    """What a tool is called with; anything else is an error that the caller reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class NoArguments(Arguments):
    """For a tool that takes none."""


class RecentArguments(Arguments):
    """How far back to look."""

    limit: Annotated[int, Field(ge=1, le=MAXIMUM_RECENT)] = 20


class StrategyArguments(Arguments):
    """A strategy, as a document or as YAML text."""

    strategy: dict[str, Any] | str


class SaveStrategyArguments(StrategyArguments):
    """A strategy to keep, the stored strategies it grew out of, and a note on why it is as it is."""

    parent_strategies: Annotated[list[str], Field(max_length=10)] = []
    notes: Annotated[str | None, Field(max_length=4000)] = None


class AssessmentArguments(Arguments):
    """An opinion. Figures, gates and verdict are not among the arguments: code copies them."""

    judgement: Judgement
    strengths: Remarks
    weaknesses: Remarks
    suggestions: Remarks


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool: what it takes, and which role may call it."""

    name: str
    arguments: type[Arguments]
    role: Role


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(LIST_INDICATORS, NoArguments, "designer"),
        Tool(LIST_MARKETS, NoArguments, "designer"),
        Tool(GET_RECENT_STRATEGIES, RecentArguments, "designer"),
        Tool(VALIDATE_STRATEGY, StrategyArguments, "designer"),
        Tool(SAVE_STRATEGY_CONFIG, SaveStrategyArguments, "designer"),
        Tool(SAVE_ASSESSMENT, AssessmentArguments, "assessor"),
    )
}


class MarketListing(BaseModel):
    """What a designer may know of a market: research bars only, nothing of when the sealed ones begin or end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    symbol: str
    timeframe: str
    asset_class: str
    calendar: str
    quote_currency: str | None
    price_side: str
    n_bars: int
    first: str
    last: str
    has_volume: bool
    round_trip_cost_bps: float

    @classmethod
    def of(cls, info: SeriesInfo) -> "MarketListing":
        """Return the listing of a stored series."""
        per_side = info.costs.commission_bps + info.costs.half_spread_bps + info.costs.slippage_bps
        return cls(
            symbol=info.symbol,
            timeframe=info.timeframe,
            asset_class=info.asset_class,
            calendar=info.calendar,
            quote_currency=info.quote_currency,
            price_side=info.price_side,
            n_bars=info.n_bars,
            first=info.first.isoformat(),
            last=info.last.isoformat(),
            has_volume=info.has_volume,
            round_trip_cost_bps=round(2 * per_side, 6),
        )


def describe_indicator(kind: IndicatorType) -> dict[str, Any]:
    """Return what a designer needs to use an indicator in a strategy."""
    return {
        "type": kind.name,
        "meaning": kind.meaning,
        "inputs": list(kind.inputs),
        "outputs": list(kind.outputs),
        "unit": kind.unit,
        "needs_relative_to": kind.unit == "price",
        "parameters": [
            {"name": each.name, "minimum": each.minimum, "maximum": each.maximum, "default": each.default}
            for each in kind.parameters
        ],
    }


def describe_indicators() -> list[dict[str, Any]]:
    """Return the catalogue as a designer sees it."""
    return [describe_indicator(kind) for kind in CATALOGUE.values()]
