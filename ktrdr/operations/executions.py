"""Which workers ran an operation, one after the other, kept on its row beside what it came to.

The engine remembers the last one only. An execution that another one followed has no end of its own where its worker
died: nobody was there to write it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from dbos._schemas.system_database import SystemSchema
from pydantic import JsonValue

from ktrdr.clock import epoch_ms
from ktrdr.operations.operation import Operation
from ktrdr.operations.store import OperationStore

FIRST_STEP_NAME = "start"  # of every operation: recorded before it has done anything
_EXECUTIONS = "executions"
_TABLE = SystemSchema.workflow_status


@dataclass(frozen=True, slots=True)
class Execution:
    """One worker's run of an operation (epoch ms). `ended_ms` and `reason` are set where the operation ended with it.

    That is, where it was cancelled or failed and was set going again afterwards.
    """

    executor_id: str
    began_ms: int
    ended_ms: int | None = None
    reason: str | None = None


def read_executions(store: OperationStore, operation_ids: Sequence[str]) -> dict[str, list[Execution]]:
    """Return the executions of some operations, oldest first."""
    query = sa.select(_TABLE.c.workflow_uuid, _TABLE.c.attributes).where(_TABLE.c.workflow_uuid.in_(operation_ids))
    with store.reading() as connection:
        rows = connection.execute(query).all()
    return {row[0]: [Execution(**each) for each in (row[1] or {}).get(_EXECUTIONS, [])] for row in rows}


def last_begun_at_ms(attributes: Mapping[str, Any] | None) -> int | None:
    """Return when the last execution that a row's attributes tell of began, None before the first."""
    executions = (attributes or {}).get(_EXECUTIONS)
    return int(executions[-1]["began_ms"]) if executions else None


def count_takeovers(attributes: Mapping[str, Any] | None) -> int:
    """Return how often another worker went on with an operation, by what its row's attributes tell."""
    return sum(each["reason"] is None for each in (attributes or {}).get(_EXECUTIONS, [])[:-1])


def note_execution(store: OperationStore, operation_id: str, executor_id: str, began_ms: int) -> None:
    """Note that a worker begins to run an operation. The first one's beginning is the operation's."""
    earlier = read_executions(store, [operation_id])[operation_id]
    attributes = _attributes([*earlier, Execution(executor_id, began_ms)])
    if not earlier:
        attributes["started_at"] = began_ms
    store.write_attributes(operation_id, attributes)


def close_execution(store: OperationStore, operation: Operation) -> dict[str, JsonValue]:
    """Return the attributes that say of an ended operation's last execution how it ended, before another one begins."""
    executions = read_executions(store, [operation.operation_id])[operation.operation_id]
    if not executions or operation.completed_at is None:
        return {}
    last = executions[-1]
    reason = operation.status.value if operation.error is None else operation.error.reason
    closed = Execution(last.executor_id, last.began_ms, epoch_ms(operation.completed_at), reason)
    return _attributes([*executions[:-1], closed])


def _attributes(executions: Sequence[Execution]) -> dict[str, JsonValue]:
    return {_EXECUTIONS: [asdict(each) for each in executions]}
