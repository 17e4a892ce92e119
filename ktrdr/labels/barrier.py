"""The triple barrier: which of two prices is met first."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

UP, DOWN, BOTH, TIMEOUT = 1, -1, 2, 0


def first_barrier(
    prices: tuple[FloatArray, FloatArray, FloatArray],
    up_distance: FloatArray,
    down_distance: FloatArray,
    horizon: int,
) -> tuple[NDArray[np.int8], IntArray]:
    """Return which barrier around the next open the following bars meet first, for every bar.

    The window of bar t is t+1 .. t+horizon, its entry price the open of t+1. A later bar that opens at or beyond a
    barrier meets that one, whatever else it touches; otherwise its high and low decide, touching included.

    Args:
        prices: Open, high and low, each (n_bars,).
        up_distance: From the entry price up to the upper barrier, (n_bars,), in price units; a bar where it is
            NaN, or does not move the price, gets no result.
        down_distance: The same down to the lower barrier.
        horizon: Bars in the window; >= 1.

    Returns:
        `UP`, `DOWN`, `BOTH` (one bar touches the two) or `TIMEOUT` (n_bars,), and the index of the last bar looked
        at, -1 where there is no result: no distance, or a window that reaches past the last bar. Those bars get
        none even if a barrier is met in time, because keeping them would favour quick outcomes.
    """
    outcome, end = _first_barrier(*prices, up_distance, down_distance, horizon)
    return outcome, end


@njit(cache=True)
def _first_barrier(
    opens: FloatArray,
    highs: FloatArray,
    lows: FloatArray,
    up_distance: FloatArray,
    down_distance: FloatArray,
    horizon: int,
) -> tuple[NDArray[np.int8], IntArray]:
    n = opens.shape[0]
    outcome = np.zeros(n, dtype=np.int8)
    end = np.full(n, -1, dtype=np.int64)
    for t in range(n - horizon):
        entry = opens[t + 1]
        upper, lower = entry + up_distance[t], entry - down_distance[t]
        if not lower < entry < upper:  # NaN, or an ATR that vanishes beside the price: no barrier to meet
            continue
        end[t] = t + horizon
        for i in range(t + 1, t + horizon + 1):
            if opens[i] >= upper:
                outcome[t] = UP
            elif opens[i] <= lower:
                outcome[t] = DOWN
            elif highs[i] >= upper and lows[i] <= lower:
                outcome[t] = BOTH
            elif highs[i] >= upper:
                outcome[t] = UP
            elif lows[i] <= lower:
                outcome[t] = DOWN
            else:
                continue
            end[t] = i
            break
    return outcome, end
