"""Seal bars: decide from which session on, and write them where research does not look.

This module writes sealed bars and never reads them back. A series' sealed bars are a list of parts, each a file of
its own; a part takes the place of everything before it in the range that it covers, so that bars can be appended
without opening what is sealed.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ktrdr.artifacts.files import write_bytes_atomically, write_json_atomically
from ktrdr.errors import WorkspaceUnusable
from ktrdr.market.bars import Bars
from ktrdr.market.calendar import IntArray
from ktrdr.market.series import SHA256_PATTERN
from ktrdr.market.snapshot import encode_bars
from ktrdr.market.timeframe import DAY_MS

SEALED_SHARE = 0.2
FEWEST_SEALED_BARS = 250
SEALED_YEAR_MS = 365 * DAY_MS
SEALED_FOLDER = "sealed"


class SealedPart(BaseModel):
    """One file of sealed bars, and the range of labels (epoch ms) in which it replaces earlier parts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(pattern=SHA256_PATTERN, description="content hash, and the file's name")
    n_bars: int = Field(ge=1)
    replaces_from_ms: int
    replaces_to_ms: int


class SealedManifest(BaseModel):
    """The parts that continue one research snapshot, in the order in which they apply."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    research: str = Field(pattern=SHA256_PATTERN)
    parts: tuple[SealedPart, ...] = ()


def find_first_sealed_row(label: IntArray) -> int:
    """Return the row from which a first import is sealed: the later 20 %, at least 250 bars.

    At least one year is sealed where that leaves half of the bars for research. Not above zero where the bars are
    too few to leave any.
    """
    n_bars = len(label)
    row = n_bars - max(FEWEST_SEALED_BARS, int(np.ceil(n_bars * SEALED_SHARE)))
    year_row = int(np.searchsorted(label, label[-1] - SEALED_YEAR_MS, side="right"))
    return min(row, year_row) if year_row >= n_bars / 2 else row


def read_manifest(series_folder: Path, research: str) -> SealedManifest:
    """Return which sealed parts continue a research snapshot: names and ranges, not bars.

    Raises:
        WorkspaceUnusable: The manifest is absent or damaged.
    """
    path = _manifest_path(series_folder, research)
    try:
        return SealedManifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise WorkspaceUnusable(
            f"cannot read {path}: {error}. Restore it from a backup, or move {series_folder} away and import again."
        ) from None


def add_part(parts: tuple[SealedPart, ...], new: SealedPart | None, covered: tuple[int, int]) -> tuple[SealedPart, ...]:
    """Return the parts after an import that covers the labels `covered` (first, last) and seals `new` of them."""
    first_ms, last_ms = covered
    kept = tuple(part for part in parts if not (first_ms <= part.replaces_from_ms and part.replaces_to_ms <= last_ms))
    return kept if new is None else (*kept, new)


def describe_part(bars: Bars, covered: tuple[int, int]) -> SealedPart | None:
    """Return the part that sealed bars make, None where there are none; `bars.snapshot` is their hash."""
    if not len(bars):
        return None
    return SealedPart(sha256=bars.snapshot, n_bars=len(bars), replaces_from_ms=covered[0], replaces_to_ms=covered[1])


def write_sealed(series_folder: Path, manifest: SealedManifest, bars: Bars) -> None:
    """Write sealed bars into their own file, then the manifest that names it."""
    if len(bars):
        path = series_folder / SEALED_FOLDER / f"{bars.snapshot}.parquet"
        if not path.exists():
            write_bytes_atomically(path, encode_bars(bars))
    write_json_atomically(
        _manifest_path(series_folder, manifest.research), manifest.model_dump(mode="json", by_alias=True)
    )


def _manifest_path(series_folder: Path, research: str) -> Path:
    return series_folder / SEALED_FOLDER / f"{research}.json"
