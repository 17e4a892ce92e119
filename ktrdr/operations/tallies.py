"""Every end of an operation, told once, and what waits or runs now: what counters and gauges are made of.

An operation may end several times: what failed or was cancelled can be set going again. Its row keeps its earlier ends
(`EARLIER_ENDS`), so that a process that has just started can tell all of them too.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import sqlalchemy as sa
from dbos._schemas.system_database import SystemSchema
from pydantic import JsonValue

from ktrdr.clock import Clock, epoch_ms
from ktrdr.database.engine import Database
from ktrdr.errors import OperationFailed
from ktrdr.operations.engine_tables import (
    APPLICATION_VERSION,
    STATUS,
    STATUS_BY_ENGINE_STATUS,
    operations_engine,
    status_literal,
)
from ktrdr.operations.executions import count_takeovers
from ktrdr.operations.operation import OperationStatus
from ktrdr.operations.revival import EARLIER_ENDS
from ktrdr.operations.rows import METADATA_PREFIX
from ktrdr.operations.serializer import JsonSerializer
from ktrdr.operations.store import APPLICATION_NAME

# Ends are looked for by their time: a row may show up later than one that ended after it, and clocks are set back.
OVERLAP_MS = 600_000
_CHUNK, _MOST_IDS = 2_000, 500
_TABLE, _OUTPUTS, _STEPS = SystemSchema.workflow_status, SystemSchema.workflow_output, SystemSchema.operation_outputs
_HAS_ENDED = _TABLE.c.status.in_([name for name, status in STATUS_BY_ENGINE_STATUS.items() if status.is_terminal])
_IS_ACTIVE = STATUS.in_([status_literal(status) for status in OperationStatus if not status.is_terminal])


@dataclass(frozen=True, slots=True)
class OperationEnd:
    """One end of an operation. Times are of the epoch.

    Attributes:
        operation_id: Which one.
        type: Its type.
        parent_id: Which operation started it, None where none did.
        status: How it ended.
        reason: The slug of a failure, else None.
        is_first: It had not ended before.
        created_at_ms: When it was asked for.
        started_at_ms: When a worker first took it up, None where none did.
        ended_at_ms: When it ended.
        metadata: The keys that were asked for, as they are now.
        measures: What its jobs measured; empty but for the last end.
    """

    operation_id: str
    type: str
    parent_id: str | None
    status: OperationStatus
    reason: str | None
    is_first: bool
    created_at_ms: int
    started_at_ms: int | None
    ended_at_ms: int
    metadata: Mapping[str, JsonValue]
    measures: Sequence[Mapping[str, JsonValue]]


@dataclass(frozen=True, slots=True)
class ActiveOperation:
    """An operation that waits or runs.

    `waiting_since_ms` is None where it runs. `is_of_this_version`: a worker of this ktrdr takes it up. `attributes` are
    all that its row says of it, progress included.
    """

    operation_id: str
    type: str
    parent_id: str | None
    queue: str | None
    executor_id: str | None
    waiting_since_ms: int | None
    is_of_this_version: bool
    attributes: Mapping[str, Any]

    def metadata(self, key: str) -> JsonValue:
        """Return one value of its metadata, None where there is none."""
        value: JsonValue = self.attributes.get(METADATA_PREFIX + key)
        return value


@dataclass(frozen=True, slots=True)
class Reading:
    """What is new since the last reading, and what is active now. `takeovers`: how many more there were."""

    ends: list[OperationEnd]
    active: list[ActiveOperation]
    takeovers: int


@dataclass(frozen=True, slots=True)
class _Told:
    """How much of an operation has been told.

    `ended_at_ms` is the engine's time of its present end, None where it is active.
    """

    ends: int
    takeovers: int
    ended_at_ms: int | None
    can_end_again: bool


_UNTOLD = _Told(0, 0, None, can_end_again=True)


class EndFeed:
    """Tells each end once in the life of this object; the first reading tells all that are stored.

    A later reading costs what happened in between, by the engine's indexes, however much is stored. What is removed
    from the store stays told. Not thread-safe.

    Args:
        database: With the operations.
        clock: The time.
        metadata_keys: What of an operation's metadata its ends carry.
        measured_types: Types of operations whose steps have measures.
    """

    def __init__(
        self, database: Database, clock: Clock, *, metadata_keys: Sequence[str], measured_types: Sequence[str]
    ) -> None:
        self._engine = operations_engine(database)
        self._is_sqlite = database.is_sqlite
        self._clock = clock
        self._serializer = JsonSerializer()
        self._metadata_keys = tuple(metadata_keys)
        self._measured_types = frozenset(measured_types)
        self._told: dict[str, _Told] = {}
        self._since_ms: int | None = None

    def read(self) -> Reading:
        """Return what is new. Where it raises, nothing counts as told."""
        ends: list[OperationEnd] = []
        told: dict[str, _Told] = {}
        with self._engine.connect() as connection:
            if self._is_sqlite:
                connection.execute(sa.text("BEGIN"))
            else:
                connection.execution_options(isolation_level="REPEATABLE READ")
            active = list(connection.execute(_rows().where(_IS_ACTIVE)).mappings())
            for rows in chain([active], self._ended(connection, told)):
                new = [row for row in rows if _n_ends(row) > self._told.get(row["workflow_uuid"], _UNTOLD).ends]
                measures = self._measures(connection, new)
                told.update((row["workflow_uuid"], _now_told(row)) for row in rows)
                for row in new:
                    ends += self._new_ends(row, measures.get(row["workflow_uuid"], ()))
        known = self._told
        takeovers = sum(max(0, now.takeovers - known.get(each, _UNTOLD).takeovers) for each, now in told.items())
        self._remember(told)
        return Reading(ends, [_active(row) for row in active], takeovers)

    def _ended(self, connection: sa.Connection, told: Mapping[str, _Told]) -> Iterator[list[sa.RowMapping]]:
        """Yield the ended rows that may hold something untold. `told` grows by them while they are read."""
        query = _rows().where(_HAS_ENDED)
        if self._since_ms is None:
            yield from _chunks(connection, query)
            return
        yield from _chunks(connection, query.where(_TABLE.c.completed_at >= self._since_ms))
        # Whatever the clocks say: what was active and is not any more.
        gone = [known for known, before in self._told.items() if before.ended_at_ms is None and known not in told]
        for ids in _parts(gone):
            yield from _chunks(connection, query.where(_TABLE.c.workflow_uuid.in_(ids)))

    def _new_ends(self, row: sa.RowMapping, measures: Sequence[Mapping[str, JsonValue]]) -> Iterator[OperationEnd]:
        attributes: dict[str, Any] = row["attributes"] or {}
        metadata = {key: attributes.get(METADATA_PREFIX + key) for key in self._metadata_keys}
        earlier = _earlier(row)
        status = STATUS_BY_ENGINE_STATUS[row["status"]]
        for number in range(self._told.get(row["workflow_uuid"], _UNTOLD).ends, _n_ends(row)):
            is_present = number == len(earlier)
            past = None if is_present else earlier[number]
            yield OperationEnd(
                operation_id=row["workflow_uuid"],
                type=row["name"],
                parent_id=row["parent_workflow_id"],
                status=status if past is None else OperationStatus(past["status"]),
                reason=self._reason(row) if past is None else past["reason"],
                is_first=number == 0,
                created_at_ms=attributes.get("created_at") or row["created_at"],
                started_at_ms=attributes.get("started_at"),
                ended_at_ms=_ended_at_ms(row) if past is None else past["ended_at"],
                metadata=metadata,
                measures=measures if is_present else (),
            )

    def _reason(self, row: sa.RowMapping) -> str | None:
        if row["status"] == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
            return "worker_lost"
        if row["status"] != "ERROR":
            return None
        error = self._serializer.deserialize(row["error"]) if row["error"] else None
        return error.reason if isinstance(error, OperationFailed) else "internal_error"

    def _measures(
        self, connection: sa.Connection, rows: Iterable[sa.RowMapping]
    ) -> dict[str, list[Mapping[str, JsonValue]]]:
        """Return what the jobs of the operations measured, in the order of their steps."""
        found: dict[str, list[Mapping[str, JsonValue]]] = {}
        for ids in _parts([row["workflow_uuid"] for row in rows if row["name"] in self._measured_types]):
            query = (
                sa.select(_STEPS.c.workflow_uuid, _STEPS.c.output)
                .where(_STEPS.c.workflow_uuid.in_(ids), _STEPS.c.output.like('%"measures"%'))
                .order_by(_STEPS.c.workflow_uuid, _STEPS.c.function_id)
            )
            for operation_id, output in connection.execute(query):
                answer = json.loads(output)
                if isinstance(answer, dict) and isinstance(answer.get("measures"), dict):
                    found.setdefault(operation_id, []).append(answer["measures"])
        return found

    def _remember(self, told: Mapping[str, _Told]) -> None:
        """Keep what is still to be told apart from news: what is active, may end again, or will be looked at again."""
        for operation_id in [known for known, before in self._told.items() if before.ended_at_ms is None]:
            if operation_id not in told:  # removed from the store
                del self._told[operation_id]
        self._told.update(told)
        newest_ms = max((now.ended_at_ms for now in told.values() if now.ended_at_ms is not None), default=0)
        # By our clock too: one row from the future must not hide those that end now.
        since_ms = min(newest_ms, epoch_ms(self._clock())) - OVERLAP_MS
        if self._since_ms is not None and since_ms <= self._since_ms:
            return
        self._since_ms = since_ms
        for operation_id, now in [*self._told.items()]:
            if now.ended_at_ms is not None and now.ended_at_ms < since_ms and not now.can_end_again:
                del self._told[operation_id]


def _rows() -> sa.Select[Any]:
    return (
        sa.select(
            _TABLE.c.workflow_uuid,
            _TABLE.c.status,
            _TABLE.c.name,
            _TABLE.c.parent_workflow_id,
            _TABLE.c.queue_name,
            _TABLE.c.executor_id,
            _TABLE.c.application_version,
            _TABLE.c.created_at,
            _TABLE.c.updated_at,
            _TABLE.c.completed_at,
            _TABLE.c.attributes,
            sa.func.coalesce(_OUTPUTS.c.error, _TABLE.c.error).label("error"),
        )
        .select_from(_TABLE.outerjoin(_OUTPUTS, _OUTPUTS.c.workflow_uuid == _TABLE.c.workflow_uuid))
        .where(_TABLE.c.application_name == APPLICATION_NAME)
    )


def _chunks(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[list[sa.RowMapping]]:
    """Yield the rows a few thousand at a time: the first reading takes all that is stored."""
    with connection.execution_options(yield_per=_CHUNK).execute(query) as found:
        for part in found.mappings().partitions():
            yield list(part)


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(ids), _MOST_IDS):
        yield ids[begin : begin + _MOST_IDS]


def _earlier(row: sa.RowMapping) -> list[dict[str, Any]]:
    earlier: list[dict[str, Any]] = (row["attributes"] or {}).get(EARLIER_ENDS) or []
    return earlier


def _n_ends(row: sa.RowMapping) -> int:
    return len(_earlier(row)) + STATUS_BY_ENGINE_STATUS[row["status"]].is_terminal


def _ended_at_ms(row: sa.RowMapping) -> int:
    ended: int = (row["attributes"] or {}).get("completed_at") or row["completed_at"] or row["updated_at"]
    return ended


def _now_told(row: sa.RowMapping) -> _Told:
    has_ended = STATUS_BY_ENGINE_STATUS[row["status"]].is_terminal
    return _Told(
        ends=_n_ends(row),
        takeovers=count_takeovers(row["attributes"]),
        ended_at_ms=(row["completed_at"] or row["updated_at"]) if has_ended else None,
        can_end_again=row["status"] != "SUCCESS",
    )


def _active(row: sa.RowMapping) -> ActiveOperation:
    is_running = STATUS_BY_ENGINE_STATUS[row["status"]] is OperationStatus.RUNNING
    return ActiveOperation(
        operation_id=row["workflow_uuid"],
        type=row["name"],
        parent_id=row["parent_workflow_id"],
        queue=row["queue_name"],
        executor_id=row["executor_id"] if is_running else None,
        waiting_since_ms=None if is_running else row["updated_at"],
        is_of_this_version=row["application_version"] in (None, APPLICATION_VERSION),
        attributes=row["attributes"] or {},
    )
