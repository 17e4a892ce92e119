"""What operations did, read from the engine's rows: which have ended, and the steps that they remember."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from dbos._schemas.system_database import SystemSchema
from pydantic import JsonValue

from ktrdr.errors import OperationFailed
from ktrdr.operations.serializer import JsonSerializer
from ktrdr.operations.store import APPLICATION_NAME, OperationStore


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step that an operation remembers.

    Attributes:
        started_at_ms: Epoch, as `completed_at_ms`; both None where the engine took down no times.
        output: None where it failed, or gave nothing.
        failure: The reason for which it failed, None where it did not.
        child_id: The operation that the step started or waited for.
    """

    operation_id: str
    number: int
    name: str
    started_at_ms: int | None
    completed_at_ms: int | None
    output: JsonValue
    failure: str | None
    child_id: str | None


def read_steps(store: OperationStore, operation_ids: Sequence[str]) -> list[StepRecord]:
    """Return the steps of some operations, each operation's in the order in which they were begun."""
    table = SystemSchema.operation_outputs
    query = (
        sa.select(
            table.c.workflow_uuid,
            table.c.function_id,
            table.c.function_name,
            table.c.started_at_epoch_ms,
            table.c.completed_at_epoch_ms,
            table.c.output,
            table.c.error,
            table.c.child_workflow_id,
        )
        .where(table.c.workflow_uuid.in_(operation_ids))
        .order_by(table.c.workflow_uuid, table.c.function_id)
    )
    with store.reading() as connection:
        rows = connection.execute(query).all()
    return [
        StepRecord(
            operation_id=row[0],
            number=row[1],
            name=row[2],
            started_at_ms=row[3],
            completed_at_ms=row[4],
            output=json.loads(row[5]) if row[5] else None,
            failure=None if row[6] is None else _failure(row[6]),
            child_id=row[7],
        )
        for row in rows
    ]


def ended_without(store: OperationStore, attribute: str, *, since_ms: int, limit: int) -> list[str]:
    """Return operations that ended at or after a time of the engine and lack an attribute, the first to end first."""
    table = SystemSchema.workflow_status
    query = (
        sa.select(table.c.workflow_uuid)
        .where(
            table.c.completed_at >= since_ms,
            table.c.application_name == APPLICATION_NAME,
            table.c.attributes[attribute].as_string().is_(None),
        )
        .order_by(table.c.completed_at)
        .limit(limit)
    )
    with store.reading() as connection:
        return [*connection.execute(query).scalars()]


def _failure(stored: str) -> str:
    error = JsonSerializer().deserialize(stored)
    return error.reason if isinstance(error, OperationFailed) else "internal_error"
