"""Operations as rows of the engine's table: how they are read, and what a new one holds."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from dbos._schemas.system_database import SystemSchema
from pydantic import JsonValue

from ktrdr.clock import epoch_ms, from_epoch_ms
from ktrdr.errors import OperationFailed
from ktrdr.operations.engine_tables import APPLICATION_VERSION, STATUS_BY_ENGINE_STATUS
from ktrdr.operations.operation import Operation, OperationError, OperationStatus, Progress
from ktrdr.operations.serializer import JsonSerializer

METADATA_PREFIX = "metadata."
# The engine's own time is indexed, but has whole seconds on SQLite before Python 3.12: ours decides within a second.
# Read as text first: PostgreSQL's `integer` does not hold it.
CREATED_AT_MS = sa.func.coalesce(
    sa.cast(SystemSchema.workflow_status.c.attributes["created_at"].as_string(), sa.BigInteger), 0
)
PAGE_KEY = (SystemSchema.workflow_status.c.created_at, CREATED_AT_MS, SystemSchema.workflow_status.c.workflow_uuid)


def select_rows(
    engine: sa.Engine,
    conditions: Iterable[sa.ColumnElement[bool]],
    *,
    limit: int | None,
    oldest_first: bool = False,
) -> list[sa.RowMapping]:
    """Return the rows of operations that meet all conditions; in the order of pages where there is a limit."""
    table, outputs = SystemSchema.workflow_status, SystemSchema.workflow_output
    query = (
        sa.select(
            table.c.workflow_uuid,
            table.c.status,
            table.c.name,
            table.c.parent_workflow_id,
            table.c.executor_id,
            table.c.application_version,
            table.c.created_at,
            CREATED_AT_MS.label("created_at_ms"),
            table.c.completed_at,
            table.c.attributes,
            sa.func.coalesce(outputs.c.output, table.c.output).label("output"),
            sa.func.coalesce(outputs.c.error, table.c.error).label("error"),
        )
        .select_from(table.outerjoin(outputs, outputs.c.workflow_uuid == table.c.workflow_uuid))
        .where(*conditions)
    )
    if limit is not None:  # a page; all of them are sorted by who asks, or the order would choose the index
        order = (column.asc() if oldest_first else column.desc() for column in PAGE_KEY)
        query = query.order_by(*order).limit(limit)
    with engine.connect() as connection:
        return [*connection.execute(query).mappings()]


def read_operation(row: sa.RowMapping, serializer: JsonSerializer) -> Operation:
    """Return the operation that a row of `select_rows` tells of."""
    status = STATUS_BY_ENGINE_STATUS[row["status"]]
    attributes: dict[str, Any] = row["attributes"] or {}
    if not status.is_terminal and row["application_version"] not in (None, APPLICATION_VERSION):
        attributes = {**attributes, **_stalled_attributes(row["application_version"])}
    ended_ms = attributes.get("completed_at") or row["completed_at"]
    return Operation(
        operation_id=row["workflow_uuid"],
        type=row["name"],
        status=status,
        parent_id=row["parent_workflow_id"],
        created_at=from_epoch_ms(attributes.get("created_at") or row["created_at"]),
        started_at=_optional_time(attributes.get("started_at")),
        completed_at=_optional_time(ended_ms if status.is_terminal else None),
        progress=_progress(status, attributes.get("progress"), row["executor_id"]),
        metadata={
            key.removeprefix(METADATA_PREFIX): value
            for key, value in attributes.items()
            if key.startswith(METADATA_PREFIX)
        },
        result=json.loads(row["output"]) if row["output"] and status is OperationStatus.COMPLETED else None,
        error=_error(row, serializer) if status is OperationStatus.FAILED else None,
    )


def initial_attributes(created_at: datetime, metadata: dict[str, JsonValue]) -> dict[str, Any]:
    """Return what an operation's row holds from its first moment."""
    return {"created_at": epoch_ms(created_at), **metadata_attributes(metadata)}


def metadata_attributes(metadata: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Return metadata as top-level attributes: merging is by top-level key, so two writers keep both keys."""
    return {METADATA_PREFIX + key: value for key, value in metadata.items()}


def _error(row: sa.RowMapping, serializer: JsonSerializer) -> OperationError:
    if row["status"] == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
        return OperationError(
            "worker_lost",
            "the worker died each time it tried; see its log, then start the operation again",
        )
    error = serializer.deserialize(row["error"]) if row["error"] else None
    if isinstance(error, OperationFailed):
        return OperationError(error.reason, error.message)
    return OperationError("internal_error", "the operation failed without saying why; see the worker's log")


def _stalled_attributes(version: str) -> dict[str, JsonValue]:
    """Return what is shown of an operation that no worker of this version takes up."""
    words = (
        f"begun by a ktrdr whose operations are of version {version}; this one runs version {APPLICATION_VERSION} and "
        "leaves it alone. Cancel it, or start a worker of that ktrdr"
    )
    return metadata_attributes({"stalled": words})


def _progress(status: OperationStatus, written: dict[str, Any] | None, executor_id: str | None) -> Progress:
    if status is OperationStatus.COMPLETED:
        return Progress(100.0, "done")
    # A worker that was paused, replaced and woken can still write: its word counts only while it holds the row.
    if written is None or (status is OperationStatus.RUNNING and written["executor_id"] != executor_id):
        return Progress(0.0, "waiting" if status is OperationStatus.PENDING else "starting")
    return Progress(written["percentage"], written["current_step"])


def _optional_time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else from_epoch_ms(milliseconds)
