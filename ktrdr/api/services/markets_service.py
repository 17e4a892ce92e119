"""Listing stored series, installing the samples, importing files."""

import re
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO

from ktrdr.clock import Clock
from ktrdr.market.importer import import_file
from ktrdr.market.request import ImportOptions
from ktrdr.market.samples import install_samples
from ktrdr.market.series import SeriesInfo
from ktrdr.market.store import BarStore
from ktrdr.schemas.markets import ImportDocument, MarketList, SeriesDocument


class MarketsService:
    """The use-cases behind `/markets`."""

    def __init__(self, bars: BarStore, clock: Clock) -> None:
        self._bars = bars
        self._clock = clock

    def list(self) -> MarketList:
        """Return all stored series."""
        return _market_list(self._bars.list_series())

    def install_samples(self) -> MarketList:
        """Store the bundled samples; those that are there already stay as they are."""
        return _market_list(install_samples(self._bars))

    def import_upload(self, filename: str, content: BinaryIO, options: ImportOptions) -> ImportDocument:
        """Store the bars of an uploaded file.

        Raises:
            ImportRefused: It cannot be read with certainty; the store is as it was.
            InvalidInput: An option is wrong.
        """
        with tempfile.TemporaryDirectory(prefix="ktrdr-import-") as folder:
            path = Path(folder) / _safe_filename(filename)
            with path.open("wb") as file:
                shutil.copyfileobj(content, file, 1024 * 1024)
            outcome = import_file(self._bars, path, options, now=self._clock())
        return ImportDocument(
            series=SeriesDocument.model_validate(outcome.series),
            change=outcome.change.value,
            notices=outcome.notices,
        )


def _market_list(series: list[SeriesInfo]) -> MarketList:
    return MarketList(markets=[SeriesDocument.model_validate(info) for info in series])


def _safe_filename(filename: str) -> str:
    """Return the last part of a sender's file name, reduced to harmless characters, its ending kept."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", filename.replace("\\", "/").rpartition("/")[2]).lstrip(".")
    return name[-120:] or "upload"
