"""Which execution holds which operation, and what only that one may do."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import sqlalchemy as sa
from dbos._schemas.system_database import SystemSchema
from pydantic import JsonValue

from ktrdr.database.engine import Database
from ktrdr.errors import OperationFailed
from ktrdr.operations.engine_tables import (
    APPLICATION_VERSION,
    IN_FLIGHT,
    STATUS_BY_ENGINE_STATUS,
    operations_engine,
    polling_engine,
)
from ktrdr.operations.turns import next_turn, read_turns

# The reason of what can no longer be done in an operation's name. It never ends up on one: its word does not count.
TAKEN_OVER = "taken_over"
_TABLE = SystemSchema.workflow_status
_OURS_TO_RUN = (IN_FLIGHT, _TABLE.c.application_version == APPLICATION_VERSION)
_CHILD, _STEPS = _TABLE.alias("child"), SystemSchema.operation_outputs
_HAS_ENDED = _CHILD.c.status.in_([name for name, status in STATUS_BY_ENGINE_STATUS.items() if status.is_terminal])
_CHILDREN = _CHILD.c.parent_workflow_id == _TABLE.c.workflow_uuid
# A worker that is paused in the middle of a write keeps its row locked, and nobody could take the operation over.
_NO_LONG_PAUSE = sa.text("SET LOCAL idle_in_transaction_session_timeout = '3s'")
# `marks`: how many steps and ended children an operation has. Any other number than before, and it got on.
_RUN_BY = sa.select(
    _TABLE.c.workflow_uuid,
    _TABLE.c.recovery_attempts,
    _TABLE.c.attributes,
    sa.exists().where(_CHILDREN, ~_HAS_ENDED).label("waits"),
    (
        sa.select(sa.func.count()).where(_STEPS.c.workflow_uuid == _TABLE.c.workflow_uuid).scalar_subquery()
        + sa.select(sa.func.count()).where(_CHILDREN, _HAS_ENDED).scalar_subquery()
    ).label("marks"),
).where(*_OURS_TO_RUN, _TABLE.c.status == "PENDING")


class Ownership:
    """Who works on what, as the operations' own rows say. Thread-safe; holds no state.

    An execution is known by the engine's token for it (`owner`), not by its worker: one that was cancelled and resumed
    at once has lost its operation, though both run in one process.
    """

    def __init__(self, database: Database) -> None:
        self._is_sqlite = database.is_sqlite
        self._engine = operations_engine(database)
        self._polling_engine = polling_engine(database)

    def turn_of_child(self, queue: str) -> int:
        """Return whose turn it is when an operation that works puts a child into a queue."""
        return next_turn(read_turns(self._engine, queue), is_child=True)

    def running(self) -> dict[str, list[str]]:
        """Return the ids of running operations by the executor that holds them, alive or not."""
        query = sa.select(_TABLE.c.executor_id, _TABLE.c.workflow_uuid).where(
            *_OURS_TO_RUN, _TABLE.c.status == "PENDING"
        )
        found: dict[str, list[str]] = {}
        with self._polling_engine.connect() as connection:
            for executor_id, operation_id in connection.execute(query):
                found.setdefault(executor_id, []).append(operation_id)
        return found

    def running_by_queue(self, executor_id: str) -> dict[str | None, int]:
        """Return how many operations one executor runs, by the queue they came from, None for those from none."""
        query = (
            sa.select(_TABLE.c.queue_name, sa.func.count())
            .where(*_OURS_TO_RUN, _TABLE.c.status == "PENDING", _TABLE.c.executor_id == executor_id)
            .group_by(_TABLE.c.queue_name)
        )
        with self._engine.connect() as connection:
            return {queue: int(count) for queue, count in connection.execute(query)}

    def queues_with_work(self, queues: tuple[str, ...]) -> set[str]:
        """Return those of the queues in which an operation waits. Much cheaper than trying to take one."""
        with self._polling_engine.connect() as connection:
            return {*connection.execute(_which_have_work(queues)).scalars()}

    def waiting(self) -> dict[str, int]:
        """Return how many operations wait in each queue; a queue where none does is left out."""
        query = (
            sa.select(_TABLE.c.queue_name, sa.func.count())
            .where(*_OURS_TO_RUN, _TABLE.c.status == "ENQUEUED")
            .group_by(_TABLE.c.queue_name)
        )
        with self._engine.connect() as connection:
            return {queue: int(count) for queue, count in connection.execute(query)}

    def holds(self, owner: str, operation_id: str) -> bool:
        """Whether an operation runs and this execution holds it: else its work must stop and its word not count."""
        with self._polling_engine.connect() as connection:
            return _is_held(connection, owner, operation_id, lock=False)

    def settle_takeovers(self, executor_id: str, *, left_in_order: bool) -> None:
        """Set what the end of a worker costs each operation that it ran, of the few takeovers that one has.

        It costs nothing what waits for a child, and nothing at all where the worker left in order: they killed nobody.
        Whatever got on since it was last taken over begins to count anew: it recorded a step, a child of it ended, or
        the percentage of its progress is higher than ever in this step. Settled twice, a worker's end costs the same;
        settle it before its work is put back.
        """
        query = _RUN_BY.where(_TABLE.c.executor_id == executor_id).order_by(_TABLE.c.workflow_uuid)
        with self._engine.begin() as connection:
            if self._is_sqlite:
                connection.execute(sa.text("BEGIN IMMEDIATE"))
            else:
                query = query.with_for_update(of=_TABLE)
            for row in connection.execute(query).all():
                attributes = row.attributes or {}
                last = attributes.get("takeover") or {}
                if last.get("from") == executor_id:
                    continue
                percentage = (attributes.get("progress") or {}).get("percentage", 0.0)
                best = last["percentage"] if last.get("marks") == row.marks else -1.0
                # The engine counts executions, and this one already.
                counted = 0 if percentage > best else max(row.recovery_attempts - 1, 0)
                cost = 0 if left_in_order or row.waits else 1
                takeover = {"from": executor_id, "marks": row.marks, "percentage": max(percentage, best)}
                connection.execute(
                    sa.update(_TABLE)
                    .where(_TABLE.c.workflow_uuid == row.workflow_uuid)
                    .values(recovery_attempts=counted + cost, attributes={**attributes, "takeover": takeover})
                )

    @contextmanager
    def held(self, owner: str, operation_id: str) -> Iterator[None]:
        """Keep an operation this execution's own as long as the block runs: nobody takes it over or cancels it.

        The block must not write to the operation. On SQLite the row stays free, since there a worker that is paused
        keeps its lease and nobody takes its work; a cancellation then leaves the block's files whole all the same.

        Raises:
            OperationFailed: It is not this execution's, or no longer (`taken_over`).
        """
        with self._engine.connect() as connection:
            if not _is_held(connection, owner, operation_id, lock=not self._is_sqlite):
                raise OperationFailed(
                    f"{operation_id} was cancelled, or another worker has taken it over; what was made of it "
                    "here is dropped",
                    reason=TAKEN_OVER,
                )
            if self._is_sqlite:
                connection.rollback()
            yield

    def write_attributes(self, owner: str, operation_id: str, attributes: dict[str, JsonValue]) -> bool:
        """Merge top-level attributes into an operation's row if this execution holds it. Returns whether it does."""
        row = _TABLE.c.workflow_uuid == operation_id
        with self._engine.begin() as connection:
            if self._is_sqlite:
                connection.execute(sa.text("BEGIN IMMEDIATE"))  # pysqlite would begin at the update, after the reading
            else:
                connection.execute(_NO_LONG_PAUSE)
            if not _is_held(connection, owner, operation_id, lock=not self._is_sqlite):
                return False
            present = connection.execute(sa.select(_TABLE.c.attributes).where(row)).scalar_one()
            connection.execute(sa.update(_TABLE).where(row).values(attributes={**(present or {}), **attributes}))
        return True


@lru_cache
def _which_have_work(queues: tuple[str, ...]) -> sa.CompoundSelect[str]:
    # Kept, since to put a statement together takes longer than to run it.
    one = sa.exists().where(IN_FLIGHT, _TABLE.c.status == "ENQUEUED")
    return sa.union_all(
        *(sa.select(sa.literal(queue)).where(one.where(_TABLE.c.queue_name == queue)) for queue in queues)
    )


def _is_held(connection: sa.Connection, owner: str, operation_id: str, *, lock: bool) -> bool:
    query = sa.select(_TABLE.c.status, _TABLE.c.owner_xid).where(_TABLE.c.workflow_uuid == operation_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return row is not None and tuple(row) == ("PENDING", owner)
