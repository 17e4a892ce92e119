"""How much a price moves, by what is known at each bar."""

import numpy as np
from numpy.typing import NDArray

from ktrdr.statistics.returns import MILLISECONDS_PER_YEAR, FloatArray


def annual_volatility(close: FloatArray, known_at: NDArray[np.int64], *, lookback: int) -> FloatArray:
    """Return at every bar sqrt(mean r² of the last `lookback` bar returns x bars per year), a fraction a year.

    Bars per year are those of the series so far, counted by the calendar: row t knows bars up to and including t.

    Args:
        close: (n_bars,) prices above 0.
        known_at: (n_bars,) epoch ms at which each bar is complete, ascending.
        lookback: Returns per estimate; >= 1.

    Returns:
        float64 (n_bars,), the first `lookback` rows NaN.
    """
    volatility = np.full(len(close), np.nan)
    if len(close) <= lookback:
        return volatility
    squares = np.concatenate(([0.0], np.cumsum((close[1:] / close[:-1] - 1.0) ** 2)))
    rows = np.arange(lookback, len(close))
    # Running sums may end a hair below 0 where nothing moves any more.
    mean_square = np.maximum(squares[rows] - squares[rows - lookback], 0.0) / lookback
    bars_per_year = rows / ((known_at[rows] - known_at[0]) / MILLISECONDS_PER_YEAR)
    volatility[rows] = np.sqrt(mean_square * bars_per_year)
    return volatility
