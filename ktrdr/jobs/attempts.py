"""Remove what killed workers left behind: attempt folders of operations that have ended."""

from collections.abc import Callable
from pathlib import Path

from ktrdr.artifacts.attempt import discard_attempt
from ktrdr.errors import NotFound
from ktrdr.operations.operation import OPERATION_ID_PATTERN
from ktrdr.operations.store import OperationStore


def attempt_sweeper(operations: OperationStore, attempts_folder: Path) -> Callable[[], None]:
    """Return a chore that removes the attempts of ended operations. Their names begin with its id."""

    def sweep_attempts() -> None:
        for folder in attempts_folder.glob("op_*"):
            match = OPERATION_ID_PATTERN.match(folder.name)
            if match is None:
                continue
            try:
                ended = operations.get(match.group()).status.is_terminal
            except NotFound:
                continue
            if ended:
                discard_attempt(folder)

    return sweep_attempts
