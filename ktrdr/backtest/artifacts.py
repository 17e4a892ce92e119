"""Write a backtest's files: equal outcomes give equal bytes."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ktrdr.artifacts.files import write_bytes_atomically, write_json_atomically
from ktrdr.backtest.outcome import LONG, BacktestOutcome, ExitReason, Trades
from ktrdr.statistics.returns import FloatArray

_INSTANT = pl.Datetime("ms", "UTC")
_REASONS = {reason.value: reason.name.lower() for reason in ExitReason}


def write_backtest(folder: Path, outcome: BacktestOutcome) -> None:
    """Write trades.parquet, equity.parquet and, last, backtest.json into `folder`, each whole or absent."""
    write_bytes_atomically(folder / "trades.parquet", _parquet(trades_frame(outcome.trades)))
    write_bytes_atomically(folder / "equity.parquet", _parquet(equity_frame(outcome)))
    write_json_atomically(folder / "backtest.json", outcome.report.model_dump(mode="json"))


def write_daily_returns(path: Path, outcome: BacktestOutcome) -> None:
    """Write the trial's out-of-sample path: a Parquet file with session_day (date) and net_return."""
    daily = outcome.equity.daily_returns()
    frame = pl.DataFrame({"session_day": daily.session_day, "net_return": daily.net_return})
    write_bytes_atomically(path, _parquet(frame.with_columns(pl.col("session_day").cast(pl.Date))))


def write_variant_returns(path: Path, session_day: NDArray[np.int32], net_return: Mapping[int, FloatArray]) -> None:
    """Write the out-of-sample paths of a sweep's trials: as `write_daily_returns`, a column for each number."""
    columns = {"session_day": session_day, **{str(number): returns for number, returns in net_return.items()}}
    write_bytes_atomically(path, _parquet(pl.DataFrame(columns).with_columns(pl.col("session_day").cast(pl.Date))))


def write_sweep(path: Path, table: pl.DataFrame) -> None:
    """Write the table of a sweep's variants."""
    write_bytes_atomically(path, _parquet(table))


def trades_frame(trades: Trades) -> pl.DataFrame:
    """Return one row per trade, in order of their entries; the columns of `Trades`, `side` and `reason` as words."""
    return pl.DataFrame(
        {
            "symbol": trades.symbol,
            "fold": trades.fold,
            "side": ["long" if side == LONG else "short" for side in trades.side],
            "entry_time": trades.entry_time,
            "exit_time": trades.exit_time,
            "entry_price": trades.entry_price,
            "exit_price": trades.exit_price,
            "quantity": trades.quantity,
            "entry_equity": trades.entry_equity,
            "account_equity": trades.account_equity,
            "reason": [_REASONS[int(reason)] for reason in trades.reason],
            "bars_held": trades.bars_held,
            "gross": trades.gross,
            "costs": trades.costs,
            "financing": trades.financing,
            "net": trades.net,
        },
        schema_overrides={"symbol": pl.String, "side": pl.String, "reason": pl.String},
    ).with_columns(pl.col("entry_time", "exit_time").cast(_INSTANT))


def equity_frame(outcome: BacktestOutcome) -> pl.DataFrame:
    """Return one row per bar of the test blocks, in time order; the columns of `EquityCurve`, and the market's equity.

    `buy_and_hold` is the equity of holding the market over the same bars, as `BuyAndHold` measures it. Of several
    symbols the quantities held are `position_AAPL`, `position_MSFT` and so on.
    """
    curve = outcome.equity
    held = {"position": curve.position}
    if curve.position.ndim > 1:
        held = {
            f"position_{each.symbol}": curve.position[:, place] for place, each in enumerate(outcome.report.symbols)
        }
    return pl.DataFrame(
        {
            "timestamp": curve.timestamp,
            "known_at": curve.known_at,
            "session_day": curve.session_day,
            "fold": curve.fold,
            **held,
            "equity": curve.equity,
            "buy_and_hold": outcome.buy_and_hold.equity,
        }
    ).with_columns(pl.col("timestamp", "known_at").cast(_INSTANT), pl.col("session_day").cast(pl.Date))


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()
