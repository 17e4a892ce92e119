"""How imported bars and stored bars become the next state of a series."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import numpy as np

from ktrdr.errors import ImportRefused
from ktrdr.market.bars import Bars
from ktrdr.market.calendar import clock_bars, count_expected_bars, find_grid, load_sessions
from ktrdr.market.costs import default_costs
from ktrdr.market.inference import infer_quote_currency
from ktrdr.market.request import ImportRequest
from ktrdr.market.seal import SealedManifest, add_part, describe_part, read_manifest
from ktrdr.market.series import QualityReport, SeriesSidecar
from ktrdr.market.snapshot import join_bars
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
    """Join a file's bars with the stored ones; from its first bar to its last the file's bars count.

    Raises:
        ImportRefused: The file covers a part of the stored bars and is made differently.
        WorkspaceUnusable: The stored bars cannot be read.
    """
    sidecars = {sidecar.timeframe: sidecar for sidecar in store.sidecars(request.symbol)}
    stored = sidecars.get(request.timeframe)
    part = describe_part(incoming.sealed, incoming.covered)
    if stored is None:
        sidecar = _describe(incoming, request, incoming.research, incoming.file)
        parts = add_part((), part, incoming.covered)
        manifest = SealedManifest(research=incoming.research.snapshot, parts=parts)
        return PlannedWrite(Change.CREATED, sidecar, incoming.research, manifest, incoming.sealed, [])
    folder = store.series_folder(request.symbol, request.timeframe)
    manifest = read_manifest(folder, stored.snapshot)
    covers_all = _covers(incoming, stored, manifest)
    if not covers_all:
        _check_compatible(incoming, stored, request)
    old = store.load_research(request.symbol, request.timeframe)
    merged = _replace_range(old, incoming)
    next_manifest = SealedManifest(research=merged.snapshot, parts=add_part(manifest.parts, part, incoming.covered))
    if merged.snapshot == old.snapshot:
        next_sidecar = stored.model_copy(update={"price_side": incoming.price_side, "adjustment": incoming.adjustment})
        is_same = (next_sidecar, next_manifest) == (stored, manifest)
        change = Change.UNCHANGED if is_same else Change.UPDATED
        return PlannedWrite(change, next_sidecar, None, next_manifest, incoming.sealed, [])
    source = incoming.file if covers_all or incoming.file == stored.source else f"{stored.source}; {incoming.file}"
    kept: dict[str, object] = {"costs": stored.costs}
    if not covers_all:
        kept |= {"licence": stored.licence, "notice": stored.notice, "tick": stored.tick}
    sidecar = _describe(incoming, request, merged, source).model_copy(update=kept)
    notice = _describe_difference(old, merged)
    return PlannedWrite(Change.UPDATED, sidecar, merged, next_manifest, incoming.sealed, [notice])


def measure_quality(bars: Bars, calendar: str) -> QualityReport:
    """Count what is missing, extra, flat and without volume among research bars."""
    label, timeframe = bars.timestamp, bars.timeframe
    sessions = load_sessions(calendar, int(label[0]), int(label[-1]))
    grid = None if timeframe.is_daily else find_grid(label, timeframe, sessions)
    inside = clock_bars(label, timeframe, sessions, grid).inside
    end_ms = int(label[-1]) + timeframe.milliseconds
    expected = count_expected_bars(sessions, timeframe, grid, first_ms=int(label[0]), end_ms=end_ms)
    n_inside = int(inside.sum())
    return QualityReport(
        bars=len(bars),
        missing=max(expected - n_inside, 0),
        extra=len(bars) - n_inside,
        flat=int(((bars.high == bars.low) & (bars.open == bars.close)).sum()),
        zero_volume=int((bars.volume == 0).sum()),
    )


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
                f" {what}: need {_say(expected)}, was {_say(found)}. Import a file that covers the whole series, or"
                " bars of the same kind. Nothing was imported."
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
    )


def _epoch_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _moment(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)
