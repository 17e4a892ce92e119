"""The first move of a size: which way the close first leaves the price that was entered at."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ktrdr.labels.barrier import DOWN, UP, FloatArray, IntArray


def first_move(opens: FloatArray, closes: FloatArray, distance: FloatArray) -> tuple[NDArray[np.int8], IntArray]:
    """Return for every bar which way a later close first lies `distance` or more from the open of the next bar.

    Takes O(n log n) however far away the moves are.

    Args:
        opens: float64 (n_bars,).
        closes: The same.
        distance: In price units; a bar where it is NaN, or does not move the price, gets no result.

    Returns:
        `UP` or `DOWN` (n_bars,), 0 without a result, and the index of the bar whose close made the move, -1 where none
        did up to the last bar.
    """
    size = 1 << max(len(closes) - 1, 1).bit_length()
    highest, lowest = np.full(2 * size, -np.inf), np.full(2 * size, np.inf)
    highest[size : size + len(closes)] = lowest[size : size + len(closes)] = closes
    move, end = _first_move(opens, distance, highest, lowest)
    return move, end


@njit(cache=True)
def _first_move(
    opens: FloatArray, distance: FloatArray, highest: FloatArray, lowest: FloatArray
) -> tuple[NDArray[np.int8], IntArray]:
    # Both are heaps: node i is above 2i and 2i + 1, the closes are the last half.
    size = len(highest) // 2
    for node in range(size - 1, 0, -1):
        highest[node] = max(highest[2 * node], highest[2 * node + 1])
        lowest[node] = min(lowest[2 * node], lowest[2 * node + 1])
    n = len(opens)
    move = np.zeros(n, dtype=np.int8)
    end = np.full(n, -1, dtype=np.int64)
    for t in range(n - 1):
        entry = opens[t + 1]
        upper, lower = entry + distance[t], entry - distance[t]
        if not lower < entry < upper:
            continue
        node = size + t + 1
        while highest[node] < upper and lowest[node] > lower:
            while node & 1:  # a right child, or the root of all: nothing beside it
                node >>= 1
            if node == 0:
                break
            node += 1
        if node == 0:
            continue
        while node < size:
            node *= 2
            if highest[node] < upper and lowest[node] > lower:
                node += 1
        end[t] = node - size
        move[t] = UP if highest[node] >= upper else DOWN
    return move, end
