"""Adjust a stored series for splits and dividends: a new snapshot, the earlier one stays."""

from datetime import timedelta
from pathlib import Path

from ktrdr.errors import ImportRefused, InvalidInput
from ktrdr.market.actions import EPOCH, CorporateAction, find_adjustment, read_actions, scale_bars
from ktrdr.market.container import NOTHING
from ktrdr.market.importer import ImportOutcome, describe_series
from ktrdr.market.merge import Change
from ktrdr.market.quality import measure_quality
from ktrdr.market.seal import SealedAction, SealedManifest, read_manifest
from ktrdr.market.series import SeriesSidecar
from ktrdr.market.store import BarStore

ADJUSTED = "splits and dividends"  # how the adjustment of an adjusted series begins


def adjust_series(store: BarStore, symbol: str, timeframe: str, actions_file: Path) -> ImportOutcome:
    """Divide earlier prices by each split and take each dividend out of them.

    Sealed bars are not opened: the actions among them are kept beside them, for whoever reads them.

    Raises:
        NotFound: No such series.
        InvalidInput: It is adjusted already.
        ImportRefused: The file cannot be read, or does not fit the prices.
        WorkspaceUnusable: The store cannot be read or written.
    """
    actions = read_actions(actions_file)
    with store.lock_writes():
        stored = store.sidecar(store.stored_symbol(symbol), timeframe)
        if stored.adjustment.startswith(ADJUSTED):
            raise InvalidInput(
                f"{stored.symbol} {stored.timeframe} is adjusted already ({stored.adjustment}): import the prices as"
                " traded with --replace first"
            )
        bars = store.load_research(stored.symbol, stored.timeframe)
        found = find_adjustment(bars, actions, actions_file.name)
        sealed = [action for action in actions if action.day >= stored.sealed_from]
        if not found.n_splits and not found.n_dividends and not sealed:
            first, last = (EPOCH + timedelta(days=int(bars.session_day[row])) for row in (0, -1))
            raise ImportRefused(f"{actions_file.name}: no action between {first} and {last}. {NOTHING}")
        adjusted = scale_bars(bars, found.price, found.shares)
        manifest = _describe_sealed(store, stored, adjusted.snapshot, sealed)
        sidecar = stored.model_copy(
            update={
                "snapshot": adjusted.snapshot,
                "adjustment": f"{ADJUSTED} of {actions_file.name}, prices as traded at the last research bar",
                "quality": measure_quality(adjusted, stored.calendar),
            }
        )
        empty = bars.slice(0, 0)
        store.write_series(sidecar, research=adjusted, manifest=manifest, sealed=empty)
    notices = [
        f"{found.n_splits} splits and {found.n_dividends} dividends adjusted; {len(sealed)} later ones kept for the"
        f" sealed bars; the former version stays as snapshot {stored.snapshot[:12]}"
    ]
    return ImportOutcome(sidecar.info(), Change.UPDATED, sidecar.quality, [*notices, *describe_series(sidecar)])


def _describe_sealed(
    store: BarStore, stored: SeriesSidecar, snapshot: str, sealed: list[CorporateAction]
) -> SealedManifest:
    manifest = read_manifest(store.series_folder(stored.symbol, stored.timeframe), stored.snapshot)
    kept = tuple(SealedAction(day=action.day, split=action.split, dividend=action.dividend) for action in sealed)
    return SealedManifest(research=snapshot, parts=manifest.parts, actions=kept)
