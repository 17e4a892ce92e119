"""Import a file of bars: read it with certainty or refuse it, seal its end, store the rest."""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from ktrdr.errors import ImportRefused, InvalidInput
from ktrdr.market.findings import QualityReport
from ktrdr.market.merge import Change, PlannedWrite, plan_write
from ktrdr.market.request import ImportOptions, ImportRequest, parse_request
from ktrdr.market.seal import SealedManifest, read_manifest
from ktrdr.market.series import SeriesInfo, SeriesSidecar
from ktrdr.market.source import Incoming, Source, divide_source, read_source
from ktrdr.market.store import BarStore


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """The series after an import, what the import did to it, and what must be said about it."""

    series: SeriesInfo
    change: Change
    quality: QualityReport
    notices: list[str]


def import_file(store: BarStore, path: Path, options: ImportOptions, *, now: datetime | None = None) -> ImportOutcome:
    """Import a file of bars as a series, or add its bars to the stored series.

    A first import seals the later part of the instrument; later imports keep that date, in every timeframe.

    Args:
        store: Where the series lives.
        path: Text with separators, or Parquet; packed or not.
        options: What is said about it.
        now: The present, timezone-aware; a last bar that is not complete by then is left out. Not checked when None.

    Raises:
        InvalidInput: An option is wrong.
        NotFound: `alias_of` names no stored instrument.
        ImportRefused: The file cannot be read with certainty, or contradicts stored bars; the store is as it was.
        WorkspaceUnusable: The store cannot be read or written.
    """
    outcome = import_bars(store, path, parse_request(options), now=now)
    if options.symbol != outcome.series.symbol:
        outcome.notices.insert(0, f"symbol {options.symbol!r} stored as {outcome.series.symbol}")
    return outcome


def import_bars(store: BarStore, path: Path, request: ImportRequest, *, now: datetime | None = None) -> ImportOutcome:
    """Import a file about which everything in `request` is said; raises as `import_file`."""
    store.sweep()
    source = read_source(path, request)
    ground = _find_ground(store, request)
    planned = _plan(store, source, ground, now)  # refuses before the first write, which may have to make the folder
    with store.lock_writes():
        found = _find_ground(store, request)
        if found != ground:  # another import was faster, and may have fixed the sealed date
            planned = _plan(store, source, found, now)
        incoming, plan = planned
        if plan.change is not Change.UNCHANGED:
            store.write_series(plan.sidecar, research=plan.research, manifest=plan.manifest, sealed=plan.sealed)
    return ImportOutcome(
        plan.sidecar.info(), plan.change, plan.sidecar.quality, [*incoming.notices, *plan.notices, *_describe(plan)]
    )


@dataclass(frozen=True, slots=True)
class _Ground:
    """What an import is planned upon: the request in the store's own names, and all that is stored of its instrument.

    `root` is the instrument that a new alias shares its sealed date with.
    """

    request: ImportRequest
    known: list[SeriesSidecar]
    manifest: SealedManifest | None
    root: SeriesSidecar | None


def _find_ground(store: BarStore, request: ImportRequest) -> _Ground:
    request = replace(request, symbol=store.stored_symbol(request.symbol))
    known = store.sidecars(request.symbol)
    stored = next((sidecar for sidecar in known if sidecar.timeframe is request.timeframe), None)
    folder = store.series_folder(request.symbol, request.timeframe)
    manifest = None if stored is None else read_manifest(folder, stored.snapshot)
    if request.alias_of is None:
        return _Ground(request, known, manifest, None)
    root = store.instrument(request.alias_of)
    _check_alias(request, root, known)
    return _Ground(replace(request, alias_of=root.symbol), known, manifest, root)


def _plan(store: BarStore, source: Source, ground: _Ground, now: datetime | None) -> tuple[Incoming, PlannedWrite]:
    fixed_by = ground.known[0] if ground.known else ground.root
    sealed_from = None if fixed_by is None else fixed_by.sealed_from
    incoming = divide_source(source, ground.request, ground.known, sealed_from=sealed_from, now=now)
    return incoming, plan_write(store, incoming, ground.request)


def _check_alias(request: ImportRequest, root: SeriesSidecar, known: list[SeriesSidecar]) -> None:
    if request.symbol == root.symbol:
        raise InvalidInput(f"{request.symbol} cannot be another name of itself: leave --alias-of out")
    if known and known[0].alias_of != root.symbol:
        raise ImportRefused(
            f"{request.symbol} is stored by itself and sealed from {known[0].sealed_from}, {root.symbol} from"
            f" {root.sealed_from}. Move the folder of {request.symbol} away first. Nothing was imported."
        )


def _describe(plan: PlannedWrite) -> list[str]:
    if plan.change is Change.UNCHANGED:
        return ["the same bars are stored already: nothing changed"]
    return describe_series(plan.sidecar)


def describe_series(sidecar: SeriesSidecar) -> list[str]:
    """Return what a user must know about a stored series."""
    shared = f", as those of {sidecar.alias_of}" if sidecar.alias_of else f", in every timeframe of {sidecar.symbol}"
    notices = [f"bars of sessions from {sidecar.sealed_from} on are sealed{shared}; nothing is reported of them"]
    notices += [f"{finding.severity}: {finding.what}. To do: {finding.advice}" for finding in sidecar.quality.findings]
    name = f"{sidecar.symbol} {sidecar.timeframe}"
    if sidecar.is_refused_for_research:
        notices.append(
            "research refuses this series for its serious findings: mend them, or `ktrdr data check"
            f" {name} --accept-findings`"
        )
    elif sidecar.quality.is_serious:
        notices.append("the serious findings are accepted: research uses this series, and results say so")
    return notices
