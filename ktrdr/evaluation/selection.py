"""A trial beside all others of the same bars, from the daily returns that the ledger keeps of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from ktrdr.backtest.report import SelectionReport
from ktrdr.statistics.bootstrap import optimal_block_length
from ktrdr.statistics.returns import DailyReturns, FloatArray
from ktrdr.statistics.selection import FEWEST_OBSERVATIONS, overfitting_probability, superior_ability_p_value

_LEAST_OVERLAP = 0.9  # of the own days; less is a record of another time


def compare_with_trials(own: DailyReturns, others: Sequence[Path], *, seed: int) -> SelectionReport | None:
    """Return what choosing among these trials comes to; None where there is nothing to choose from.

    Trials that never traded, that cover less than nine tenths of the own days, or whose file is gone take no part; the
    days are those that all the rest have. Equal arguments give equal reports, whatever the order of the files.

    Args:
        own: The trial that is judged.
        others: Files of other trials' daily returns, as `write_daily_returns` leaves them.
        seed: What the draws derive from.
    """
    if not own.net_return.any():
        return None
    table = pl.DataFrame({"session_day": own.session_day, "own": own.net_return})
    enough = _LEAST_OVERLAP * len(own)
    columns = []
    for number, path in enumerate(sorted(others)):
        returns = _read(path)
        joined = returns.filter(pl.col("session_day").is_in(own.session_day.tolist()))
        if joined.height >= enough and (joined["net_return"] != 0).any():
            columns.append(joined.rename({"net_return": f"trial_{number}"}))
    for column in columns:
        table = table.join(column, on="session_day", how="inner", maintain_order="left")
    matrix: FloatArray = table.drop("session_day").to_numpy()
    matrix = matrix[:, matrix.any(axis=0)]
    if len(matrix) < FEWEST_OBSERVATIONS or matrix.shape[1] < 2:
        return None
    block = max(float(np.median([optimal_block_length(column) for column in matrix.T])), 1.0)
    return SelectionReport(
        n_trials=matrix.shape[1],
        n_days=len(matrix),
        pbo=overfitting_probability(matrix),
        spa_p_value=superior_ability_p_value(matrix, block=block, seed=seed),
    )


def _read(path: Path) -> pl.DataFrame:
    if not path.exists():
        return pl.DataFrame(schema={"session_day": pl.Int32, "net_return": pl.Float64})
    return pl.read_parquet(path).with_columns(pl.col("session_day").cast(pl.Int32))
