"""Remove what ended or killed operations left behind: their attempts, and checkpoints that nobody will go on from."""

from collections.abc import Callable
from pathlib import Path

from ktrdr.artifacts.attempt import discard_attempt
from ktrdr.artifacts.shelf import Shelf
from ktrdr.errors import NotFound
from ktrdr.operations.operation import OPERATION_ID_PATTERN, OperationStatus
from ktrdr.operations.store import TRIGGER_LOCK, OperationStore


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


def _status(operations: OperationStore, folder: Path) -> OperationStatus | None:
    match = OPERATION_ID_PATTERN.match(folder.name)
    assert match is not None
    try:
        return operations.get(match.group()).status
    except NotFound:
        return None
