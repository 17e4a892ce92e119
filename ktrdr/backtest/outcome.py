"""What a backtest leaves: its trades, its equity curve, its report."""

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from ktrdr.backtest.report import BacktestReport, VerdictReport
from ktrdr.statistics.returns import DailyReturns, FloatArray, daily_returns

INITIAL_EQUITY = 100_000.0  # in quote currency; of several symbols each trades an equal part, at fixed rates
LONG, SHORT = 1, -1


class ExitReason(IntEnum):
    """Why a position was closed."""

    SIGNAL = 1
    STOP = 2
    TARGET = 3
    MAX_HOLDING = 4
    FOLD_END = 5
    RUIN = 6


@dataclass(frozen=True, slots=True, eq=False)
class Trades:
    """Closed trades in order of their entries, one column per field, each (n_trades,); money in quote currency.

    Attributes:
        symbol: str, the instrument.
        fold: int8, the fold that the trade lies in.
        side: int8, 1 long, -1 short.
        entry_time: int64, open of the entry bar, epoch ms UTC.
        exit_time: int64, epoch ms UTC: the open of the exit bar where it fills there, else when that bar is known.
        entry_price: Price of the entry fill, before costs.
        exit_price: Price of the exit fill, before costs.
        quantity: Units held, > 0 for either side.
        entry_equity: Equity of the symbol's share at the entry fill, before its costs.
        account_equity: Equity of the whole account then, the other symbols' shares at their last marks.
        window_bars: int64, bars that the symbol has in the window.
        reason: int8, an `ExitReason`.
        bars_held: int64, bars during which the position was held, in part or whole.
        gross: side x quantity x (exit price - entry price).
        costs: Commission, half spread and slippage of both fills.
        financing: Cost of holding; negative where it earned.
        net: gross - costs - financing.
    """

    symbol: NDArray[np.str_]
    fold: NDArray[np.int8]
    side: NDArray[np.int8]
    entry_time: NDArray[np.int64]
    exit_time: NDArray[np.int64]
    entry_price: FloatArray
    exit_price: FloatArray
    quantity: FloatArray
    entry_equity: FloatArray
    account_equity: FloatArray
    window_bars: NDArray[np.int64]
    reason: NDArray[np.int8]
    bars_held: NDArray[np.int64]
    gross: FloatArray
    costs: FloatArray
    financing: FloatArray
    net: FloatArray

    def __len__(self) -> int:
        return len(self.net)


@dataclass(frozen=True, slots=True, eq=False)
class EquityCurve:
    """The account at the close of every bar of the test blocks, each column (n_rows,).

    Of several symbols there is a row for every open at which one of them has a bar, as `Portfolio` says.

    Attributes:
        timestamp: int64, bar open, epoch ms UTC.
        known_at: int64, when the bar is complete, epoch ms UTC.
        session_day: int32, days since 1970-01-01.
        fold: int8, the fold that the bar belongs to.
        position: Signed quantity held after the bar's close; of several symbols (n_rows, n_symbols), in their order.
        equity: Marked at the bar's close, after all fills of the bar, in quote currency.
    """

    timestamp: NDArray[np.int64]
    known_at: NDArray[np.int64]
    session_day: NDArray[np.int32]
    fold: NDArray[np.int8]
    position: FloatArray
    equity: FloatArray

    def __len__(self) -> int:
        return len(self.equity)

    def daily_returns(self) -> DailyReturns:
        """Return the net return of every session day of the window."""
        return daily_returns(self.equity, self.session_day, initial_equity=INITIAL_EQUITY)


@dataclass(frozen=True, slots=True, eq=False)
class BacktestOutcome:
    """Everything that one backtest found out, and the curve of holding the market over the same bars."""

    report: BacktestReport
    trades: Trades
    equity: EquityCurve
    buy_and_hold: EquityCurve

    def with_verdict(self, verdict: VerdictReport) -> "BacktestOutcome":
        """Return the outcome with the verdict in its report."""
        return replace(self, report=self.report.model_copy(update={"verdict": verdict}))
