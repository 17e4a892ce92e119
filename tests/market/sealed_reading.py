"""Sealed bars as the vault will read them."""

import json

import polars as pl

from ktrdr.market.store import BarStore


def read_sealed(store: BarStore, symbol: str, timeframe: str) -> pl.DataFrame | None:
    """Apply the sealed parts in their order, as the vault will."""
    folder = store.data_dir / symbol / timeframe / "sealed"
    snapshot = store.series(symbol, timeframe).snapshot
    manifest = json.loads((folder / f"{snapshot}.json").read_text())
    bars: pl.DataFrame | None = None
    for part in manifest["parts"]:
        new = pl.read_parquet(folder / f"{part['sha256']}.parquet")
        if bars is not None:
            at = pl.col("timestamp").dt.epoch("ms")
            outside = (at < part["replaces_from_ms"]) | (at > part["replaces_to_ms"])
            new = pl.concat([bars.filter(outside), new]).sort("timestamp")
        bars = new
    return bars


def read_all(store: BarStore, symbol: str, timeframe: str) -> pl.DataFrame:
    """Return research and sealed bars as one frame of timestamp, prices and volume."""
    research = store.load_research(symbol, timeframe)
    frame = pl.DataFrame(
        {"timestamp": pl.Series(research.timestamp).cast(pl.Datetime("ms", "UTC")), **research.prices()}
    )
    sealed = read_sealed(store, symbol, timeframe)
    return frame if sealed is None else pl.concat([frame, sealed.select(frame.columns)])
