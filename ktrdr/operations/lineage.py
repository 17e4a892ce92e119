"""Which operation another one goes back to, and how both are named in logs and traces."""

from ktrdr.operations.operation import Operation
from ktrdr.operations.store import OperationStore
from ktrdr.telemetry.logs import LogSubject
from ktrdr.telemetry.spans import trace_id_of


def root_id(store: OperationStore, operation: Operation) -> str:
    """Return the operation that nothing else started and that this one goes back to; itself, if nothing started it."""
    while operation.parent_id is not None:
        operation = store.get(operation.parent_id)
    return operation.operation_id


def log_subject(store: OperationStore, operation: Operation) -> LogSubject:
    """Return what every log line about an operation says of it."""
    is_phase = operation.parent_id is not None
    return LogSubject(
        operation_id=operation.operation_id,
        trace_id=trace_id_of(root_id(store, operation)),
        parent_id=operation.parent_id,
        phase=operation.type if is_phase else None,
    )
