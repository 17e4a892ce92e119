"""Bars as immutable bytes: their content hash, and the Parquet file that holds them."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from ktrdr.market.bars import Bars
from ktrdr.market.timeframe import Timeframe

CLOCK_COLUMNS = ("timestamp", "known_at", "session_day")
NUMBER_COLUMNS = ("open", "high", "low", "close", "volume")
# Of damaged Parquet files polars 2.1 refuses most by an error and a few in a thousand by a panic, no `Exception`.
UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException)


def hash_bars(bars: Bars) -> str:
    """Return the sha256 of what the bars say: the symbol, the timeframe and every column, bit by bit.

    It does not depend on how a library lays out the file, so that two machines agree on it.
    """
    digest = hashlib.sha256(f"ktrdr bars 1\n{bars.symbol}\n{bars.timeframe}\n{len(bars)}\n".encode())
    for name in (*CLOCK_COLUMNS, *NUMBER_COLUMNS, "half_spread_bps"):
        column = getattr(bars, name)
        if column is not None:
            digest.update(f"{name}\n".encode())
            digest.update(np.ascontiguousarray(column).astype(column.dtype.newbyteorder("<"), copy=False).data)
    return digest.hexdigest()


def name_snapshots(snapshots: Mapping[str, str]) -> str:
    """Return the one name of the series of some symbols: of one its own snapshot, of several a hash over theirs."""
    if len(snapshots) == 1:
        return next(iter(snapshots.values()))
    lines = "".join(f"{symbol} {snapshots[symbol]}\n" for symbol in sorted(snapshots))
    return hashlib.sha256(f"ktrdr series 1\n{lines}".encode()).hexdigest()


def encode_bars(bars: Bars) -> bytes:
    """Return the bars as a zstd-compressed Parquet file."""
    columns = {
        "timestamp": pl.Series(bars.timestamp).cast(pl.Datetime("ms", "UTC")),
        "known_at": pl.Series(bars.known_at).cast(pl.Datetime("ms", "UTC")),
        "session_day": pl.Series(bars.session_day).cast(pl.Date),
    }
    columns |= {name: pl.Series(getattr(bars, name)) for name in NUMBER_COLUMNS}
    if bars.half_spread_bps is not None:
        columns["half_spread_bps"] = pl.Series(bars.half_spread_bps)
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def decode_bars(data: bytes, *, symbol: str, timeframe: Timeframe, snapshot: str, calendar: str) -> Bars:
    """Return the bars of a file made by `encode_bars`.

    Raises:
        ValueError: The file is damaged, or holds other bars than the snapshot's name says.
    """
    try:
        frame = pl.read_parquet(io.BytesIO(data))
        clock = {name: frame[name].to_physical().to_numpy() for name in CLOCK_COLUMNS}
        numbers = {name: frame[name].to_numpy() for name in NUMBER_COLUMNS}
    except UNREADABLE as error:
        raise ValueError(f"is no file of bars: {error}") from None
    spread = frame["half_spread_bps"].to_numpy() if "half_spread_bps" in frame.columns else None
    bars = Bars(symbol, timeframe, snapshot, **clock, **numbers, half_spread_bps=spread, calendar=calendar)
    found = hash_bars(bars)
    if found != snapshot:
        raise ValueError(f"its content has the hash {found}")
    return bars


def name_snapshot(bars: Bars) -> Bars:
    """Return the same bars under the name that their content gives them."""
    return replace(bars, snapshot=hash_bars(bars))


def merge_bars(one: Bars, other: Bars) -> Bars:
    """Return the bars of two parts of one series that share no time as one, oldest first, named by its content."""
    joined = join_bars([one, other])
    return name_snapshot(joined.take(np.argsort(joined.timestamp, kind="stable")))


def join_bars(pieces: Sequence[Bars]) -> Bars:
    """Return the bars of consecutive pieces of one series as one, named by its content.

    Half spreads are kept only where every piece has them.
    """
    spreads = [piece.half_spread_bps for piece in pieces if piece.half_spread_bps is not None]
    return name_snapshot(
        Bars(
            symbol=pieces[0].symbol,
            timeframe=pieces[0].timeframe,
            snapshot="",
            timestamp=np.concatenate([piece.timestamp for piece in pieces]),
            known_at=np.concatenate([piece.known_at for piece in pieces]),
            session_day=np.concatenate([piece.session_day for piece in pieces]),
            open=np.concatenate([piece.open for piece in pieces]),
            high=np.concatenate([piece.high for piece in pieces]),
            low=np.concatenate([piece.low for piece in pieces]),
            close=np.concatenate([piece.close for piece in pieces]),
            volume=np.concatenate([piece.volume for piece in pieces]),
            half_spread_bps=np.concatenate(spreads) if len(spreads) == len(pieces) else None,
            calendar=pieces[0].calendar,
        )
    )
