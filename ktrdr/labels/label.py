"""The training target of every bar, and how far into the future it looked."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ktrdr.indicators.compute import average_true_range
from ktrdr.labels.barrier import BOTH, DOWN, TIMEOUT, UP, first_barrier
from ktrdr.labels.first_move import first_move
from ktrdr.market.bars import Bars
from ktrdr.strategy.specification import FirstMoveLabels, StrategySpecification, TripleBarrierLabels

NO_LABEL = -1


@dataclass(frozen=True, slots=True)
class Labels:
    """One target per bar.

    With `direction: both`, 1 says that the price goes up and 0 that it goes down. With `long` or `short`, 1 says
    that such a trade wins.

    Attributes:
        value: int8 (n_bars,): 1, 0, or -1 where there is no label: the bar is not used in training.
        end: int64 (n_bars,), index of the last bar looked at, by which training rows are purged; -1 without label.
    """

    value: NDArray[np.int8]
    end: NDArray[np.int64]


def make_labels(specification: StrategySpecification, bars: Bars) -> Labels:
    """Return the labels of a strategy; every one enters at the open of the next bar.

    Bar t is labelled from bars t+1 .. t+horizon alone, and the size of its barriers from the ATR (14 bars) of t.
    There is no label where that window reaches past the last bar, where the price ends where it entered, and,
    with barriers or a threshold, before ATR has settled or while it is 0.

    `triple_barrier`: the barrier that is met first; a gap beyond a barrier counts at the open; neither in time
    is the sign of the move from the entry to the last close. One bar that touches both counts as the stop of the
    trade that the label asks about. `direction: both` asks about the long trade, so such a row is labelled 0; that
    is 0 to 1.5 % of the rows with barriers at 1.5 ATR, and 4 to 9 % at 0.5 ATR, where it lowers the share of ones.

    `forward_return`: the sign of the move from the entry to the close `horizon` bars after t.

    `first_move`: which way a close first lies `threshold` ATR of t or more from the entry. Where none does before the
    last bar there is no label, which late in the series favours quick moves.
    """
    if isinstance(specification.labels, TripleBarrierLabels):
        move, end = _triple_barrier_moves(specification.labels, bars, specification.decision.direction)
    elif isinstance(specification.labels, FirstMoveLabels):
        distance = specification.labels.threshold * average_true_range(bars.prices())
        move, end = first_move(bars.open, bars.close, distance)
    else:
        move, end = _forward_moves(bars, specification.labels.horizon)
    if specification.decision.direction == "short":
        move = -move
    value = np.where(end < 0, NO_LABEL, np.where(move > 0, 1, np.where(move < 0, 0, NO_LABEL)))
    return Labels(value.astype(np.int8), np.where(value == NO_LABEL, -1, end))


def _triple_barrier_moves(
    labels: TripleBarrierLabels, bars: Bars, direction: str
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Return the sign of the price's move (n_bars,) and the last bar looked at."""
    atr = average_true_range(bars.prices())
    profit, loss = labels.take_profit * atr, labels.stop_loss * atr
    up, down = (loss, profit) if direction == "short" else (profit, loss)
    outcome, end = first_barrier((bars.open, bars.high, bars.low), up, down, labels.horizon)
    move = outcome.copy()
    move[outcome == BOTH] = UP if direction == "short" else DOWN
    late = (outcome == TIMEOUT) & (end >= 0)
    entry_row = np.flatnonzero(late) + 1
    move[late] = np.sign(bars.close[end[late]] - bars.open[entry_row]).astype(np.int8)
    return move, end


def _forward_moves(bars: Bars, horizon: int) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    n = len(bars)
    move = np.zeros(n, dtype=np.int8)
    end = np.full(n, -1, dtype=np.int64)
    labelled = np.arange(max(n - horizon, 0))
    end[labelled] = labelled + horizon
    move[labelled] = np.sign(bars.close[end[labelled]] - bars.open[labelled + 1]).astype(np.int8)
    return move, end
