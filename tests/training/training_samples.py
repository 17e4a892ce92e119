"""Bars with a known truth, and a small strategy to train on them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ktrdr.market.bars import Bars
from ktrdr.market.timeframe import Timeframe
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.strategy.validation import validate_strategy

HOUR_MS = 3_600_000
START_MS = 1_500_000_000_000 // HOUR_MS * HOUR_MS


def bars_from_returns(returns: NDArray[np.float64], timestamp: NDArray[np.int64] | None = None) -> Bars:
    """Return hourly bars whose moves from open to close are `returns`; every bar opens at the last close."""
    close = 100 * np.exp(np.cumsum(returns))
    opened = np.concatenate([[100.0], close[:-1]])
    if timestamp is None:
        timestamp = START_MS + HOUR_MS * np.arange(len(returns))
    return Bars(
        symbol="TEST",
        timeframe=Timeframe.H1,
        snapshot="5" * 64,
        timestamp=timestamp,
        known_at=timestamp + HOUR_MS,
        session_day=(timestamp // 86_400_000).astype(np.int32),
        open=opened,
        high=np.maximum(opened, close) * 1.0005,
        low=np.minimum(opened, close) * 0.9995,
        close=close,
        volume=np.full(len(returns), np.nan),
    )


def random_walk(n_bars: int, seed: int = 1) -> Bars:
    """Return bars that nothing can predict."""
    return bars_from_returns(np.random.default_rng(seed).standard_normal(n_bars) * 0.002)


def alternating_walk(n_bars: int, share: float, seed: int = 1) -> Bars:
    """Return bars of which a `share` move against the bar before: known to the one-bar rate of change."""
    generator = np.random.default_rng(seed)
    size = np.abs(generator.standard_normal(n_bars)) * 0.002 + 1e-5
    turns = np.where(generator.random(n_bars) < share, -1.0, 1.0)
    return bars_from_returns(np.cumprod(turns) * size)


def strategy(**sections: dict[str, Any]) -> StrategySpecification:
    """Return a strategy on the one-bar rate of change and Williams' %R; `sections` replace its own."""
    document: dict[str, Any] = {
        "schema": 1,
        "name": "one_bar_reversal",
        "hypothesis": "A bar's move is undone by the next one.",
        "market": {"symbols": ["TEST"], "timeframe": "1h"},
        "indicators": {"change": {"type": "ROC", "timeperiod": 1}, "place": {"type": "WILLR", "timeperiod": 14}},
        "fuzzy_sets": {
            "change": {"input": "change", "partition": ["down", "flat", "up"]},
            "place": {
                "input": "place",
                "sets": {
                    "low": {"shape": "trapezoid", "points": [-100, -100, -70, -40]},
                    "high": {"shape": "trapezoid", "points": [-60, -30, 0, 0]},
                },
            },
        },
        "labels": {"type": "forward_return", "horizon": 1},
        "model": {"type": "mlp", "hidden": [8, 4], "dropout": 0.1},
        "training": {"epochs": 6, "batch_size": 64, "learning_rate": 0.01, "patience": 2, "seeds": 2},
    }
    return validate_strategy({**document, **sections})


def ignore_progress(percentage: float, text: str) -> None:
    """Take a progress report and do nothing."""
