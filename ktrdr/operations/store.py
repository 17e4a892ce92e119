"""Create, read, list and cancel operations. The only door to them for everything but a worker."""

import base64
import json
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from dbos import DBOS, DBOSClient
from dbos._schemas.system_database import SystemSchema
from pydantic import JsonValue

from ktrdr.clock import Clock, epoch_ms, from_epoch_ms
from ktrdr.database.engine import Database
from ktrdr.database.lock import exclusive_lock
from ktrdr.database.tables import create_tables
from ktrdr.errors import Conflict, InvalidInput, NotFound, OperationFailed
from ktrdr.operations.operation import (
    OPERATION_ID_PATTERN,
    Operation,
    OperationError,
    OperationPage,
    OperationStatus,
    Progress,
    new_operation_id,
)
from ktrdr.operations.serializer import JsonSerializer

APPLICATION_NAME = "ktrdr"
# Raised only when the order of a workflow's steps changes: running operations of another version are not taken up.
APPLICATION_VERSION = "1"
MAX_PAGE = 200
METADATA_PREFIX = "metadata."

_STATUS = {
    "ENQUEUED": OperationStatus.PENDING,
    "DELAYED": OperationStatus.PENDING,
    "PENDING": OperationStatus.RUNNING,
    "SUCCESS": OperationStatus.COMPLETED,
    "ERROR": OperationStatus.FAILED,
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": OperationStatus.FAILED,
    "CANCELLED": OperationStatus.CANCELLED,
}
_ACTIVE = [name for name, status in _STATUS.items() if not status.is_terminal]
# The store has a method named `list`, which hides the type in its annotations.
Operations = list[Operation]
Rows = list[sa.RowMapping]
# The engine's own time is indexed, but has whole seconds on SQLite before Python 3.12: ours decides within a second.
_CREATED_AT_MS = sa.func.coalesce(SystemSchema.workflow_status.c.attributes["created_at"].as_integer(), 0)
_PAGE_KEY = (SystemSchema.workflow_status.c.created_at, _CREATED_AT_MS, SystemSchema.workflow_status.c.workflow_uuid)
_CANCEL_SWEEPS = 20
_CANCEL_SWEEP_PAUSE_S = 0.05


def migrate_database(database: Database) -> None:
    """Bring DBOS's tables and ours up to date. For composition roots only; a client never migrates."""
    DBOS.migrate(database.url)
    create_tables(database)


class OperationStore:
    """Operations as rows of DBOS's tables. Thread-safe; holds no state of its own."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._serializer = JsonSerializer()
        self._client = DBOSClient(
            system_database_engine=database.engine,
            serializer=self._serializer,
            application_name=APPLICATION_NAME,
            lazy=True,
            retry_connection_errors=False,
        )
        # DBOS's own paging is by offset, which repeats and skips rows while new ones arrive: pages are read
        # from its table with a key. Its schema lives in a schema of that name on PostgreSQL only.
        schema = None if database.is_sqlite else "dbos"
        self._engine = database.engine.execution_options(
            schema_translate_map={SystemSchema.metadata_obj.schema: schema}
        )

    def enqueue(
        self,
        operation_type: str,
        *,
        queue: str,
        payload: dict[str, JsonValue],
        metadata: dict[str, JsonValue],
        operation_id: str | None = None,
    ) -> Operation:
        """Put a new operation in a queue and return it. `operation_id`: one that `new_id` drew for it before."""
        now = self._clock()
        operation_id = operation_id or new_operation_id(operation_type, now)
        self._client.enqueue(
            {
                "workflow_name": operation_type,
                "queue_name": queue,
                "workflow_id": operation_id,
                "app_version": APPLICATION_VERSION,
                "attributes": initial_attributes(now, metadata),
            },
            payload,
        )
        return self.get(operation_id)

    def new_id(self, operation_type: str) -> str:
        """Return an id for an operation that is yet to be enqueued, for what must be written down before it is."""
        return new_operation_id(operation_type, self._clock())

    def get(self, operation_id: str) -> Operation:
        """Return one operation.

        Raises:
            NotFound: There is none of this id.
        """
        table = SystemSchema.workflow_status
        rows = self._select(table.c.workflow_uuid == operation_id, limit=1)
        if not rows:
            raise NotFound(
                f"no operation {operation_id!r}; `ktrdr operations list` shows those that exist",
                reason="operation_not_found",
            )
        return rows[0]

    def list(
        self,
        *,
        type: str | None = None,
        status: OperationStatus | None = None,
        parent_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> OperationPage:
        """Return a page of operations, newest first.

        Raises:
            InvalidInput: `limit` is not 1..200, or `cursor` is none that a page gave.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidInput(f"limit: need 1..{MAX_PAGE}, was {limit}")
        table = SystemSchema.workflow_status
        conditions: list[sa.ColumnElement[bool]] = [table.c.application_name == APPLICATION_NAME]
        if type is not None:
            conditions.append(table.c.name == type)
        if status is not None:
            names = [name for name, meaning in _STATUS.items() if meaning is status]
            conditions.append(table.c.status.in_(names))
        if parent_id is not None:
            conditions.append(table.c.parent_workflow_id == parent_id)
        if cursor is not None:
            conditions.append(sa.tuple_(*_PAGE_KEY) < sa.tuple_(*map(sa.literal, _decode_cursor(cursor))))
        rows = self._select_rows(conditions, limit=limit + 1)
        operations = [self._operation(row) for row in rows[:limit]]
        if len(rows) <= limit:
            return OperationPage(operations, None)
        last = rows[limit - 1]
        return OperationPage(
            operations, _encode_cursor(last["created_at"], last["created_at_ms"], last["workflow_uuid"])
        )

    def children(self, operation_id: str) -> Operations:
        """Return the operations that this one started, oldest first.

        Raises:
            NotFound: There is no operation of this id.
        """
        self.get(operation_id)
        found = self._select(SystemSchema.workflow_status.c.parent_workflow_id == operation_id, limit=None)
        return sorted(found, key=lambda child: child.created_at)

    def active(self, operation_type: str) -> Operations:
        """Return the operations of a type that have not ended, oldest first."""
        table = SystemSchema.workflow_status
        found = self._select(table.c.name == operation_type, table.c.status.in_(_ACTIVE), limit=None)
        return sorted(found, key=lambda operation: operation.created_at)

    def count(self, operation_type: str) -> int:
        """Return how many operations of a type were ever created here."""
        table = SystemSchema.workflow_status
        query = sa.select(sa.func.count()).select_from(table).where(table.c.name == operation_type)
        with self._engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def cancel(self, operation_id: str) -> Operation:
        """Cancel an operation and everything it started. Cancelling twice is fine.

        Raises:
            NotFound: There is none of this id.
            Conflict: It has already completed or failed.
        """
        operation = self.get(operation_id)
        if operation.status in (OperationStatus.COMPLETED, OperationStatus.FAILED):
            raise Conflict(
                f"{operation_id} has already {operation.status.value}; only a pending or running operation "
                "can be cancelled",
                reason="operation_ended",
                operation_id=operation_id,
            )
        self._cancel_all([operation_id])
        # A parent that was about to start a child when it was cancelled may still have done so.
        for _ in range(_CANCEL_SWEEPS):
            family = self._family(operation_id)
            if all(member.status.is_terminal for member in family):
                break
            self._cancel_all([member.operation_id for member in family if not member.status.is_terminal])
            time.sleep(_CANCEL_SWEEP_PAUSE_S)
        return self.get(operation_id)

    def cancel_orphans(self) -> None:
        """Cancel operations that still wait or run although their parent was cancelled."""
        child = SystemSchema.workflow_status
        parent = child.alias("parent")
        query = (
            sa.select(child.c.workflow_uuid)
            .join(parent, parent.c.workflow_uuid == child.c.parent_workflow_id)
            .where(child.c.status.in_(_ACTIVE), parent.c.status == "CANCELLED")
        )
        with self._engine.connect() as connection:
            orphans = connection.execute(query).scalars().all()
        if orphans:
            self._cancel_all(orphans)

    def running_executors(self) -> set[str]:
        """Return the executor ids that hold running operations, alive or not."""
        table = SystemSchema.workflow_status
        query = sa.select(table.c.executor_id).distinct().where(table.c.status == "PENDING")
        with self._engine.connect() as connection:
            return {name for name in connection.execute(query).scalars() if name}

    def exclusive_lock(self, name: str) -> AbstractContextManager[None]:
        """Return a context that only one holder at a time is in, over all threads, processes and machines."""
        return exclusive_lock(self._database, name)

    def is_owned_by(self, operation_id: str, executor_id: str) -> bool:
        """Whether an operation runs and this executor holds it: else its work must stop and its word not count."""
        table = SystemSchema.workflow_status
        query = sa.select(table.c.status, table.c.executor_id).where(table.c.workflow_uuid == operation_id)
        with self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return row is not None and tuple(row) == ("PENDING", executor_id)

    def write_attributes(self, operation_id: str, attributes: dict[str, JsonValue]) -> None:
        """Merge top-level attributes into an operation's row."""
        self._client.update_workflow_attributes(operation_id, cast(dict[str, Any], attributes), merge=True)

    def write_metadata(self, operation_id: str, metadata: dict[str, JsonValue]) -> None:
        """Set some keys of an operation's metadata and leave the others."""
        self.write_attributes(operation_id, metadata_attributes(metadata))

    def mark(self, operation_id: str, attribute: str) -> None:
        """Write the present time to an attribute."""
        self.write_attributes(operation_id, {attribute: epoch_ms(self._clock())})

    def mark_once(self, operation_id: str, attribute: str) -> None:
        """Write the present time to an attribute unless it has one already."""
        table = SystemSchema.workflow_status
        query = sa.select(table.c.attributes).where(table.c.workflow_uuid == operation_id)
        with self._engine.connect() as connection:
            present = connection.execute(query).scalar_one()
        if not present or present.get(attribute) is None:
            self.mark(operation_id, attribute)

    def _cancel_all(self, operation_ids: Sequence[str]) -> None:
        active = [self.get(operation_id) for operation_id in operation_ids]
        ids = [operation.operation_id for operation in active if not operation.status.is_terminal]
        self._client.cancel_workflows(ids, cancel_children=True)
        for operation_id in operation_ids:
            for member in reversed(self._family(operation_id)):  # a part does not end after its whole
                if member.status is OperationStatus.CANCELLED:
                    self.mark_once(member.operation_id, "completed_at")

    def _family(self, operation_id: str) -> Operations:
        family = [self.get(operation_id)]
        for member in family:  # grows while it is walked: children of children
            family.extend(self.children(member.operation_id))
        return family

    def _select(self, *conditions: sa.ColumnElement[bool], limit: int | None) -> Operations:
        return [self._operation(row) for row in self._select_rows(conditions, limit=limit)]

    def _select_rows(self, conditions: Iterable[sa.ColumnElement[bool]], *, limit: int | None) -> Rows:
        table, outputs = SystemSchema.workflow_status, SystemSchema.workflow_output
        query = (
            sa.select(
                table.c.workflow_uuid,
                table.c.status,
                table.c.name,
                table.c.parent_workflow_id,
                table.c.executor_id,
                table.c.created_at,
                _CREATED_AT_MS.label("created_at_ms"),
                table.c.completed_at,
                table.c.attributes,
                sa.func.coalesce(outputs.c.output, table.c.output).label("output"),
                sa.func.coalesce(outputs.c.error, table.c.error).label("error"),
            )
            .select_from(table.outerjoin(outputs, outputs.c.workflow_uuid == table.c.workflow_uuid))
            .where(*conditions)
            .order_by(*(column.desc() for column in _PAGE_KEY))
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [*connection.execute(query).mappings()]

    def _operation(self, row: sa.RowMapping) -> Operation:
        status = _STATUS[row["status"]]
        attributes: dict[str, Any] = row["attributes"] or {}
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
            error=self._error(row) if status is OperationStatus.FAILED else None,
        )

    def _error(self, row: sa.RowMapping) -> OperationError:
        if row["status"] == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
            return OperationError(
                "worker_lost",
                "the worker died each time it tried; see its log, then start the operation again",
            )
        error = self._serializer.deserialize(row["error"]) if row["error"] else None
        if isinstance(error, OperationFailed):
            return OperationError(error.reason, error.message)
        return OperationError("internal_error", "the operation failed without saying why; see the worker's log")


def initial_attributes(created_at: datetime, metadata: dict[str, JsonValue]) -> dict[str, Any]:
    """Return what an operation's row holds from its first moment."""
    return {"created_at": epoch_ms(created_at), **metadata_attributes(metadata)}


def metadata_attributes(metadata: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Return metadata as top-level attributes: merging is by top-level key, so two writers keep both keys."""
    return {METADATA_PREFIX + key: value for key, value in metadata.items()}


def _progress(status: OperationStatus, written: dict[str, Any] | None, executor_id: str | None) -> Progress:
    if status is OperationStatus.COMPLETED:
        return Progress(100.0, "done")
    # A worker that was paused, replaced and woken can still write: its word counts only while it holds the row.
    if written is None or (status is OperationStatus.RUNNING and written["executor_id"] != executor_id):
        return Progress(0.0, "waiting" if status is OperationStatus.PENDING else "starting")
    return Progress(written["percentage"], written["current_step"])


def _optional_time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else from_epoch_ms(milliseconds)


def _encode_cursor(created_at: int, created_at_ms: int, operation_id: str) -> str:
    return base64.urlsafe_b64encode(f"{created_at}:{created_at_ms}:{operation_id}".encode()).decode()


def _decode_cursor(cursor: str) -> tuple[int, int, str]:
    try:
        created_at, created_at_ms, operation_id = base64.urlsafe_b64decode(cursor.encode()).decode().split(":")
        if not OPERATION_ID_PATTERN.fullmatch(operation_id):
            raise ValueError(operation_id)
        return int(created_at), int(created_at_ms), operation_id
    except ValueError:
        raise InvalidInput(
            f"cursor: need the next_cursor of an earlier page, was {cursor!r}", reason="bad_cursor"
        ) from None
