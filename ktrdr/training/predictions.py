"""Probabilities bar by bar: predictions.parquet of the test blocks, fitted_predictions.parquet of the fitted rows."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ktrdr.errors import OperationFailed
from ktrdr.market.bars import Bars
from ktrdr.training.pool import gather_rows

_TIMESTAMP = pl.Datetime("ms", "UTC")


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """One row per fold and predicted bar, in this order.

    Out of sample the folds follow each other and no bar comes twice. Of the fitted rows each fold predicts all bars
    between its first and its last one; these serve to measure what a strategy does where it learned, nothing else.

    Attributes:
        bar_index: int64 (m,), the bar at whose close the prediction is known; as a training gives them out, the row of
            its pool, which of one symbol is the bar.
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

    def to_parquet(self, bars: Bars | Sequence[Bars]) -> bytes:
        """Return the file: columns symbol, timestamp (bar open, UTC), fold, probability.

        Args:
            bars: What was trained on, of all symbols in any order.
        """
        rows = gather_rows(bars)
        symbols = np.array([each.symbol for each in rows.series])
        frame = pl.DataFrame(
            {
                "symbol": pl.Series(symbols[rows.place[self.bar_index]], dtype=pl.String),
                "timestamp": pl.Series(rows.timestamp[self.bar_index], dtype=pl.Int64).cast(_TIMESTAMP),
                "fold": pl.Series(self.fold, dtype=pl.Int8),
                "probability": pl.Series(self.probability, dtype=pl.Float64),
            }
        )
        buffer = io.BytesIO()
        frame.write_parquet(buffer, compression="zstd")
        return buffer.getvalue()


def read_predictions(path: Path, bars: Bars) -> Predictions:
    """Read what `Predictions.to_parquet` wrote of one symbol, for the same bars; raises as `read_all_predictions`."""
    return read_all_predictions(path, [bars])[0]


def read_all_predictions(path: Path, series: Sequence[Bars]) -> list[Predictions]:
    """Read what `Predictions.to_parquet` wrote, for the same bars: the predictions of each symbol's own bars.

    A file of an earlier version names no symbol; it is read as of the one symbol asked for.

    Raises:
        OperationFailed: `predictions_unusable`: the file is unreadable, or of other bars than these.
    """
    try:
        frame = pl.read_parquet(path)
        if "symbol" not in frame.columns and len(series) == 1:
            frame = frame.with_columns(symbol=pl.lit(series[0].symbol))
        columns = (pl.col("timestamp").cast(_TIMESTAMP).cast(pl.Int64), pl.col("fold").cast(pl.Int8))
        frame = frame.select(pl.col("symbol"), *columns, pl.col("probability").cast(pl.Float64))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _unusable(path, str(error)) from error
    by_symbol = frame.partition_by("symbol", as_dict=True, include_key=False)
    strange = sorted({str(symbol) for (symbol,) in by_symbol} - {bars.symbol for bars in series})
    if strange:
        raise _unusable(path, f"it holds predictions of {', '.join(strange)} too")
    return [_of_bars(path, by_symbol.get((bars.symbol,), frame.clear()), bars) for bars in series]


def _of_bars(path: Path, frame: pl.DataFrame, bars: Bars) -> Predictions:
    timestamp = frame["timestamp"].to_numpy()
    bar_index = np.searchsorted(bars.timestamp, timestamp)
    known = np.append(bars.timestamp, -1)[bar_index] == timestamp
    if len(frame) == 0:
        raise _unusable(path, f"it holds none of {bars.symbol}")
    if not known.all():
        found = f"{np.count_nonzero(~known)} of its {len(known)} rows are of no bar in snapshot {bars.snapshot}"
        raise _unusable(path, found)
    return Predictions(bar_index, frame["fold"].to_numpy(), frame["probability"].to_numpy())


def _unusable(path: Path, found: str) -> OperationFailed:
    return OperationFailed(
        f"{path} cannot be used: {found}; predictions of the same bars are needed: train the strategy again",
        reason="predictions_unusable",
    )
