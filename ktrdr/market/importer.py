"""Import a file of bars: read it with certainty or refuse it, seal its end, store the rest."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ktrdr.market.merge import Change, PlannedWrite, plan_write
from ktrdr.market.request import ImportRequest, parse_request
from ktrdr.market.series import QualityReport, SeriesInfo
from ktrdr.market.source import divide_source, read_source
from ktrdr.market.store import BarStore

MISSING_WORTH_SAYING = 0.01


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """The series after an import, what the import did to it, and what must be said about it."""

    series: SeriesInfo
    change: Change
    quality: QualityReport
    notices: list[str]


def import_file(
    store: BarStore,
    path: Path,
    *,
    symbol: str,
    timeframe: str,
    timezone: str | None = None,
    calendar: str | None = None,
    price_side: str | None = None,
    adjust: bool = False,
    now: datetime | None = None,
) -> ImportOutcome:
    """Import a CSV or Parquet file of bars as a series, or bring the stored series up to date with it.

    Between its first and its last bar the file replaces what is stored; bars outside stay. A first import seals the
    later part of the instrument; later imports keep that date, in every timeframe.

    Args:
        store: Where the series lives.
        path: The file: `.csv` (comma, UTF-8, a header) or `.parquet`.
        symbol: The instrument; lower case becomes upper case.
        timeframe: Bar length, as `1h`.
        timezone: IANA zone of times that name none.
        calendar: `fx`, `24x7` or an exchange code; inferred from the research bars when None.
        price_side: `bid`, `ask`, `mid` or `trade`; a default by asset class when None.
        adjust: Multiply prices by adj_close / close, rebased to the last research bar.
        now: The present, timezone-aware; a bar that is not complete by then is refused. Not checked when None.

    Raises:
        InvalidInput: An option is wrong.
        ImportRefused: The file cannot be read with certainty; the store is as it was.
        WorkspaceUnusable: The store cannot be read or written.
    """
    request = parse_request(
        symbol=symbol,
        timeframe=timeframe,
        timezone=timezone,
        calendar=calendar,
        price_side=price_side,
        adjust=adjust,
    )
    outcome = import_bars(store, path, request, now=now)
    if symbol != request.symbol:
        outcome.notices.insert(0, f"symbol {symbol!r} stored as {request.symbol}")
    return outcome


def import_bars(store: BarStore, path: Path, request: ImportRequest, *, now: datetime | None = None) -> ImportOutcome:
    """Import a file about which everything in `request` is said; raises as `import_file`."""
    source = read_source(path, request)
    known = store.sidecars(request.symbol)
    incoming = divide_source(source, request, known, now=now)
    plan_write(store, incoming, request)  # refuses before the first write, which may have to make the folder
    with store.lock_writes():
        current = store.sidecars(request.symbol)
        if current != known:  # another import was faster, and may have fixed the sealed date
            incoming = divide_source(source, request, current, now=now)
        plan = plan_write(store, incoming, request)
        if plan.change is not Change.UNCHANGED:
            store.write_series(plan.sidecar, research=plan.research, manifest=plan.manifest, sealed=plan.sealed)
    return ImportOutcome(
        plan.sidecar.info(), plan.change, plan.sidecar.quality, [*incoming.notices, *plan.notices, *_describe(plan)]
    )


def _describe(plan: PlannedWrite) -> list[str]:
    """Say what a user must know about the stored series."""
    sidecar, quality = plan.sidecar, plan.sidecar.quality
    if plan.change is Change.UNCHANGED:
        return ["the same bars are stored already: nothing changed"]
    notices = [f"bars of sessions from {sidecar.sealed_from} on are sealed, in every timeframe of {sidecar.symbol}"]
    if quality.missing > MISSING_WORTH_SAYING * quality.bars:
        notices.append(
            f"bars missing that the calendar {sidecar.calendar} expects: {quality.missing} beside {quality.bars}"
        )
    if quality.extra:
        notices.append(f"bars outside the sessions of {sidecar.calendar}, kept: {quality.extra}")
    return notices
