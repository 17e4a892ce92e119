"""Close the trials whose operation ended without doing so itself: cancelled, or lost with its worker."""

from collections.abc import Callable

from pydantic import JsonValue

from ktrdr.config import Settings
from ktrdr.errors import NotFound
from ktrdr.evaluation.trial_ledger import TrialLedger
from ktrdr.jobs.files import daily_returns_path
from ktrdr.operations.operation import Operation
from ktrdr.operations.store import OperationStore


def trial_reconciler(operations: OperationStore, ledger: TrialLedger, settings: Settings) -> Callable[[], None]:
    """Return a chore that gives every abandoned trial its outcome, so that the count stays explained."""

    def close_abandoned_trials() -> None:
        for trial_id in ledger.unclosed():
            try:
                root = _root(operations, trial_id)
            except NotFound:
                continue
            if root.status.is_terminal:
                outcome: dict[str, JsonValue] = {"outcome": root.error.reason if root.error else root.status.value}
                returns = daily_returns_path(settings.state_folder, trial_id)
                if returns.exists():  # it ended after its backtest
                    outcome["daily_returns"] = str(returns.relative_to(settings.workspace))
                ledger.close_trial(trial_id, outcome)

    return close_abandoned_trials


def _root(operations: OperationStore, operation_id: str) -> Operation:
    operation = operations.get(operation_id)
    while operation.parent_id is not None:
        operation = operations.get(operation.parent_id)
    return operation
