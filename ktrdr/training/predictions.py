"""Probabilities bar by bar: predictions.parquet of the test blocks, fitted_predictions.parquet of the fitted rows."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ktrdr.errors import OperationFailed
from ktrdr.market.bars import Bars

_TIMESTAMP = pl.Datetime("ms", "UTC")


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """One row per fold and predicted bar, in this order.

    Out of sample the folds follow each other and no bar comes twice. Of the fitted rows each fold predicts all bars
    between its first and its last one; these serve to measure what a strategy does where it learned, nothing else.

    Attributes:
        bar_index: int64 (m,), the bar at whose close the prediction is known.
        fold: int8 (m,), 1..5: the fold whose networks made it.
        probability: float64 (m,), of class 1 (a rise, or a trade that wins), mean over seeds.
    """

    bar_index: NDArray[np.int64]
    fold: NDArray[np.int8]
    probability: NDArray[np.float64]

    def by_bar(self, n_bars: int) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
        """Return probability and fold for each of `n_bars` bars: NaN and 0 where there is none. Of test blocks only."""
        probability = np.full(n_bars, np.nan)
        fold = np.zeros(n_bars, dtype=np.int8)
        probability[self.bar_index] = self.probability
        fold[self.bar_index] = self.fold
        return probability, fold

    def of_folds(self, n_bars: int) -> list[NDArray[np.float64]]:
        """Return for each fold, in order, the probability of each of `n_bars` bars, NaN where there is none."""
        found = []
        for fold in np.unique(self.fold):
            probability = np.full(n_bars, np.nan)
            probability[self.bar_index[self.fold == fold]] = self.probability[self.fold == fold]
            found.append(probability)
        return found

    def to_parquet(self, bars: Bars) -> bytes:
        """Return the file: columns timestamp (bar open, UTC), fold, probability."""
        frame = pl.DataFrame(
            {
                "timestamp": pl.Series(bars.timestamp[self.bar_index], dtype=pl.Int64).cast(_TIMESTAMP),
                "fold": pl.Series(self.fold, dtype=pl.Int8),
                "probability": pl.Series(self.probability, dtype=pl.Float64),
            }
        )
        buffer = io.BytesIO()
        frame.write_parquet(buffer, compression="zstd")
        return buffer.getvalue()


def read_predictions(path: Path, bars: Bars) -> Predictions:
    """Read what `Predictions.to_parquet` wrote for the same bars.

    Raises:
        OperationFailed: `predictions_unusable`: the file is unreadable, or of other bars than these.
    """
    try:
        frame = pl.read_parquet(path)
        timestamp = frame["timestamp"].cast(_TIMESTAMP).cast(pl.Int64).to_numpy()
        fold = frame["fold"].cast(pl.Int8).to_numpy()
        probability = frame["probability"].cast(pl.Float64).to_numpy()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _unusable(path, str(error)) from error
    bar_index = np.searchsorted(bars.timestamp, timestamp)
    known = np.append(bars.timestamp, -1)[bar_index] == timestamp
    if not known.all():
        found = f"{np.count_nonzero(~known)} of its {len(known)} rows are of no bar in snapshot {bars.snapshot}"
        raise _unusable(path, found)
    return Predictions(bar_index, fold, probability)


def _unusable(path: Path, found: str) -> OperationFailed:
    return OperationFailed(
        f"{path} cannot be used: {found}; predictions of the same bars are needed: train the strategy again",
        reason="predictions_unusable",
    )
