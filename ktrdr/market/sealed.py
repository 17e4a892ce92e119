"""Read sealed bars. The exam alone may: an import contract names the one module that imports this one."""

from pathlib import Path

import numpy as np

from ktrdr.errors import ImportRefused, OperationFailed, WorkspaceUnusable
from ktrdr.market.actions import CorporateAction, find_adjustment, scale_bars
from ktrdr.market.bars import Bars
from ktrdr.market.seal import SEALED_FOLDER, SealedManifest, read_manifest
from ktrdr.market.snapshot import decode_bars, join_bars, merge_bars
from ktrdr.market.store import BarStore


def load_with_sealed(store: BarStore, symbol: str, timeframe: str, *, snapshot: str) -> tuple[Bars, int]:
    """Return the research bars of a snapshot with the sealed ones after them, and the row of the first sealed bar.

    Sealed prices are made comparable to those of the last research bar, which stays as it was traded: the splits and
    dividends that the manifest records are applied to them.

    Raises:
        NotFound: No such series or snapshot.
        OperationFailed: `no_exam`: nothing is sealed after it; `sealed_unusable`: an action does not fit the prices.
        WorkspaceUnusable: A file is missing, damaged or not what its name says.
    """
    research = store.load_research(symbol, timeframe, snapshot=snapshot)
    folder = store.series_folder(symbol, research.timeframe)
    manifest = read_manifest(folder, snapshot)
    sealed = _read_parts(folder, manifest, research)
    if sealed is None or not len(sealed):
        raise OperationFailed(f"no bar of {symbol} {timeframe} is sealed after {snapshot[:12]}", reason="no_exam")
    joined = join_bars([research, sealed])
    return _apply_actions(joined, len(research), manifest), len(research)


def _read_parts(folder: Path, manifest: SealedManifest, research: Bars) -> Bars | None:
    bars: Bars | None = None
    for part in manifest.parts:
        path = folder / SEALED_FOLDER / f"{part.sha256}.parquet"
        try:
            new = decode_bars(
                path.read_bytes(),
                symbol=research.symbol,
                timeframe=research.timeframe,
                snapshot=part.sha256,
                calendar=research.calendar,
            )
        except (OSError, ValueError) as error:
            raise WorkspaceUnusable(f"cannot use {path}: {error}. Restore it from a backup.") from None
        if bars is not None:
            outside = (bars.timestamp < part.replaces_from_ms) | (bars.timestamp > part.replaces_to_ms)
            new = merge_bars(bars.take(np.flatnonzero(outside)), new)
        bars = new
    return bars


def _apply_actions(joined: Bars, first_sealed: int, manifest: SealedManifest) -> Bars:
    if not manifest.actions:
        return joined
    actions = [CorporateAction(each.day, each.split, each.dividend, line=0) for each in manifest.actions]
    try:
        found = find_adjustment(joined, actions, "the splits and dividends among sealed bars")
    except ImportRefused:
        # Its words name sealed prices, and a failure stands where agents read.
        raise OperationFailed(
            f"a split or dividend recorded for the sealed bars of {joined.symbol} {joined.timeframe} does not fit "
            "their prices; import the prices as traded with --replace, and adjust them with a correct file",
            reason="sealed_unusable",
        ) from None
    # As an adjustment of the whole series has it, but based on the last research bar in place of the last of all.
    last = first_sealed - 1
    return scale_bars(joined, found.price / found.price[last], found.shares / found.shares[last])
