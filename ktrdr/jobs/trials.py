"""Close the trials whose operation ended without doing so itself: cancelled, or lost with its worker."""

from collections.abc import Callable

from ktrdr.errors import NotFound
from ktrdr.evaluation.trial_ledger import TrialLedger
from ktrdr.operations.operation import Operation
from ktrdr.operations.store import OperationStore


def trial_reconciler(operations: OperationStore, ledger: TrialLedger) -> Callable[[], None]:
    """Return a chore that gives every abandoned trial its outcome, so that the count stays explained."""

    def close_abandoned_trials() -> None:
        for trial_id in ledger.unclosed():
            try:
                root = _root(operations, trial_id)
            except NotFound:
                continue
            if root.status.is_terminal:
                ledger.close_trial(trial_id, {"outcome": root.error.reason if root.error else root.status.value})

    return close_abandoned_trials


def _root(operations: OperationStore, operation_id: str) -> Operation:
    operation = operations.get(operation_id)
    while operation.parent_id is not None:
        operation = operations.get(operation.parent_id)
    return operation
