"""Designs a strategy without a language model: what to try is chosen from memory, numbers come from the seed."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from ktrdr.agents.brief import Understanding, understand_brief
from ktrdr.agents.design_choice import DesignChoice, DesignChooser
from ktrdr.agents.executor import ToolExecutor
from ktrdr.agents.families.idea import Draws, Idea, session_bars
from ktrdr.agents.memory import TriedStrategy
from ktrdr.agents.task import AgentTask
from ktrdr.agents.tools import (
    ERROR_PREFIX,
    LIST_MARKETS,
    MAXIMUM_RECENT,
    SAVE_STRATEGY_CONFIG,
    MarketListing,
)
from ktrdr.indicators.catalogue import CATALOGUE
from ktrdr.indicators.compute import warmup_bars
from ktrdr.market.timeframe import Timeframe
from ktrdr.training.splits import N_BLOCKS

MAXIMUM_DRAWS = 100
# Below this the six blocks of the walk-forward are too short to learn from; used only if nothing longer is stored.
FEW_BARS = 1_500
# What the first block must leave for fitting and validation, well above what the trainer asks for at least.
FIRST_BLOCK_ROWS = 250
_DAILY_BARS_A_WEEK = 5
_MAXIMUM_HORIZON = 240
RULES_SHARE, VOLATILITY_SHARE, LONGER_SHARE = 0.3, 0.3, 0.4
_ANNUAL_VOLATILITY = {"fx": 0.08, "index": 0.12, "equity": 0.15, "crypto": 0.3}
_EXPOSURE = {"fx": 1.0, "index": 0.8, "equity": 0.5, "crypto": 0.3}
_ONE_SIDED_CLASSES = ("equity", "index")

_MARKETS: TypeAdapter[list[MarketListing]] = TypeAdapter(list[MarketListing])


def design(task: AgentTask, tools: ToolExecutor) -> int:
    """Draw ideas until one is saved, at most `MAXIMUM_DRAWS`; return how many tool calls that took."""
    markets = _MARKETS.validate_json(tools.execute(LIST_MARKETS, {}))
    tried = tools.recent(MAXIMUM_RECENT)
    turns = 2
    if not markets:
        return turns
    understood = understand_brief(task.brief, markets)
    allowed = [market for market in markets if understood.allows(market)]
    allowed = [market for market in allowed if market.n_bars >= FEW_BARS] or allowed
    chooser = DesignChooser(understood, allowed, tried)
    rng = np.random.default_rng([task.seed, _history_number(tried)])
    for _ in range(MAXIMUM_DRAWS):
        choice = chooser.choose(rng)
        if choice is None:
            break
        strategy = draw_strategy(rng, choice, understood)
        if choice.market.n_bars >= FEW_BARS and not _leaves_rows_to_learn_from(strategy, choice.market):
            continue
        arguments = {"strategy": strategy, "notes": _note(choice, understood), "parent_strategies": _parents(choice)}
        answer = tools.execute(SAVE_STRATEGY_CONFIG, arguments)
        turns += 1
        if not answer.startswith(ERROR_PREFIX):
            break
    return turns


def _parents(choice: DesignChoice) -> list[str]:
    return [] if choice.parent is None else [choice.parent.name]


def _note(choice: DesignChoice, understood: Understanding) -> str:
    if choice.parent is None:
        return f"{understood.note} Explored: {choice.family}, {choice.variant.key}."
    return f"{understood.note} Refined: its numbers are drawn near those of {choice.parent.name}."


def _history_number(tried: Sequence[TriedStrategy]) -> int:
    """Return a number that stands for which strategies exist, so that a new one never repeats an old draw."""
    names = json.dumps(sorted(each.name for each in tried))
    return int(hashlib.sha256(names.encode()).hexdigest()[:16], 16)


def draw_strategy(rng: np.random.Generator, choice: DesignChoice, understood: Understanding) -> dict[str, Any]:
    """Return a strategy document of what was chosen; nothing but the generator decides what is left open."""
    market = choice.market
    draws = Draws(rng, market, None if choice.parent is None else choice.parent.parameters)
    idea = choice.variant.draw(draws, market)
    horizon = _horizon(draws, idea, market)
    direction = understood.direction or _direction(rng, market)
    # The price wanders about the square root of time: half of that, in ATR, is touched often, but not at once.
    barrier = round(float(np.clip(0.5 * horizon**0.5 * rng.uniform(0.8, 1.2), 1.0, 8.0)), 1)
    strategy: dict[str, Any] = {
        "schema": 1,
        "hypothesis": _hypothesis(idea, market, horizon, direction),
        "market": {"symbols": [market.symbol], "timeframe": market.timeframe},
        "indicators": idea.indicators,
        "fuzzy_sets": idea.fuzzy_sets,
        "labels": _labels(rng, horizon, barrier),
        "model": {
            "type": "mlp",
            "hidden": [[16], [32, 16]][int(rng.integers(2))],
            "dropout": float(rng.choice([0.0, 0.1, 0.2])),
        },
        "training": {
            "epochs": 40,
            "batch_size": 256,
            "learning_rate": float(rng.choice([0.002, 0.003, 0.005])),
            "patience": 6,
            "seeds": 3,
        },
        "decision": {
            "enter": float(rng.choice([0.52, 0.53, 0.54, 0.55])),
            # Well below the entry: a position is not given up for noise around one threshold.
            "exit": float(rng.choice([0.45, 0.47, 0.49])),
            "direction": direction,
            "min_bars_between_trades": max(1, horizon // 2),
        },
        "risk": {
            "sizing": {"type": "fixed", "exposure": _EXPOSURE.get(market.asset_class, 0.5)},
            "stop_loss": round(barrier * float(rng.choice([1.0, 1.25, 1.5])), 1),
            "take_profit": round(2 * barrier, 1),
            "max_holding_bars": horizon * int(rng.integers(1, 3)),
        },
    }
    _vary(rng, strategy, market)
    return {"name": _name(choice, strategy), **strategy}


def _vary(rng: np.random.Generator, strategy: dict[str, Any], market: MarketListing) -> None:
    """Let a share of the designs learn as rules, be sized by volatility, or see one indicator on longer bars.

    Which of an idea's inputs looks farther, and whether rules or layers learn it, is no part of the idea.
    """
    if rng.random() < RULES_SHARE:
        strategy["model"] = {"type": "anfis", "rules": int(rng.choice([8, 12, 16])), "learn_memberships": True}
    if rng.random() < VOLATILITY_SHARE:
        strategy["risk"]["sizing"] = {
            "type": "volatility_target",
            "annual_volatility": _ANNUAL_VOLATILITY.get(market.asset_class, 0.15),
            "lookback": 60,
            "max_exposure": strategy["risk"]["sizing"]["exposure"],
        }
    views = list(_longer_views(strategy, market))
    if views and rng.random() < LONGER_SHARE:
        identifier, timeframe = views[int(rng.integers(len(views)))]
        strategy["indicators"][identifier] |= {"timeframe": timeframe}
        strategy["hypothesis"] += f" What {identifier} says is read from {timeframe} bars, to see farther back."


def _longer_views(strategy: dict[str, Any], market: MarketListing) -> Iterator[tuple[str, str]]:
    """Yield every indicator and longer timeframe that leave enough rows to learn from."""
    for identifier, indicator in strategy["indicators"].items():
        if CATALOGUE[indicator["type"]].is_of_clock:
            continue
        for timeframe in Timeframe(market.timeframe).longer:
            seen = strategy["indicators"] | {identifier: indicator | {"timeframe": timeframe.value}}
            if _leaves_rows_to_learn_from(strategy | {"indicators": seen}, market):
                yield identifier, timeframe.value


def _leaves_rows_to_learn_from(strategy: dict[str, Any], market: MarketListing) -> bool:
    """Return whether warm-up and labels leave enough of the first walk-forward block."""
    warmup = max(_warmup(indicator, market) for indicator in strategy["indicators"].values())
    return market.n_bars // N_BLOCKS - warmup - 2 * int(strategy["labels"]["horizon"]) >= FIRST_BLOCK_ROWS


def _warmup(indicator: dict[str, Any], market: MarketListing) -> int:
    """Return about how many bars of the market pass before an indicator has settled, at least."""
    parameters = {name: value for name, value in indicator.items() if name not in ("type", "timeframe")}
    own = warmup_bars(indicator["type"], parameters)
    if "timeframe" not in indicator:
        return own
    longer = Timeframe(indicator["timeframe"])
    per_bar = longer.milliseconds // Timeframe(market.timeframe).milliseconds
    # The first of the longer bars may be cut and is left out, and one is known only when it has ended.
    return (own + 2) * (session_bars(market) if longer.is_daily else per_bar)


def _horizon(draws: Draws, idea: Idea, market: MarketListing) -> int:
    """Return a horizon in bars, a small part of a walk-forward block."""
    unit = _DAILY_BARS_A_WEEK if market.timeframe == "1d" else session_bars(market)
    longest = min(_MAXIMUM_HORIZON, market.n_bars // (200 if market.timeframe == "1d" else 50))
    low, high = (int(np.clip(round(days * unit), 3, max(3, longest))) for days in idea.horizon_days)
    return draws.whole("labels.horizon", low, high)


def _direction(rng: np.random.Generator, market: MarketListing) -> str:
    if market.asset_class in _ONE_SIDED_CLASSES:  # what grows over decades is not shorted half the time
        return str(rng.choice(["long", "long", "both"]))
    return "both"


def _labels(rng: np.random.Generator, horizon: int, barrier: float) -> dict[str, Any]:
    if rng.random() < 0.25:
        return {"type": "forward_return", "horizon": horizon}
    return {"type": "triple_barrier", "horizon": horizon, "take_profit": barrier, "stop_loss": barrier}


def _hypothesis(idea: Idea, market: MarketListing, horizon: int, direction: str) -> str:
    side = "either way" if direction == "both" else f"{direction} only"
    return (
        f"On {market.symbol} {market.timeframe}, {idea.claim}, over the next {horizon} bars ({side}). {idea.reason} "
        f"A round trip costs {market.round_trip_cost_bps:g} bp, which each such move must pay first."
    )


def _name(choice: DesignChoice, strategy: dict[str, Any]) -> str:
    symbol = re.sub(r"[^a-z0-9]", "", choice.market.symbol.casefold())[:16]
    digest = hashlib.sha256(json.dumps(strategy, sort_keys=True).encode()).hexdigest()[:4]
    return "_".join((choice.family, symbol, choice.market.timeframe, choice.variant.key, digest))
