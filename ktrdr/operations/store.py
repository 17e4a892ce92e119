"""Create, read, list and cancel operations. The only door to them for everything but a worker."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from dbos import DBOS, DBOSClient
from dbos._schemas.system_database import SystemSchema
from pydantic import JsonValue

from ktrdr.clock import Clock, epoch_ms
from ktrdr.database.engine import Database
from ktrdr.database.lock import exclusive_lock, migration_lock
from ktrdr.database.tables import create_tables
from ktrdr.database.trouble import database_trouble
from ktrdr.errors import AmbiguousId, Conflict, InvalidInput, NotFound
from ktrdr.operations.engine_tables import (
    APPLICATION_VERSION,
    ID_SUFFIX,
    IN_FLIGHT,
    STATUS,
    STATUS_BY_ENGINE_STATUS,
    create_indexes,
    operations_engine,
    status_literal,
)
from ktrdr.operations.operation import (
    OPERATION_SUFFIX_PATTERN,
    Operation,
    OperationPage,
    OperationStatus,
    new_operation_id,
)
from ktrdr.operations.page_cursor import decode_cursor, encode_cursor
from ktrdr.operations.rows import (
    CREATED_AT_MS,
    METADATA_PREFIX,
    PAGE_KEY,
    initial_attributes,
    metadata_attributes,
    read_operation,
    select_rows,
)
from ktrdr.operations.serializer import JsonSerializer
from ktrdr.operations.turns import next_turn, read_turns

APPLICATION_NAME = "ktrdr"
# Held by whoever counts active operations and adds one, or decides by an operation's end what becomes of its traces.
TRIGGER_LOCK = "trigger"
MAX_PAGE = 200

_ACTIVE = [name for name, status in STATUS_BY_ENGINE_STATUS.items() if not status.is_terminal]
# The store has a method named `list`, which hides the type in its annotations.
Operations = list[Operation]
Rows = list[sa.RowMapping]
# How much earlier than our time the engine's may be, on SQLite.
_WHOLE_SECOND_MS = 1000
# And how much later: a row is written soon after its operation was given its time.
_LATEST_WRITE_MS = 3_600_000
MIN_FRAGMENT_CHARACTERS, MAX_CANDIDATES = 4, 10
_CANCEL_SWEEPS = 20
_LEAVES_ORPHANS = ("CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
_CANCEL_SWEEP_PAUSE_S = 0.05


def migrate_database(database: Database) -> None:
    """Bring DBOS's tables and ours up to date, however many start at once.

    For composition roots only; a client never migrates.

    Raises:
        WorkspaceUnusable: The database cannot be written, or is damaged.
    """
    try:
        with migration_lock(database):
            DBOS.migrate(database.url)
            create_tables(database)
            create_indexes(database)
    except sa.exc.SQLAlchemyError as error:
        trouble = database_trouble(error, database.engine.url)
        if trouble is None:
            raise
        raise trouble from error


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
        # from its table with a key.
        self._engine = operations_engine(database)

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
                "priority": next_turn(read_turns(self._engine, queue), is_child=False),
                "attributes": initial_attributes(now, metadata),
            },
            payload,
        )
        return self.get(operation_id)

    @property
    def engine_client(self) -> DBOSClient:
        """The engine's own client, for the modules of this package."""
        return self._client

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """Return a connection to the engine's tables, for the modules of this package."""
        return self._engine.connect()

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

    def get_many(self, operation_ids: Sequence[str]) -> dict[str, Operation]:
        """Return those of the operations that exist, by id."""
        if not operation_ids:
            return {}
        found = self._select(SystemSchema.workflow_status.c.workflow_uuid.in_(operation_ids), limit=None)
        return {operation.operation_id: operation for operation in found}

    def list(
        self,
        *,
        type: str | None = None,
        status: OperationStatus | None = None,
        parent_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
        oldest_first: bool = False,
    ) -> OperationPage:
        """Return a page of operations, newest first unless told otherwise; created from `since` on and before `until`.

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
            conditions.append(STATUS == status_literal(status))
        if parent_id is not None:
            conditions.append(table.c.parent_workflow_id == parent_id)
        if since is not None:
            # The first of the two finds the place in an index, the second is exact.
            conditions.append(table.c.created_at > epoch_ms(since) - _WHOLE_SECOND_MS)
            conditions.append(CREATED_AT_MS >= epoch_ms(since))
        if until is not None:
            conditions.append(table.c.created_at < epoch_ms(until) + _LATEST_WRITE_MS)
            conditions.append(CREATED_AT_MS < epoch_ms(until))
        if cursor is not None:
            key, place = sa.tuple_(*PAGE_KEY), sa.tuple_(*map(sa.literal, decode_cursor(cursor)))
            conditions.append(key > place if oldest_first else key < place)
        rows = select_rows(self._engine, conditions, limit=limit + 1, oldest_first=oldest_first)
        operations = [read_operation(row, self._serializer) for row in rows[:limit]]
        if len(rows) <= limit:
            return OperationPage(operations, None)
        last = rows[limit - 1]
        return OperationPage(
            operations, encode_cursor(last["created_at"], last["created_at_ms"], last["workflow_uuid"])
        )

    def resolve(self, fragment: str) -> str:
        """Return the id that is meant by a whole one, by its beginning ("op_" and more) or its last six characters.

        Raises:
            NotFound: No operation fits.
            AmbiguousId: Several do.
        """
        ids = SystemSchema.workflow_status.c.workflow_uuid
        fragment = fragment.replace("\x00", "\N{REPLACEMENT CHARACTER}")  # which PostgreSQL would not even compare
        fits = [ids == fragment]
        if len(fragment) >= MIN_FRAGMENT_CHARACTERS and fragment.startswith("op_"):
            fits.append(ids.startswith(fragment, autoescape=True))
        if OPERATION_SUFFIX_PATTERN.fullmatch(fragment):
            fits.append(ID_SUFFIX == fragment)
        for fit in fits:
            query = sa.select(ids).where(fit).order_by(ids.desc()).limit(MAX_CANDIDATES + 1)
            with self._engine.connect() as connection:
                found = connection.execute(query).scalars().all()
            if len(found) == 1:
                return str(found[0])
            if found:
                raise AmbiguousId(fragment, found[:MAX_CANDIDATES], are_all=len(found) <= MAX_CANDIDATES)
        raise NotFound(
            f"no operation {fragment!r}; `ktrdr operations list` shows those that exist",
            reason="operation_not_found",
        )

    def children(self, operation_id: str) -> Operations:
        """Return the operations that this one started, oldest first.

        Raises:
            NotFound: There is no operation of this id.
        """
        self.get(operation_id)
        found = self._select(SystemSchema.workflow_status.c.parent_workflow_id == operation_id, limit=None)
        return sorted(found, key=_age)

    def active(self, operation_type: str) -> Operations:
        """Return the operations of a type that have not ended, oldest first."""
        table = SystemSchema.workflow_status
        may_go_on = STATUS.in_([status_literal(status) for status in OperationStatus if not status.is_terminal])
        found = self._select(table.c.name == operation_type, may_go_on, limit=None)
        return sorted(found, key=_age)

    def with_metadata(self, operation_type: str, key: str, value: str, *, limit: int) -> Operations:
        """Return the operations of a type whose metadata has this text under this key, newest first."""
        table = SystemSchema.workflow_status
        attribute = table.c.attributes[METADATA_PREFIX + key].as_string()
        return self._select(table.c.name == operation_type, attribute == value, limit=limit)

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
        with self.exclusive_lock(TRIGGER_LOCK):  # not between the children and the parent of a family that is resumed
            self._cancel_all([operation_id])
        # A parent that was about to start a child when it was cancelled may still have done so.
        for _ in range(_CANCEL_SWEEPS):
            family = self.family(operation_id)
            if all(member.status.is_terminal for member in family):
                break
            self._cancel_all([member.operation_id for member in family if not member.status.is_terminal])
            time.sleep(_CANCEL_SWEEP_PAUSE_S)
        return self.get(operation_id)

    def cancel_orphans(self) -> None:
        """Cancel operations that still wait or run although their parent was cancelled, or given up."""
        child = SystemSchema.workflow_status
        parent = child.alias("parent")
        query = (
            sa.select(child.c.workflow_uuid)
            .join(parent, parent.c.workflow_uuid == child.c.parent_workflow_id)
            .where(sa.or_(IN_FLIGHT, child.c.status == "DELAYED"), parent.c.status.in_(_LEAVES_ORPHANS))
        )

        def orphans() -> Sequence[str]:
            with self._engine.connect() as connection:
                return connection.execute(query).scalars().all()

        if orphans():
            # A family that is being resumed looks the same for a moment: its children come first.
            with self.exclusive_lock(TRIGGER_LOCK):
                self._cancel_all(orphans())

    def was_lost(self, operation_id: str) -> bool:
        """Whether an operation failed because every worker that tried it died."""
        table = SystemSchema.workflow_status
        query = sa.select(table.c.status).where(table.c.workflow_uuid == operation_id)
        with self._engine.connect() as connection:
            return bool(connection.execute(query).scalar_one() == "MAX_RECOVERY_ATTEMPTS_EXCEEDED")

    def executor(self, operation_id: str) -> str | None:
        """Return the executor id that holds, or last held, an operation."""
        table = SystemSchema.workflow_status
        query = sa.select(table.c.executor_id).where(table.c.workflow_uuid == operation_id)
        with self._engine.connect() as connection:
            found: str | None = connection.execute(query).scalar_one()
        return found

    def forget(self, operation_ids: Sequence[str]) -> None:
        """Remove ended operations with their steps, inputs and outputs, in one transaction."""
        self._client.delete_workflows([*operation_ids])

    def exclusive_lock(self, name: str) -> AbstractContextManager[None]:
        """Return a context that only one holder at a time is in, over all threads, processes and machines."""
        return exclusive_lock(self._database, name)

    def has_ended(self, operation_id: str) -> bool:
        """Whether nothing more happens to an operation by itself."""
        table = SystemSchema.workflow_status
        query = sa.select(table.c.status).where(table.c.workflow_uuid == operation_id)
        with self._engine.connect() as connection:
            return STATUS_BY_ENGINE_STATUS[connection.execute(query).scalar_one()].is_terminal

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
            for member in reversed(self.family(operation_id)):  # a part does not end after its whole
                if member.status is OperationStatus.CANCELLED:
                    self.mark_once(member.operation_id, "completed_at")

    def family(self, operation_id: str) -> Operations:
        """Return an operation and everything it started, itself first."""
        family = [self.get(operation_id)]
        for member in family:  # grows while it is walked: children of children
            family.extend(self.children(member.operation_id))
        return family

    def _select(self, *conditions: sa.ColumnElement[bool], limit: int | None) -> Operations:
        rows = select_rows(self._engine, conditions, limit=limit)
        return [read_operation(row, self._serializer) for row in rows]


def _age(operation: Operation) -> tuple[datetime, str]:
    return operation.created_at, operation.operation_id
