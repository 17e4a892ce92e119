"""The stores of a workspace: its own folders, or those that KTRDR_ARTIFACTS_URL shares among machines."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ktrdr.artifacts.remote_folder import RemoteFolder
from ktrdr.artifacts.shared_shelf import SharedShelf
from ktrdr.artifacts.shelf import PlainShelf, Shelf
from ktrdr.config import Settings
from ktrdr.market.store import SIDECAR, BarStore
from ktrdr.strategy.store import STRATEGY_FILE, StrategyStore

STRATEGIES, BARS, TRIALS, EXAMS, CHECKPOINTS = "strategies", "bars", "trials", "exams", "checkpoints"

# Holds the lock of a name against all processes, on whichever machine.
Lock = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class WorkspaceStores:
    """Where strategies, bars, returns of trials, reports of exams and checkpoints (a unit for each operation) are."""

    strategies: StrategyStore
    bars: BarStore
    trials: Shelf
    exams: Shelf
    checkpoints: Shelf


def open_stores(settings: Settings, lock: Lock) -> WorkspaceStores:
    """Return the stores, for a process that answers requests or runs operations.

    With KTRDR_ARTIFACTS_URL, units of this machine that the store has not are stored there first.

    Raises:
        InvalidInput: The URL cannot be used (`artifacts_url_invalid`).
        ArtifactsUnavailable: The store does not answer, or refuses.
    """
    if settings.artifacts is None:
        return _plain_stores(settings)
    remote = RemoteFolder(settings.artifacts.url, patience_s=settings.artifacts.patience_s, waits=False)
    remote.open()
    shelves = _shared_shelves(settings, remote, lock)
    _adopt(settings, shelves)
    return _stores(settings, shelves)


def open_job_stores(settings: Settings, lock: Lock | None = None) -> WorkspaceStores:
    """Return the stores for a job's process, which waits where the store is away. It imports bars only with a lock."""
    if settings.artifacts is None:
        return _plain_stores(settings)
    remote = RemoteFolder(settings.artifacts.url, patience_s=settings.artifacts.patience_s, waits=True)
    return _stores(settings, _shared_shelves(settings, remote, lock or _refuse_lock))


def _refuse_lock(name: str) -> NoReturn:
    raise AssertionError(f"this process holds no lock {name}")


def _plain_stores(settings: Settings) -> WorkspaceStores:
    return WorkspaceStores(
        StrategyStore(settings.strategies_folder),
        BarStore(settings.data_folder),
        PlainShelf(settings.trials_folder, is_flat=True),
        PlainShelf(settings.vault_folder, is_flat=True),
        PlainShelf(settings.checkpoints_folder),
    )


def _shared_shelves(settings: Settings, remote: RemoteFolder, lock: Lock) -> dict[str, SharedShelf]:
    roots: dict[str, Path] = {
        STRATEGIES: settings.strategies_folder,
        BARS: settings.data_folder,
        TRIALS: settings.trials_folder,
        EXAMS: settings.vault_folder,
        CHECKPOINTS: settings.checkpoints_folder,
    }

    def shelf(kind: str) -> SharedShelf:
        return SharedShelf(
            kind,
            roots[kind],
            remote,
            cache_folder=settings.shared_cache_folder,
            lock=lambda: lock(f"artifacts_{kind}"),
            is_flat=kind in (TRIALS, EXAMS),
        )

    return {kind: shelf(kind) for kind in roots}


def _stores(settings: Settings, shelves: dict[str, SharedShelf]) -> WorkspaceStores:
    return WorkspaceStores(
        StrategyStore(settings.strategies_folder, shelves[STRATEGIES]),
        BarStore(settings.data_folder, shelves[BARS]),
        shelves[TRIALS],
        shelves[EXAMS],
        shelves[CHECKPOINTS],
    )


def _adopt(settings: Settings, shelves: dict[str, SharedShelf]) -> None:
    """Store what this workspace held before the URL was set. Bars go first: strategies name their snapshots."""
    series = [path.parent.relative_to(settings.data_folder) for path in settings.data_folder.glob(f"*/*/{SIDECAR}")]
    strategies = [path.parent.name for path in settings.strategies_folder.glob(f"*/{STRATEGY_FILE}")]
    trials = [path.stem for path in settings.trials_folder.glob("*.parquet")]
    shelves[BARS].adopt(sorted(map(str, series)), lambda unit: _file_names(settings.data_folder / unit, SIDECAR))
    shelves[STRATEGIES].adopt(strategies, lambda unit: _file_names(settings.strategies_folder / unit, STRATEGY_FILE))
    shelves[TRIALS].adopt(trials, lambda unit: [f"{unit}.parquet"])
    exams = [path.stem for path in settings.vault_folder.glob("*.json")]
    shelves[EXAMS].adopt(exams, lambda unit: [f"{unit}.json"])


def _file_names(folder: Path, last: str) -> list[str]:
    """Return the names of a unit's files, without what a killed process left half-written."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    names = sorted(str(path.relative_to(folder)) for path in paths)
    return [*(name for name in names if name != last), last]
