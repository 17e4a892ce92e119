"""Seal bars: decide from which session on, and write them where research does not look.

This module writes sealed bars and never reads them back; beside each part it keeps the time and a hash of every bar,
by which a later import finds out whether it brings the same ones. A series' sealed bars are a list of parts, each a
file of its own; a part takes the place of everything before it in the range that it covers, so that bars can be
appended without opening what is sealed.
"""

from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
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


class SealedAction(BaseModel):
    """A split (new shares for an old one) or dividend among sealed bars, which are stored as they were traded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    day: date
    split: float = Field(gt=0)
    dividend: float = Field(ge=0)


class SealedManifest(BaseModel):
    """The parts that continue one research snapshot, in the order in which they apply.

    `actions` are still to be applied to sealed bars: prices from each day on are worth `split` times more, and its
    dividend, than those of the last research bar.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    research: str = Field(pattern=SHA256_PATTERN)
    parts: tuple[SealedPart, ...] = ()
    actions: tuple[SealedAction, ...] = ()


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


def mark_bars(bars: Bars) -> IntArray:
    """Return a 64-bit hash of each bar's numbers, as int64: equal bars have equal marks."""
    mark = np.zeros(len(bars), dtype=np.uint64)
    columns = [*bars.prices().values(), *([] if bars.half_spread_bps is None else [bars.half_spread_bps])]
    for values in columns:
        mark = _mix(mark ^ np.ascontiguousarray(values).view(np.uint64))
    return mark.view(np.int64)


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread every bit over the whole word: the finaliser of SplitMix64."""
    value = (value + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def read_marks(series_folder: Path, manifest: SealedManifest) -> tuple[IntArray, IntArray]:
    """Return the times of all sealed bars that continue a snapshot, ascending, and their marks.

    Raises:
        WorkspaceUnusable: A file of marks is absent or damaged.
    """
    label, mark = np.empty(0, np.int64), np.empty(0, np.int64)
    for part in manifest.parts:
        path = _marks_path(series_folder, part.sha256)
        try:
            both = np.frombuffer(path.read_bytes(), dtype="<i8").reshape(2, part.n_bars)
        except (OSError, ValueError) as error:
            raise WorkspaceUnusable(
                f"cannot read {path}: {error}. Restore it from a backup, or move {series_folder} away and import again."
            ) from None
        kept = (label < part.replaces_from_ms) | (label > part.replaces_to_ms)
        label, mark = np.append(label[kept], both[0]), np.append(mark[kept], both[1])
        order = np.argsort(label, kind="stable")
        label, mark = label[order], mark[order]
    return label, mark


def write_sealed(series_folder: Path, manifest: SealedManifest, bars: Bars) -> None:
    """Write sealed bars into their own file, then the manifest that names it."""
    if len(bars):
        path = series_folder / SEALED_FOLDER / f"{bars.snapshot}.parquet"
        if not path.exists():
            marks = np.stack([bars.timestamp, mark_bars(bars)]).astype("<i8")
            write_bytes_atomically(_marks_path(series_folder, bars.snapshot), marks.tobytes())
            write_bytes_atomically(path, encode_bars(bars))
    write_json_atomically(
        _manifest_path(series_folder, manifest.research), manifest.model_dump(mode="json", by_alias=True)
    )


def _marks_path(series_folder: Path, part: str) -> Path:
    return series_folder / SEALED_FOLDER / f"{part}.marks"


def has_manifest(series_folder: Path, research: str) -> bool:
    """Whether a research snapshot was stored whole: its manifest is written after its bars."""
    return _manifest_path(series_folder, research).exists()


def _manifest_path(series_folder: Path, research: str) -> Path:
    return series_folder / SEALED_FOLDER / f"{research}.json"
