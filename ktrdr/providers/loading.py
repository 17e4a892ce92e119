"""Load page after page into a folder, from where a later run goes on."""

import io
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from ktrdr.artifacts.files import write_bytes_atomically
from ktrdr.errors import OperationFailed
from ktrdr.providers.provider import BarsWanted, Page, Provider

WORTH_ANOTHER_TRY = ("rate_limited", "connection")
MOST_TRIES = 6
PAGE_FILE = re.compile(r"page_(-?\d+)_(-?\d+)\.parquet")

Report = Callable[[float, str], None]


def load_pages(
    provider: Provider,
    wanted: BarsWanted,
    folder: Path,
    *,
    now_ms: Callable[[], int],
    report: Report,
    backoff_s: float = 2.0,
) -> pl.DataFrame:
    """Return all bars wanted that are complete; pages that `folder` holds from an earlier run are not asked for again.

    Args:
        provider: Whom to ask.
        wanted: What for.
        folder: Where pages are kept until the bars are imported.
        now_ms: The present, epoch milliseconds.
        report: Called with a percentage and words.
        backoff_s: Wait before the second try of a page; it doubles with each further one.

    Raises:
        OperationFailed: The provider fails, or has no bar at all (`empty_answer`).
        InvalidInput: It has no such symbol or timeframe.
    """
    length = wanted.timeframe.milliseconds
    pages, since_ms = _read_pages(folder, wanted.start_ms)
    while since_ms < wanted.end_ms and since_ms + length <= now_ms():
        done = (since_ms - wanted.start_ms) / max(wanted.end_ms - wanted.start_ms, 1)
        report(100 * done, f"bars from {datetime.fromtimestamp(since_ms / 1000, UTC):%Y-%m-%d %H:%M}")
        page = _ask(provider, wanted, since_ms, backoff_s, report)
        if page.next_ms <= since_ms:
            raise OperationFailed(f"{provider.source} does not get beyond {since_ms}", reason="provider_error")
        # What is not complete yet is left out, and asked for again when it may be.
        complete_before = now_ms() - length
        frame = page.frame.filter(pl.col("timestamp").dt.epoch("ms") <= complete_before)
        next_ms = page.next_ms
        if len(frame) < len(page.frame):
            next_ms = int(page.frame["timestamp"].dt.epoch("ms")[len(frame)])
        _write_page(folder, frame, since_ms, next_ms)
        pages.append(frame)
        if next_ms <= since_ms or len(frame) < len(page.frame):
            break
        since_ms = next_ms
    bars = pl.concat(pages) if pages else None
    if bars is None or bars.is_empty():
        raise OperationFailed(
            f"{provider.source} has no {wanted.timeframe} bars of {wanted.symbol} in that time: check the symbol,"
            " --start and --end",
            reason="empty_answer",
        )
    return bars.filter(pl.col("timestamp").dt.epoch("ms") < wanted.end_ms)


def _ask(provider: Provider, wanted: BarsWanted, since_ms: int, backoff_s: float, report: Report) -> Page:
    for attempt in range(MOST_TRIES):
        try:
            return provider.page(wanted, since_ms)
        except OperationFailed as error:
            if error.reason not in WORTH_ANOTHER_TRY or attempt == MOST_TRIES - 1:
                raise
            time.sleep(backoff_s * 2**attempt)
    raise AssertionError("unreachable")


def _write_page(folder: Path, frame: pl.DataFrame, since_ms: int, next_ms: int) -> None:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    write_bytes_atomically(folder / f"page_{since_ms}_{next_ms}.parquet", buffer.getvalue())


def _read_pages(folder: Path, start_ms: int) -> tuple[list[pl.DataFrame], int]:
    """Return the pages that follow each other from the start, and where the next one begins."""
    following: dict[int, tuple[int, Path]] = {}
    for path in folder.glob("page_*.parquet"):
        if (match := PAGE_FILE.fullmatch(path.name)) is not None:
            since_ms, next_ms = int(match.group(1)), int(match.group(2))
            if next_ms > following.get(since_ms, (since_ms, path))[0]:
                following[since_ms] = (next_ms, path)
    pages: list[pl.DataFrame] = []
    while start_ms in following:
        start_ms, path = following[start_ms]
        pages.append(pl.read_parquet(path))
    return pages, start_ms
