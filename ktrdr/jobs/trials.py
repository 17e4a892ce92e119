"""Close the trials whose operation ended without doing so itself: cancelled, or lost with its worker."""

from collections.abc import Callable

from pydantic import JsonValue

from ktrdr.artifacts.shelf import Shelf
from ktrdr.config import Settings
from ktrdr.errors import NotFound
from ktrdr.evaluation.trial_ledger import TrialLedger
from ktrdr.jobs.files import trial_file
from ktrdr.operations.operation import Operation
from ktrdr.operations.store import TRIGGER_LOCK, OperationStore


def trial_reconciler(
    operations: OperationStore, ledger: TrialLedger, trials: Shelf, settings: Settings
) -> Callable[[], None]:
    """Return a chore that gives every abandoned trial its outcome, so that the count stays explained."""

    def ended_root(trial_id: str) -> Operation | None:
        try:
            root = _root(operations, trial_id)
        except NotFound:
            return None
        return root if root.status.is_terminal else None

    def close(trial_id: str, root: Operation) -> None:
        outcome: dict[str, JsonValue] = {"outcome": root.error.reason if root.error else root.status.value}
        trials.bring(trial_id)
        returns = settings.trials_folder / trial_file(trial_id)
        if returns.exists():  # it ended after its backtest
            outcome["daily_returns"] = str(returns.relative_to(settings.workspace))
        ledger.close_trial(trial_id, outcome)

    def close_abandoned_trials() -> None:
        abandoned = [trial_id for trial_id in ledger.unclosed() if ended_root(trial_id) is not None]
        if not abandoned:
            return
        # With the lock held, none is set going again, and reopened, between the question and the closing.
        with operations.exclusive_lock(TRIGGER_LOCK):
            for trial_id in abandoned:
                root = ended_root(trial_id)
                if root is not None:
                    close(trial_id, root)

    return close_abandoned_trials


def _root(operations: OperationStore, operation_id: str) -> Operation:
    operation = operations.get(operation_id)
    while operation.parent_id is not None:
        operation = operations.get(operation.parent_id)
    return operation
