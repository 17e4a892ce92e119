"""Close the trials whose operation ended without doing so itself: cancelled, or lost with its worker."""

from collections.abc import Callable, Sequence

from pydantic import JsonValue

from ktrdr.artifacts.shelf import Shelf
from ktrdr.config import Settings
from ktrdr.errors import NotFound
from ktrdr.evaluation.trial_ledger import TrialLedger, operation_of
from ktrdr.jobs.files import trial_file
from ktrdr.operations.operation import Operation
from ktrdr.operations.store import TRIGGER_LOCK, OperationStore


def trial_reconciler(
    operations: OperationStore, ledger: TrialLedger, trials: Shelf, settings: Settings
) -> Callable[[], None]:
    """Return a chore that gives every abandoned trial its outcome, so that the count stays explained."""

    def ended_root(operation_id: str) -> Operation | None:
        try:
            root = _root(operations, operation_id)
        except NotFound:
            return None
        return root if root.status.is_terminal else None

    def close(operation_id: str, trial_ids: Sequence[str], root: Operation) -> None:
        outcome: dict[str, JsonValue] = {"outcome": root.error.reason if root.error else root.status.value}
        trials.bring(operation_id)
        returns = settings.trials_folder / trial_file(operation_id)
        if returns.exists():  # it ended after its backtest
            outcome["daily_returns"] = str(returns.relative_to(settings.workspace))
        ledger.close_trials(dict.fromkeys(trial_ids, outcome))

    def close_abandoned_trials() -> None:
        unclosed: dict[str, list[str]] = {}  # by operation: a sweep has thousands
        for trial_id in ledger.unclosed():
            unclosed.setdefault(operation_of(trial_id), []).append(trial_id)
        abandoned = [operation_id for operation_id in unclosed if ended_root(operation_id) is not None]
        if not abandoned:
            return
        # With the lock held, none is set going again, and reopened, between the question and the closing.
        with operations.exclusive_lock(TRIGGER_LOCK):
            for operation_id in abandoned:
                root = ended_root(operation_id)
                if root is not None:
                    close(operation_id, unclosed[operation_id], root)

    return close_abandoned_trials


def _root(operations: OperationStore, operation_id: str) -> Operation:
    operation = operations.get(operation_id)
    while operation.parent_id is not None:
        operation = operations.get(operation.parent_id)
    return operation
