"""Where a file contradicts the bars that are stored."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ktrdr.errors import ImportRefused
from ktrdr.market.bars import Bars
from ktrdr.market.calendar import IntArray
from ktrdr.market.container import NOTHING
from ktrdr.market.seal import mark_bars
from ktrdr.market.snapshot import NUMBER_COLUMNS
from ktrdr.market.source import Incoming

SAME_WITHIN = 1e-9  # relative: two adjustments of one price differ in their last bits
SHOWN = 3


@dataclass(frozen=True, slots=True)
class _Conflict:
    row: int
    what: str


def refuse_conflicts(incoming: Incoming, old: Bars, sealed_label: IntArray, sealed_mark: IntArray) -> None:
    """Return if the file holds every stored bar of the range that it covers, as it is stored.

    Args:
        incoming: The file's bars.
        old: Stored research bars.
        sealed_label: Times of the stored sealed bars, ascending; the bars themselves are not looked at.
        sealed_mark: Their marks.

    Raises:
        ImportRefused: It does not; the first rows are named.
    """
    differing = [*_differing_research(incoming.research, old), *_differing_sealed(incoming, sealed_label, sealed_mark)]
    if differing:
        rows = "; ".join(f"{incoming.table.where(conflict.row)}: {conflict.what}" for conflict in differing[:SHOWN])
        more = f"; and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        raise ImportRefused(
            f"{incoming.table.file}: {len(differing)} bars differ from the stored ones: {rows}{more}. Import with"
            f" --replace to take the file's bars, as a new snapshot. {NOTHING}"
        )
    stored = np.concatenate([old.timestamp, sealed_label])
    stored = stored[(stored >= incoming.covered[0]) & (stored <= incoming.covered[1])]
    absent = np.setdiff1d(stored, np.concatenate([incoming.research.timestamp, incoming.sealed.timestamp]))
    if len(absent):
        first = np.datetime64(int(absent.min()), "ms").astype("datetime64[m]")
        raise ImportRefused(
            f"{incoming.table.file}: {len(absent)} bars are stored that it has not, though it begins before and ends"
            f" after them, first {first}. Import with --replace to drop them, as a new snapshot. {NOTHING}"
        )


def _differing_research(new: Bars, old: Bars) -> list[_Conflict]:
    _, in_new, in_old = np.intersect1d(new.timestamp, old.timestamp, assume_unique=True, return_indices=True)
    found: dict[int, str] = {}
    for name in (*NUMBER_COLUMNS, "half_spread_bps"):
        here, stored = getattr(new, name), getattr(old, name)
        if here is None or stored is None:
            if (here is None) != (stored is None):
                found |= {int(row): f"only one of the two has {name}" for row in in_new if int(row) not in found}
            continue
        for at in np.flatnonzero(~_is_same(here[in_new], stored[in_old])):
            row = int(in_new[at])
            found.setdefault(row, f"stored {name} {stored[in_old[at]]:.10g}, here {here[row]:.10g}")
    return [_Conflict(row, found[row]) for row in sorted(found)]


def _is_same(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.isclose(one, other, rtol=SAME_WITHIN, atol=0, equal_nan=True)


def _differing_sealed(incoming: Incoming, label: IntArray, mark: IntArray) -> list[_Conflict]:
    sealed = incoming.sealed
    _, in_new, in_old = np.intersect1d(sealed.timestamp, label, assume_unique=True, return_indices=True)
    differs = in_new[mark_bars(sealed)[in_new] != mark[in_old]]
    return [_Conflict(len(incoming.research) + int(row), "another bar is stored there, sealed") for row in differs]
