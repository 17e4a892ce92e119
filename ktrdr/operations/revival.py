"""Put operations that have ended back into their queues, without repeating what they have finished.

The engine has two ways. *Resume* sets a cancelled operation going again with everything that it remembers. *Rewind* is
for one that failed: it forgets from a step on, since what it remembers last is its failure. Both forget when it ended.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from dbos._schemas.system_database import SystemSchema
from pydantic import JsonValue

from ktrdr.operations.engine_tables import APPLICATION_VERSION
from ktrdr.operations.executions import close_execution
from ktrdr.operations.operation import Operation, OperationStatus
from ktrdr.operations.step_records import StepRecord, read_steps
from ktrdr.operations.store import OperationStore

FIRST_STEP = 1
# What a row keeps of the ends before its present life: how, why and when it ended.
EARLIER_ENDS = "earlier_ends"


# Which step a failed operation without children begins again with, by what it remembers.
RestartRule = Callable[[Operation, Sequence[StepRecord]], int]


@dataclass(frozen=True, slots=True)
class RevivedOperation:
    """One operation of a plan. `first_step` is None where nothing is forgotten."""

    operation: Operation
    queue: str
    first_step: int | None


@dataclass(frozen=True, slots=True)
class RevivalPlan:
    """What reviving an operation takes: those that it started first, itself last."""

    members: list[RevivedOperation]
    kept_steps: list[StepRecord]

    def keeps(self, step_name: str) -> bool:
        """Whether the operation itself remembers a step of this name, and will not run it again."""
        return any(step.name == step_name and step.failure is None for step in self.kept_steps)


class Reviver:
    """Plans and carries out revivals.

    Args:
        store: The operations.
        queues: Where an operation of each type waits to be taken up. A type that is not here cannot be revived.
        restart: Which step a failed operation begins again with, unless one that it started decides that.
    """

    def __init__(self, store: OperationStore, queues: Mapping[str, str], restart: RestartRule) -> None:
        self._store = store
        self._queues = queues
        self._restart = restart

    def can_revive(self, operation: Operation) -> bool:
        """Whether operations of this type can be revived at all."""
        return operation.type in self._queues

    def is_of_this_version(self, operation_id: str) -> bool:
        """Whether the operation's steps come in the order in which this version takes them."""
        table = SystemSchema.workflow_status
        query = sa.select(table.c.application_version).where(table.c.workflow_uuid == operation_id)
        with self._store.reading() as connection:
            return bool(connection.execute(query).scalar_one() == APPLICATION_VERSION)

    def plan(self, root: Operation) -> RevivalPlan:
        """Return what reviving an ended operation takes.

        A cancelled one takes along what was cancelled with it; a failed one also what it failed with.
        """
        wanted = {OperationStatus.CANCELLED}
        if root.status is OperationStatus.FAILED:
            wanted.add(OperationStatus.FAILED)
        members: list[RevivedOperation] = []
        first_step = self._collect(root, wanted, members)
        kept = [
            step
            for step in read_steps(self._store, [root.operation_id])
            if first_step is None or step.number < first_step
        ]
        return RevivalPlan(members, kept)

    def carry_out(self, plan: RevivalPlan) -> Operation:
        """Requeue everything of a plan and return the operation that it was made for. Hold the trigger's lock."""
        for member in plan.members:
            operation_id = member.operation.operation_id
            again: dict[str, JsonValue] = {
                EARLIER_ENDS: self._ends(member.operation),
                "completed_at": None,
                "progress": None,
                "traced_at": None,
            }
            self._store.write_attributes(operation_id, {**again, **close_execution(self._store, member.operation)})
            if member.first_step is None:
                self._store.engine_client.resume_workflow(operation_id, queue_name=member.queue)
            else:
                self._store.engine_client.rewind_workflow(
                    operation_id, start_step=member.first_step, queue_name=member.queue
                )
        return self._store.get(plan.members[-1].operation.operation_id)

    def _ends(self, operation: Operation) -> list[JsonValue]:
        """Return all ends of an operation so far, its present one last."""
        table = SystemSchema.workflow_status
        query = sa.select(table.c.attributes, table.c.completed_at).where(
            table.c.workflow_uuid == operation.operation_id
        )
        with self._store.reading() as connection:
            attributes, ended_at_ms = connection.execute(query).one()
        earlier: list[JsonValue] = (attributes or {}).get(EARLIER_ENDS) or []
        end: JsonValue = {
            "status": operation.status.value,
            "reason": operation.error.reason if operation.error else None,
            "ended_at": ended_at_ms,
        }
        return earlier if end in earlier else [*earlier, end]  # noted, and then the process died before it went on

    def _collect(
        self, operation: Operation, wanted: set[OperationStatus], members: list[RevivedOperation]
    ) -> int | None:
        """Add an operation to the members, what it started before itself; return the step it forgets from."""
        revived = []
        for child in self._store.children(operation.operation_id):
            if child.status in wanted:
                self._collect(child, wanted, members)
                revived.append(child.operation_id)
        first_step = self._first_step(operation, revived)
        members.append(RevivedOperation(operation, self._queues[operation.type], first_step))
        return first_step

    def _first_step(self, operation: Operation, revived: Sequence[str]) -> int | None:
        # One whose workers all died has no failure to forget: the engine resumes it as it does a cancelled one.
        if operation.status is OperationStatus.CANCELLED or self._store.was_lost(operation.operation_id):
            return None
        steps = read_steps(self._store, [operation.operation_id])
        starts = [step.number for step in steps if step.child_id in revived]
        if starts:
            return min(starts) + 1  # the step that started it is kept; what came of it is not
        return self._restart(operation, steps)


def first_failed_step(steps: Sequence[StepRecord]) -> int:
    """Return the number of the first step that failed; of the one after the last where none did."""
    failed = [step.number for step in steps if step.failure is not None]
    last = max((step.number for step in steps), default=0)
    return min(failed, default=last + 1)
