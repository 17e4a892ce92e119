"""Listing stored series, installing the samples, importing files."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ktrdr.api.paging import PageOptions, take_page
from ktrdr.clock import Clock
from ktrdr.market.adjust import adjust_series
from ktrdr.market.importer import ImportOutcome, import_file
from ktrdr.market.request import ImportOptions
from ktrdr.market.samples import install_samples
from ktrdr.market.series import SeriesSidecar, normal_symbol
from ktrdr.market.store import BarStore
from ktrdr.schemas.markets import (
    DamagedDocument,
    FindingDocument,
    ImportDocument,
    MarketList,
    QualityDocument,
    QualityList,
    SeriesDocument,
)


class MarketsService:
    """The use-cases behind `/markets`."""

    def __init__(self, bars: BarStore, clock: Clock) -> None:
        self._bars = bars
        self._clock = clock

    def list(self, page: PageOptions) -> MarketList:
        """Return a page of stored series, and those that are damaged.

        Raises:
            InvalidInput: The cursor is none that a page gave.
        """
        series, damaged = self._bars.list_all()
        shown, next_cursor = take_page(series, lambda info: (info.symbol, info.timeframe.milliseconds), page)
        return MarketList(
            markets=[SeriesDocument.model_validate(info) for info in shown],
            damaged=[DamagedDocument.model_validate(each) for each in damaged],
            next_cursor=next_cursor,
        )

    def install_samples(self) -> MarketList:
        """Store the bundled samples; those that are there already stay as they are."""
        return MarketList(markets=[SeriesDocument.model_validate(info) for info in install_samples(self._bars)])

    def quality(self, symbol: str | None, timeframe: str | None) -> QualityList:
        """Return the quality reports of all series, or of those of a symbol or a timeframe.

        Raises:
            NotFound: No such series.
        """
        if symbol is not None:
            symbol = self._bars.stored_symbol(normal_symbol(symbol))
            if timeframe is not None:
                return QualityList(reports=[_quality(self._bars.sidecar(symbol, timeframe))])
        listed = [
            info
            for info in self._bars.list_series()
            if symbol in (None, info.symbol) and timeframe in (None, info.timeframe)
        ]
        if not listed and (symbol or timeframe):
            self._bars.sidecar(symbol or "", timeframe or "1d")
        return QualityList(reports=[_quality(self._bars.sidecar(info.symbol, info.timeframe)) for info in listed])

    def accept_findings(self, symbol: str, timeframe: str) -> QualityDocument:
        """Let research use a series whatever its report found, and record it.

        Raises:
            NotFound: No such series.
        """
        return _quality(self._bars.accept_findings(self._bars.stored_symbol(normal_symbol(symbol)), timeframe))

    def adjust(self, symbol: str, timeframe: str, filename: str, content: BinaryIO) -> ImportDocument:
        """Adjust a series by an uploaded file of splits and dividends.

        Raises:
            NotFound: No such series.
            InvalidInput: It is adjusted already, or the file does not fit it.
        """
        with _kept_upload(filename, content) as path:
            return _imported(adjust_series(self._bars, normal_symbol(symbol), timeframe, path))

    def import_upload(self, filename: str, content: BinaryIO, options: ImportOptions) -> ImportDocument:
        """Store the bars of an uploaded file.

        Raises:
            ImportRefused: It cannot be read with certainty; the store is as it was.
            InvalidInput: An option is wrong.
        """
        with _kept_upload(filename, content) as path:
            return _imported(import_file(self._bars, path, options, now=self._clock()))


@contextmanager
def _kept_upload(filename: str, content: BinaryIO) -> Iterator[Path]:
    """Keep an uploaded file under its own name as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="ktrdr-import-") as folder:
        path = Path(folder) / _safe_filename(filename)
        with path.open("wb") as file:
            shutil.copyfileobj(content, file, 1024 * 1024)
        yield path


def _imported(outcome: ImportOutcome) -> ImportDocument:
    return ImportDocument(
        series=SeriesDocument.model_validate(outcome.series), change=outcome.change.value, notices=outcome.notices
    )


def _quality(sidecar: SeriesSidecar) -> QualityDocument:
    return QualityDocument(
        symbol=sidecar.symbol,
        timeframe=sidecar.timeframe,
        snapshot=sidecar.snapshot,
        bars=sidecar.quality.bars,
        missing=sidecar.quality.missing,
        extra=sidecar.quality.extra,
        flat=sidecar.quality.flat,
        zero_volume=sidecar.quality.zero_volume,
        findings=[FindingDocument.model_validate(finding) for finding in sidecar.quality.findings],
        accepted=[*sidecar.accepted_findings(sidecar.snapshot)],
        is_refused_for_research=sidecar.is_refused_for_research,
    )


def _safe_filename(filename: str) -> str:
    """Return the last part of a sender's file name, reduced to harmless characters, its ending kept."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", filename.replace("\\", "/").rpartition("/")[2]).lstrip(".")
    return name[-120:] or "upload"
