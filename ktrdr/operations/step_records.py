"""What operations did, read from the engine's rows: which have ended, and the steps that they took."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from dbos._schemas.system_database import SystemSchema
from pydantic import JsonValue

from ktrdr.database.engine import Database
from ktrdr.operations.engine_tables import operations_engine
from ktrdr.operations.store import APPLICATION_NAME


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One finished step of an operation. `output` is None where it failed, or gave nothing.

    `child_id` names the operation that the step started or waited for.
    """

    operation_id: str
    number: int
    name: str
    started_at_ms: int
    completed_at_ms: int
    output: JsonValue
    has_failed: bool
    child_id: str | None


@dataclass(frozen=True, slots=True)
class EndedOperation:
    """An operation that has ended. `ended_at_ms` is the engine's time, by which ended ones are looked for."""

    operation_id: str
    ended_at_ms: int


class OperationHistory:
    """Reads what happened. Writes nothing."""

    def __init__(self, database: Database) -> None:
        self._engine = operations_engine(database)

    def ended_without(self, attribute: str, *, since_ms: int, limit: int) -> list[EndedOperation]:
        """Return operations that ended at or after a time (epoch ms) and lack an attribute, the first to end first."""
        table = SystemSchema.workflow_status
        query = (
            sa.select(table.c.workflow_uuid, table.c.completed_at)
            .where(
                table.c.completed_at >= since_ms,
                table.c.application_name == APPLICATION_NAME,
                table.c.attributes[attribute].as_string().is_(None),
            )
            .order_by(table.c.completed_at)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [EndedOperation(*row) for row in connection.execute(query)]

    def steps(self, operation_ids: Sequence[str]) -> list[StepRecord]:
        """Return the finished steps of some operations, each operation's in the order in which they were begun."""
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
            .where(
                table.c.workflow_uuid.in_(operation_ids),
                table.c.started_at_epoch_ms.is_not(None),
                table.c.completed_at_epoch_ms.is_not(None),
            )
            .order_by(table.c.workflow_uuid, table.c.function_id)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return [
            StepRecord(
                operation_id=row[0],
                number=row[1],
                name=row[2],
                started_at_ms=row[3],
                completed_at_ms=row[4],
                output=json.loads(row[5]) if row[5] else None,
                has_failed=row[6] is not None,
                child_id=row[7],
            )
            for row in rows
        ]
