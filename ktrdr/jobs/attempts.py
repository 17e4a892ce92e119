"""Remove what ended or killed operations left behind: their attempts, and checkpoints that nobody will go on from."""

from collections.abc import Callable
from pathlib import Path

from ktrdr.artifacts.attempt import discard_attempt
from ktrdr.artifacts.shelf import Shelf
from ktrdr.errors import NotFound
from ktrdr.jobs.data_load_operation import DATA_LOAD, PAGES_PREFIX
from ktrdr.operations.operation import OPERATION_ID_PATTERN, OperationStatus
from ktrdr.operations.store import TRIGGER_LOCK, OperationStore

# How long what a fetch loaded is kept for one that goes on with it.
PAGES_KEPT_S = 30 * 86_400


def attempt_sweeper(
    operations: OperationStore, attempts_folder: Path, checkpoints_folder: Path, checkpoints: Shelf
) -> Callable[[], None]:
    """Return a chore that removes the attempts of ended operations, and the checkpoints of completed or removed ones.

    The folders' names begin with the operation's id.
    """

    def is_attempt_over(folder: Path) -> bool:
        status = _status(operations, folder)
        return status is not None and status.is_terminal

    def is_checkpoint_over(folder: Path) -> bool:
        return _status(operations, folder) in (OperationStatus.COMPLETED, None)

    def discard_checkpoint(folder: Path) -> None:
        checkpoints.discard(folder.name)

    def sweep_attempts() -> None:
        for parent, is_over, discard in (
            (attempts_folder, is_attempt_over, discard_attempt),
            (checkpoints_folder, is_checkpoint_over, discard_checkpoint),
        ):
            candidates = [folder for folder in parent.glob("op_*") if OPERATION_ID_PATTERN.match(folder.name)]
            if any(map(is_over, candidates)):
                # With the lock held, none of them is set going again between the question and the removal.
                with operations.exclusive_lock(TRIGGER_LOCK):
                    for folder in filter(is_over, candidates):
                        discard(folder)

    return sweep_attempts


def page_sweeper(operations: OperationStore, attempts_folder: Path, now_s: Callable[[], float]) -> Callable[[], None]:
    """Return a chore that removes pages of fetches to which nothing was added for `PAGES_KEPT_S`, unless one uses them.

    `now_s` tells the time of the file system, epoch seconds.
    """

    def is_forgotten(folder: Path) -> bool:
        try:
            return now_s() - folder.stat().st_mtime > PAGES_KEPT_S
        except FileNotFoundError:
            return False  # its fetch has just ended

    def sweep_pages() -> None:
        forgotten = [folder for folder in attempts_folder.glob(f"{PAGES_PREFIX}*") if is_forgotten(folder)]
        if not forgotten:
            return
        with operations.exclusive_lock(TRIGGER_LOCK):
            in_use = {operation.metadata.get("pages") for operation in operations.active(DATA_LOAD)}
            for folder in forgotten:
                if folder.name not in in_use:
                    discard_attempt(folder)

    return sweep_pages


def _status(operations: OperationStore, folder: Path) -> OperationStatus | None:
    match = OPERATION_ID_PATTERN.match(folder.name)
    assert match is not None
    try:
        return operations.get(match.group()).status
    except NotFound:
        return None
