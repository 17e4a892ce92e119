"""A trial beside all others of the same bars, from the daily returns that the ledger keeps of them.

A file holds one trial's returns or, of a sweep, those of all its variants, a column each.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ktrdr.backtest.report import SelectionReport
from ktrdr.statistics.bootstrap import optimal_block_length
from ktrdr.statistics.returns import DailyReturns, FloatArray
from ktrdr.statistics.selection import FEWEST_OBSERVATIONS, overfitting_probability, superior_ability_p_value

DAY = "session_day"
_LEAST_OVERLAP = 0.9  # of the own days; less is a record of another time
# What bounds time and memory: a thousand resampled means of so many trials, and so many returns.
MOST_TRIALS, _MOST_RETURNS = 5_000, 10_000_000
_MOST_BLOCK_LENGTHS = 200  # the median of so many is that of all


@dataclass(frozen=True, slots=True)
class _Record:
    """A file's days that are own days too, and its trials' returns on them, (n_days, n_trials)."""

    session_day: NDArray[np.int32]
    net_return: FloatArray


def compare_with_trials(
    own: DailyReturns, others: Sequence[Path], *, seed: int, most_trials: int = MOST_TRIALS
) -> SelectionReport | None:
    """Return what choosing among these trials comes to; None where there is nothing to choose from.

    Trials that never traded, that repeat the own one to the bit, that cover less than nine tenths of the own days, or
    whose file is gone take no part; the days are those that all the rest have. Equal arguments give equal reports,
    whatever the order of the files. Of more than `most_trials`, or of so many that they have ten million returns, only
    every so-manieth variant of each sweep takes part: neighbours in a grid are near-copies of each other. Trials with a
    file of their own always do.

    Args:
        own: The trial that is judged.
        others: Files of other trials' daily returns, as `write_daily_returns` and `write_variant_returns` leave them.
        seed: What the draws derive from.
        most_trials: How many take part.
    """
    if not own.net_return.any():
        return None
    names = {path: _trials_in(path) for path in sorted(others)}
    most_of_sweeps = min(most_trials, _MOST_RETURNS // len(own)) - sum(len(each) == 1 for each in names.values()) - 1
    n_variants = sum(len(each) for each in names.values() if len(each) > 1)
    stride = max(math.ceil(n_variants / max(most_of_sweeps, 1)), 1)
    records = []
    for path, trials in names.items():
        record = _read(path, trials if len(trials) == 1 else trials[::stride], own)
        if record.net_return.size and len(record.session_day) >= _LEAST_OVERLAP * len(own):
            records.append(record)
    days = own.session_day
    for record in records:
        days = days[np.isin(days, record.session_day)]
    columns = [own.net_return[np.isin(own.session_day, days), None]]
    columns += [record.net_return[np.isin(record.session_day, days)] for record in records]
    matrix: FloatArray = np.concatenate(columns, axis=1)
    is_repetition = (matrix == matrix[:, :1]).all(axis=0)  # of the own trial: the same choice, which is the first
    is_repetition[0] = False
    matrix = matrix[:, matrix.any(axis=0) & ~is_repetition]
    if len(matrix) < FEWEST_OBSERVATIONS or matrix.shape[1] < 2:
        return None
    measured = matrix.T[:: math.ceil(matrix.shape[1] / _MOST_BLOCK_LENGTHS)]
    block = max(float(np.median([optimal_block_length(column) for column in measured])), 1.0)
    return SelectionReport(
        n_trials=matrix.shape[1],
        n_days=len(matrix),
        pbo=overfitting_probability(matrix),
        spa_p_value=superior_ability_p_value(matrix, block=block, seed=seed),
    )


def _trials_in(path: Path) -> list[str]:
    return [name for name in pl.read_parquet_schema(path) if name != DAY] if path.exists() else []


def _read(path: Path, trials: Sequence[str], own: DailyReturns) -> _Record:
    """Return the trials that traded, on the days that are own ones."""
    if not trials:
        return _Record(np.empty(0, dtype=np.int32), np.empty((0, 0)))
    frame = pl.read_parquet(path, columns=[DAY, *trials])
    session_day = frame[DAY].cast(pl.Int32).to_numpy()
    is_own = np.isin(session_day, own.session_day)
    net_return: FloatArray = frame.select(trials).to_numpy()[is_own]
    return _Record(session_day[is_own], net_return[:, net_return.any(axis=0)])
