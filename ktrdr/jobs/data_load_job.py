"""Load bars from a provider into the attempt folder and import them as a file is."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from pydantic import BaseModel, JsonValue

from ktrdr.clock import utc_now
from ktrdr.config import Settings, load_settings
from ktrdr.database.engine import open_database
from ktrdr.database.lock import exclusive_lock
from ktrdr.jobs.stores import Lock, open_job_stores
from ktrdr.market.importer import import_bars
from ktrdr.market.request import ImportOptions, parse_request
from ktrdr.market.timeframe import Timeframe
from ktrdr.operations.job_child import Report
from ktrdr.providers.catalogue import open_provider
from ktrdr.providers.loading import load_pages
from ktrdr.providers.provider import BarsWanted
from ktrdr.telemetry.stopwatch import Stopwatch

LOADING_SHARE = 95.0  # per cent of the progress; the import takes the rest


class DataLoadRequest(BaseModel):
    """What is asked of a `data_load`: `symbol` as the provider spells it, stored as `store_as`; times in ms UTC.

    `pages` is a folder's name among the attempts of whichever machine loads.
    """

    provider: str
    symbol: str
    store_as: str
    timeframe: str
    start_ms: int
    end_ms: int
    calendar: str | None
    replace: bool
    accept_findings: bool
    pages: str


class DataLoadJobRequest(DataLoadRequest):
    """The same, with the folder that the worker made for this attempt."""

    attempt: str


def load(document: dict[str, JsonValue], report: Report, stopwatch: Stopwatch) -> JsonValue:
    """Load, import by the rules of every import, and say what became of the series."""
    request = DataLoadJobRequest.model_validate(document)
    settings = load_settings()
    provider = open_provider(
        request.provider,
        settings.fetch_url,
        Path(request.attempt),
        gateway=settings.ib_gateway,
        state_folder=settings.state_folder,
    )
    wanted = BarsWanted(request.symbol, Timeframe.parse(request.timeframe), request.start_ms, request.end_ms)
    with closing(provider):
        frame = load_pages(
            provider,
            wanted,
            Path(request.attempt).parent / request.pages,
            now_ms=lambda: int(utc_now().timestamp() * 1000),
            report=lambda percentage, words: report(percentage * LOADING_SHARE / 100, words),
        )
    stopwatch.lap("data.load", {"bars": len(frame)})
    report(LOADING_SHARE, f"importing {len(frame)} bars")
    path = Path(request.attempt) / f"{request.provider.replace(':', '-')}.parquet"
    frame.write_parquet(path)
    facts = provider.facts(request.symbol)
    options = ImportOptions(
        symbol=request.store_as,
        timeframe=request.timeframe,
        calendar=request.calendar or facts.calendar,
        price_side=facts.price_side,
        replace=request.replace,
        accept_findings=request.accept_findings,
    )
    source = f"{provider.source}, {request.symbol}"
    with _locks(settings) as lock:
        bars = open_job_stores(settings, lock).bars
        outcome = import_bars(bars, path, replace(parse_request(options), source=source), now=utc_now())
    stopwatch.lap("data.import", {"bars": outcome.series.n_bars})
    notices: list[JsonValue] = [*outcome.notices]
    return {
        "symbol": outcome.series.symbol,
        "timeframe": outcome.series.timeframe.value,
        "snapshot": outcome.series.snapshot,
        "change": outcome.change.value,
        "loaded_bars": len(frame),
        "research_bars": outcome.series.n_bars,
        "notices": notices,
    }


@contextmanager
def _locks(settings: Settings) -> Iterator[Lock | None]:
    """Give the locks that machines share; a workspace of its own, or on a file system that all mount, needs none."""
    if settings.artifacts is None:
        yield None
        return
    database = open_database(settings.database_url)
    try:
        yield partial(exclusive_lock, database)
    finally:
        database.close()
