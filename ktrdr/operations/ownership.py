"""Which execution holds which operation, and what only that one may do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import sqlalchemy as sa
from dbos._schemas.system_database import SystemSchema
from pydantic import JsonValue

from ktrdr.database.engine import Database
from ktrdr.database.lock import exclusive_lock
from ktrdr.errors import OperationFailed
from ktrdr.operations.engine_tables import APPLICATION_VERSION, IN_FLIGHT, operations_engine, polling_engine
from ktrdr.operations.executions import FIRST_STEP_NAME, last_begun_at_ms
from ktrdr.operations.turns import next_turn, read_turns

# The reason of what can no longer be done in an operation's name. It never ends up on one: its word does not count.
TAKEN_OVER = "taken_over"
_TAKEOVER_LOCK = "takeover"
_TABLE = SystemSchema.workflow_status
_OURS_TO_RUN = (IN_FLIGHT, _TABLE.c.application_version == APPLICATION_VERSION)


class Ownership:
    """Who works on what, as the operations' own rows say. Thread-safe; holds no state.

    An execution is known by the engine's token for it (`owner`), not by its worker: one that was cancelled and resumed
    at once has lost its operation, though both run in one process.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
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

    def forgive(self, executor_id: str) -> None:
        """Take what an executor runs off the count of takeovers: its worker leaves in order and dies of nothing."""
        self._forgive(sa.true(), executor_id)

    def _forgive(self, which: sa.ColumnElement[bool], executor_id: str) -> None:
        charged = (_TABLE.c.executor_id == executor_id, _TABLE.c.recovery_attempts > 0)
        with self._engine.begin() as connection:
            connection.execute(
                sa.update(_TABLE)
                .where(*_OURS_TO_RUN, _TABLE.c.status == "PENDING", which, *charged)
                .values(recovery_attempts=_TABLE.c.recovery_attempts - 1)
            )

    def requeue(self, operation_id: str, executor_id: str, put_back: Callable[[], object]) -> None:
        """Put an operation of an executor that is gone back into its queue, where nobody else has done so.

        It counts as a takeover unless the operation has nothing to do with its worker's death: it waits for a child, or
        it has recorded a step since it began there. So what ends after so many takeovers is what kills its worker at
        the same place each time.
        """
        with exclusive_lock(self._database, _TAKEOVER_LOCK):
            if self._is_blameless(operation_id):
                self._forgive(_TABLE.c.workflow_uuid == operation_id, executor_id)
            put_back()

    def _is_blameless(self, operation_id: str) -> bool:
        child, steps = _TABLE.alias("child"), SystemSchema.operation_outputs
        waits = sa.select(child.c.workflow_uuid).where(
            child.c.parent_workflow_id == operation_id, child.c.status.in_(["ENQUEUED", "PENDING", "DELAYED"])
        )
        last_step = sa.select(sa.func.max(steps.c.completed_at_epoch_ms)).where(
            steps.c.workflow_uuid == operation_id, steps.c.function_name != FIRST_STEP_NAME
        )
        attributes = sa.select(_TABLE.c.attributes).where(_TABLE.c.workflow_uuid == operation_id)
        with self._engine.connect() as connection:
            if connection.execute(waits.limit(1)).first() is not None:
                return True
            recorded_at_ms = connection.execute(last_step).scalar_one()
            began_at_ms = last_begun_at_ms(connection.execute(attributes).scalar_one())
        return recorded_at_ms is not None and began_at_ms is not None and recorded_at_ms >= began_at_ms

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
