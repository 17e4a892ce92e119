"""How imported bars and stored bars become the next state of a series."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import numpy as np

from ktrdr.errors import ImportRefused
from ktrdr.market.bars import Bars
from ktrdr.market.conflicts import refuse_conflicts
from ktrdr.market.costs import default_costs
from ktrdr.market.inference import infer_quote_currency
from ktrdr.market.quality import measure_quality
from ktrdr.market.request import ImportRequest
from ktrdr.market.seal import SealedManifest, add_part, describe_part, read_manifest, read_marks
from ktrdr.market.series import SeriesSidecar
from ktrdr.market.snapshot import join_bars, merge_bars
from ktrdr.market.source import Incoming
from ktrdr.market.store import BarStore


class Change(StrEnum):
    """What an import does to a series."""

    CREATED = "created"
    UNCHANGED = "unchanged"
    UPDATED = "updated"


@dataclass(frozen=True, slots=True, eq=False)
class PlannedWrite:
    """The next state of a series; `research` is None where its bars are stored already."""

    change: Change
    sidecar: SeriesSidecar
    research: Bars | None
    manifest: SealedManifest
    sealed: Bars
    notices: list[str]


def plan_write(store: BarStore, incoming: Incoming, request: ImportRequest) -> PlannedWrite:
    """Join a file's bars with the stored ones.

    Bars that are new are added. From its first bar to its last the file must hold the stored bars as they are, unless
    the request is to replace them.

    Raises:
        ImportRefused: The file contradicts stored bars, or covers a part of them and is made differently.
        WorkspaceUnusable: The stored bars cannot be read.
    """
    sidecars = {sidecar.timeframe: sidecar for sidecar in store.sidecars(request.symbol)}
    stored = sidecars.get(request.timeframe)
    part = describe_part(incoming.sealed, incoming.covered)
    if stored is None:
        sidecar = _accept(_describe(incoming, request, incoming.research, incoming.file), request)
        parts = add_part((), part, incoming.covered)
        manifest = SealedManifest(research=incoming.research.snapshot, parts=parts)
        return PlannedWrite(Change.CREATED, sidecar, incoming.research, manifest, incoming.sealed, [])
    folder = store.series_folder(request.symbol, request.timeframe)
    manifest = read_manifest(folder, stored.snapshot)
    covers_all = _covers(incoming, stored, manifest)
    if not covers_all:
        _check_compatible(incoming, stored, request)
    old = store.load_research(request.symbol, request.timeframe)
    if request.replace:
        merged = _replace_range(old, incoming)
        parts = add_part(manifest.parts, part, incoming.covered)
    else:
        sealed_label, sealed_mark = read_marks(folder, manifest)
        refuse_conflicts(incoming, old, sealed_label, sealed_mark)
        merged = _add_new(old, incoming)
        brings_sealed = not np.isin(incoming.sealed.timestamp, sealed_label).all()
        parts = add_part(manifest.parts, part, incoming.covered) if brings_sealed else manifest.parts
    actions = () if request.replace and covers_all else manifest.actions
    next_manifest = SealedManifest(research=merged.snapshot, parts=parts, actions=actions)
    if merged.snapshot == old.snapshot:
        changes = {"price_side": incoming.price_side, "adjustment": incoming.adjustment}
        next_sidecar = _accept(stored.model_copy(update=changes), request)
        is_same = (next_sidecar, next_manifest) == (stored, manifest)
        change = Change.UNCHANGED if is_same else Change.UPDATED
        return PlannedWrite(change, next_sidecar, None, next_manifest, incoming.sealed, [])
    source = incoming.file if covers_all or incoming.file == stored.source else f"{stored.source}; {incoming.file}"
    kept: dict[str, object] = {"costs": stored.costs, "accepted": stored.accepted, "alias_of": stored.alias_of}
    if not covers_all:
        kept |= {"licence": stored.licence, "notice": stored.notice, "tick": stored.tick}
    sidecar = _accept(_describe(incoming, request, merged, source).model_copy(update=kept), request)
    notice = _describe_difference(old, merged)
    return PlannedWrite(Change.UPDATED, sidecar, merged, next_manifest, incoming.sealed, [notice])


def _accept(sidecar: SeriesSidecar, request: ImportRequest) -> SeriesSidecar:
    if not request.accept_findings:
        return sidecar
    return sidecar.with_findings_accepted()


def _covers(incoming: Incoming, stored: SeriesSidecar, manifest: SealedManifest) -> bool:
    last_ms = max([_epoch_ms(stored.last), *(part.replaces_to_ms for part in manifest.parts)])
    return incoming.covered[0] <= _epoch_ms(stored.first) and incoming.covered[1] >= last_ms


def _check_compatible(incoming: Incoming, stored: SeriesSidecar, request: ImportRequest) -> None:
    """Refuse to put two kinds of bars into one series."""
    if request.adjust and int(incoming.research.timestamp[-1]) != _epoch_ms(stored.last):
        # Adjusted prices are rebased at the last research bar: two bases would make a jump that never was.
        raise ImportRefused(
            f"{incoming.file}: to be adjusted beside stored bars, a file must hold the bar of {stored.last:%Y-%m-%d},"
            " at which they are rebased. Import a file that covers the whole series. Nothing was imported."
        )
    has_half_spread = incoming.research.half_spread_bps is not None
    for what, found, expected in (
        ("price side", incoming.price_side, stored.price_side),
        ("adjustment", incoming.adjustment, stored.adjustment),
        ("volume", incoming.has_volume, stored.has_volume),
        ("half spread per bar", has_half_spread, stored.has_half_spread),
    ):
        if found != expected:
            raise ImportRefused(
                f"{incoming.file}: covers a part of the stored {stored.symbol} {stored.timeframe} and differs in its"
                f" {what}: need {_say(expected)}, was {_say(found)}. Import bars of the same kind, or a file that"
                " covers the whole series, with --replace. Nothing was imported."
            )


def _say(value: str | bool) -> str:
    return {True: "one", False: "none"}[value] if isinstance(value, bool) else repr(value)


def _replace_range(old: Bars, incoming: Incoming) -> Bars:
    start = int(np.searchsorted(old.timestamp, incoming.covered[0], side="left"))
    stop = int(np.searchsorted(old.timestamp, incoming.covered[1], side="right"))
    if start == stop and not len(incoming.research):
        return old
    pieces = [old.slice(0, start), incoming.research, old.slice(stop, len(old))]
    return join_bars([piece for piece in pieces if len(piece)])


def _add_new(old: Bars, incoming: Incoming) -> Bars:
    """Return the stored bars and those of the file that are not stored."""
    new = incoming.research
    is_new = ~np.isin(new.timestamp, old.timestamp)
    if not is_new.any():
        return old
    return merge_bars(old, new.take(np.flatnonzero(is_new)))


def _describe_difference(old: Bars, new: Bars) -> str:
    _, in_old, in_new = np.intersect1d(old.timestamp, new.timestamp, assume_unique=True, return_indices=True)
    same = np.ones(len(in_old), dtype=np.bool_)
    for name, column in old.prices().items():
        same &= np.equal(column[in_old], new.prices()[name][in_new]) | (np.isnan(column[in_old]) & (name == "volume"))
    changed = int((~same).sum())
    return (
        f"research bars: {len(new) - len(in_new)} added, {changed} changed, {len(old) - len(in_old)} removed;"
        f" the former version stays as snapshot {old.snapshot[:12]}"
    )


def _describe(incoming: Incoming, request: ImportRequest, research: Bars, source: str) -> SeriesSidecar:
    return SeriesSidecar(
        symbol=request.symbol,
        timeframe=request.timeframe,
        snapshot=research.snapshot,
        source=source,
        clock=incoming.clock,
        calendar=incoming.calendar,
        adjustment=incoming.adjustment,
        price_side=incoming.price_side,
        asset_class=incoming.asset_class,
        quote_currency=infer_quote_currency(request.symbol, incoming.calendar),
        multiplier=1.0,
        tick=request.tick,
        costs=default_costs(incoming.asset_class),
        has_volume=not bool(np.isnan(research.volume).any()),
        has_half_spread=research.half_spread_bps is not None,
        first=_moment(int(research.timestamp[0])),
        last=_moment(int(research.timestamp[-1])),
        sealed_from=incoming.sealed_from,
        quality=measure_quality(research, incoming.calendar),
        licence=request.licence,
        notice=request.notice,
        alias_of=request.alias_of,
    )


def _epoch_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _moment(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)
