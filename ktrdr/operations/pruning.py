"""Forget operations that ended long ago, whole families at a time."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from dbos._schemas.system_database import SystemSchema

from ktrdr.clock import epoch_ms
from ktrdr.database.engine import Database
from ktrdr.operations.engine_tables import STATUS_BY_ENGINE_STATUS, operations_engine
from ktrdr.operations.operation import OperationStatus
from ktrdr.operations.store import APPLICATION_NAME, TRIGGER_LOCK, OperationStore

BATCH = 500


@dataclass(frozen=True, slots=True)
class PrunedOperations:
    """What was, or would be, forgotten: ids, oldest first, and how many there are of each type."""

    operation_ids: list[str]
    by_type: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Member:
    operation_id: str
    type: str
    parent_id: str | None
    ended_ms: int | None  # None as long as it has not


class OperationPruner:
    """Removes operations, their steps, inputs and outputs from the engine's tables. The ledgers keep their rows.

    A family (an operation and all it started) goes as a whole or not at all: one that works, or that ended too late,
    keeps the others. The newest operation of each type that nobody started stays, so that what comes next can still
    follow on what was last.
    """

    def __init__(self, database: Database, operations: OperationStore) -> None:
        self._operations = operations
        self._engine = operations_engine(database)

    def prune(self, ended_before: datetime, *, dry_run: bool) -> PrunedOperations:
        """Forget the families whose last member ended before a time; with `dry_run` only say which these are.

        Each batch is one transaction, made while nobody can start, resume or retry an operation.
        """
        pruned: list[_Member] = []
        families = self._ended_families(ended_before)
        for batch in _batches(families):
            if not dry_run:
                batch = self._forget(batch, ended_before)
            pruned += batch
        return PrunedOperations([member.operation_id for member in pruned], Counter(member.type for member in pruned))

    def _forget(self, batch: Sequence[_Member], ended_before: datetime) -> list[_Member]:
        with self._operations.exclusive_lock(TRIGGER_LOCK):
            # Somebody may have resumed one since the families were read.
            ids = {member.operation_id for member in batch}
            still = {member.operation_id for family in self._ended_families(ended_before, ids) for member in family}
            if still:
                self._operations.forget(sorted(still))
        return [member for member in batch if member.operation_id in still]

    def _ended_families(self, ended_before: datetime, among: set[str] | None = None) -> list[list[_Member]]:
        """Return the families that may go, oldest first. `among`: whole families to look at, and no others."""
        members = self._members(among)
        children: dict[str, list[_Member]] = defaultdict(list)
        known = {member.operation_id for member in members}
        roots = []
        for member in members:
            if member.parent_id in known and member.parent_id is not None:
                children[member.parent_id].append(member)
            else:
                roots.append(member)
        newest = {root.type: root.operation_id for root in roots} if among is None else {}
        cutoff = epoch_ms(ended_before)
        families = []
        for root in roots:
            family = [root]
            for member in family:  # grows while it is walked: children of children
                family.extend(children[member.operation_id])
            is_old = all(member.ended_ms is not None and member.ended_ms < cutoff for member in family)
            if is_old and newest.get(root.type) != root.operation_id:
                families.append(family)
        return families

    def _members(self, among: set[str] | None) -> list[_Member]:
        table = SystemSchema.workflow_status
        ended = sa.func.coalesce(
            sa.cast(table.c.attributes["completed_at"].as_string(), sa.BigInteger),
            table.c.completed_at,
            table.c.updated_at,
        )
        query = (
            sa.select(table.c.workflow_uuid, table.c.name, table.c.parent_workflow_id, table.c.status, ended)
            .where(table.c.application_name == APPLICATION_NAME)
            .order_by(table.c.created_at, table.c.workflow_uuid)
        )
        if among is not None:
            query = query.where(table.c.workflow_uuid.in_(among))
        with self._engine.connect() as connection:
            return [
                _Member(operation_id, name, parent_id, ended_ms if _has_ended(status) else None)
                for operation_id, name, parent_id, status, ended_ms in connection.execute(query)
            ]


def _has_ended(engine_status: str) -> bool:
    status: OperationStatus = STATUS_BY_ENGINE_STATUS[engine_status]
    return status.is_terminal


def _batches(families: Sequence[list[_Member]]) -> Iterator[list[_Member]]:
    batch: list[_Member] = []
    for family in families:
        batch += family
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
