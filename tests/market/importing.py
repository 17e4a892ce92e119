"""Import as tests say it: options by name."""

from datetime import datetime
from pathlib import Path

from ktrdr.market import importer
from ktrdr.market.importer import ImportOutcome
from ktrdr.market.request import ImportOptions
from ktrdr.market.store import BarStore


def import_file(store: BarStore, path: Path, *, now: datetime | None = None, **options: object) -> ImportOutcome:
    return importer.import_file(store, path, ImportOptions(**options), now=now)
