"""A market with an edge in it: a day's move is mostly undone by the next, so that a small strategy is a candidate."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from ktrdr.market.importer import import_file
from ktrdr.market.request import ImportOptions
from ktrdr.market.store import BarStore

N_BARS, N_SEALED = 1700, 365
STRATEGY = """
schema: 1
name: undone_moves
hypothesis: A day's move is undone by the next one.
market: {symbols: [PLANTED], timeframe: 1d}
indicators: {change: {type: ROC, timeperiod: 1}}
fuzzy_sets: {change: {input: change, partition: [down, flat, up]}}
labels: {type: forward_return, horizon: 1}
model: {type: mlp, hidden: [8]}
training: {epochs: 6, batch_size: 64, learning_rate: 0.01, seeds: 1}
"""


def planted_frame(*, sealed_seed=1):
    """Daily bars of a market that never closes; those that will be sealed depend on `sealed_seed` alone."""
    past, later = (np.random.default_rng(seed) for seed in (1, sealed_seed))
    size, turn = (
        np.concatenate([draw(past, N_BARS - N_SEALED), draw(later, N_SEALED)])
        for draw in (lambda rng, n: np.abs(rng.normal(0, 0.01, n)) + 1e-4, lambda rng, n: rng.random(n))
    )
    move = np.cumprod(np.where(turn < 0.75, -1.0, 1.0)) * size
    close = 100 * np.exp(np.cumsum(move))
    opened = np.concatenate([[100.0], close[:-1]])
    days = [datetime(2018, 1, 1, tzinfo=UTC) + timedelta(days=number) for number in range(N_BARS)]
    prices = {"open": opened, "high": np.maximum(opened, close) * 1.0005, "low": np.minimum(opened, close) * 0.9995}
    return pl.DataFrame({"timestamp": days, **prices, "close": close})


def import_planted(workspace, *, sealed_seed=1):
    """Import the market into a workspace and return its store."""
    workspace.mkdir(parents=True, exist_ok=True)
    path = workspace / "planted.parquet"
    planted_frame(sealed_seed=sealed_seed).write_parquet(path)
    store = BarStore(workspace / "data")
    import_file(store, path, ImportOptions(symbol="PLANTED", timeframe="1d", calendar="24x7"))
    path.unlink()
    return store
