"""What the body of an operation may do: durable steps, children, a job process, words about itself."""

import asyncio
import math
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from dbos import DBOS, SetWorkflowAttributes, SetWorkflowID
from dbos import error as dbos_errors
from dbos._error import DBOSWorkflowConflictIDError
from pydantic import JsonValue

from ktrdr.artifacts.attempt import discard_attempt, fresh_attempt
from ktrdr.clock import Clock, epoch_ms, from_epoch_ms
from ktrdr.database.patience import is_connection_lost, patiently
from ktrdr.errors import ArtifactsUnavailable, KtrdrError, OperationFailed
from ktrdr.operations.engine_tables import APPLICATION_VERSION
from ktrdr.operations.history import attempt_record, note_attempt
from ktrdr.operations.job_process import run_job
from ktrdr.operations.leases import WorkerLeases, live_workers
from ktrdr.operations.operation import OperationStatus, new_operation_id
from ktrdr.operations.ownership import TAKEN_OVER, Ownership
from ktrdr.operations.rows import initial_attributes, metadata_attributes
from ktrdr.operations.serializer import error_reason
from ktrdr.operations.store import APPLICATION_NAME, OperationStore

CHILD_POLL_S = 0.2
OWNERSHIP_POLL_S = 0.2
BACKOFF_GROWTH = 4

Payload = dict[str, JsonValue]
T = TypeVar("T")
Workflow = Callable[[Payload], Coroutine[Any, Any, JsonValue]]


@dataclass(frozen=True, slots=True)
class WorkerServices:
    """What every operation of one worker shares."""

    store: OperationStore
    clock: Clock
    ownership: Ownership
    leases: WorkerLeases
    executor_id: str
    job_environment: Mapping[str, str]
    workflows: dict[str, Workflow]


@dataclass(frozen=True, slots=True)
class Repetition:
    """When something that failed is tried again: for these reasons, so often, each time after a longer pause."""

    reasons: frozenset[str]
    times: int
    backoff_s: float

    def pause_s(self, number: int) -> float:
        """Return how long to wait before the repetition of this number, from 0."""
        return self.backoff_s * float(BACKOFF_GROWTH**number)


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """What a job answered, the folder that it filled, and what was said when that was kept."""

    result: JsonValue
    attempt: Path
    kept: JsonValue


class Work:
    """One execution of an operation's body.

    After a crash the body runs again from its first line; finished steps and children answer from memory. Between
    steps it must therefore be a pure function of its payload and of what the steps returned.

    Args:
        operation_id: Which operation.
        owner: The engine's token of this execution. Whoever takes the operation over, or resumes it, gets another one.
        services: What the worker offers.
    """

    def __init__(self, operation_id: str, owner: str, services: WorkerServices) -> None:
        self.operation_id = operation_id
        self._owner = owner
        self._services = services
        self._store = services.store

    async def step(self, name: str, function: Callable[[], T]) -> T:
        """Run a blocking function once, in a thread, and remember its JSON result.

        It may be called again where it was cut off, by a crash or by a database that went away.
        """

        async def run() -> T:
            try:
                return await patiently(function)
            except OperationFailed as error:
                raise self._in_the_engines_words(error) from error
            except ArtifactsUnavailable as error:
                raise OperationFailed(error.message, reason=error.reason) from error

        return await DBOS.run_step_async({"name": name}, run)

    def held(self) -> AbstractContextManager[None]:
        """Return a context in which this operation stays this execution's; nothing in it may write to the operation.

        What becomes visible to others is put in place inside: an execution that was paused, given up and woken finds
        the operation taken over (OperationFailed, `taken_over`) instead of overwriting what its successor made.
        """
        return self._services.ownership.held(self._owner, self.operation_id)

    async def publish(self, name: str, function: Callable[[], T]) -> T:
        """As `step`, for a function that puts this operation's files into place: it runs only while `held`."""

        def put_in_place() -> T:
            with self.held():
                return function()

        return await self.step(name, put_in_place)

    async def owned_step(self, name: str, coroutine: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine once and remember its JSON result; it is cancelled soon after its operation ended.

        The engine looks for a cancellation once a second only, and neither whether another worker took the work over
        nor whether it was cancelled and resumed in between.
        """

        async def run() -> T:
            task = asyncio.ensure_future(coroutine())
            try:
                while not (await asyncio.wait({task}, timeout=OWNERSHIP_POLL_S))[0]:
                    await self._stop_unless_ours()
                return task.result()
            except OperationFailed as error:
                raise self._in_the_engines_words(error) from error
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        return await DBOS.run_step_async({"name": name, "preemptible": True}, run)

    async def _stop_unless_ours(self) -> None:
        try:
            ours = await asyncio.to_thread(self._services.ownership.holds, self._owner, self.operation_id)
        except sa.exc.SQLAlchemyError as error:
            if not is_connection_lost(error):
                raise
            return  # nobody can have taken it; if we alone are cut off, what we make is never published
        if not ours:
            raise DBOSWorkflowConflictIDError(self.operation_id)

    def _in_the_engines_words(self, error: OperationFailed) -> BaseException:
        """Return a failure as it is, or as the engine ends an execution that has lost its operation: unrecorded."""
        return DBOSWorkflowConflictIDError(self.operation_id) if error.reason == TAKEN_OVER else error

    async def annotate(self, metadata: Payload) -> None:
        """Set keys of this operation's metadata, once."""
        await self.step("annotate", lambda: self._write_attributes(metadata_attributes(metadata)))

    def _write_attributes(self, attributes: Payload) -> None:
        self._services.ownership.write_attributes(self._owner, self.operation_id, attributes)

    async def report(self, percentage: float, current_step: str) -> None:
        """Write progress. Call it from inside a step, at most twice a second."""
        progress: JsonValue = {
            "percentage": percentage,
            "current_step": current_step,
            "executor_id": self._services.executor_id,
        }
        try:
            await asyncio.to_thread(self._write_attributes, {"progress": progress})
        except sa.exc.SQLAlchemyError as error:
            if not is_connection_lost(error):
                raise
            # Progress is no reason to wait: the next report says more.

    async def run_job(
        self, module: str, request: Payload, *, attempts: Path, keep: Callable[[Path], JsonValue] | None = None
    ) -> JobOutcome:
        """Run a job process as a step that ends with the operation. Its progress becomes the operation's.

        The job finds an empty folder below `attempts`, whose path is added to its request; the folder stays only if
        the job succeeds. No two runs have the same one: one that lost its operation may still be writing. `keep` then
        sees to it that another machine, which has no such folder, can go on from there. The step's output has `result`,
        `attempt` (the folder's name), `kept`, and `timings` and `measures` as a `JobAnswer` has them.
        """

        async def run() -> JsonValue:
            for abandoned in attempts.glob(f"{self.operation_id}_*"):
                await asyncio.to_thread(discard_attempt, abandoned)
            attempt = attempts / f"{self.operation_id}_{secrets.token_hex(4)}"
            await asyncio.to_thread(fresh_attempt, attempt)
            try:
                answer = await run_job(
                    module,
                    {**request, "attempt": str(attempt)},
                    self.report,
                    environment=self._services.job_environment,
                )
                kept = None if keep is None else await patiently(lambda: keep(attempt))
            except ArtifactsUnavailable as error:
                discard_attempt(attempt)
                raise OperationFailed(error.message, reason=error.reason) from error
            except BaseException:
                discard_attempt(attempt)
                raise
            return {**asdict(answer), "attempt": attempt.name, "kept": kept}

        outcome = await self.owned_step(module.rpartition(".")[2], run)
        assert isinstance(outcome, dict)
        return JobOutcome(outcome["result"], attempts / str(outcome["attempt"]), outcome["kept"])

    async def back_off(self, phase: str, reason: str, pause_s: float) -> None:
        """Note in the history that a phase ended for a passing reason, and wait; a crash does not prolong it."""
        clock = self._services.clock
        # Steps of their own: noted twice after a crash, it is the same record.
        failed_at_ms = await self.step("failed_at", lambda: epoch_ms(clock()))
        record = attempt_record(phase, reason, from_epoch_ms(failed_at_ms), "worker")

        def note() -> None:
            parent_id = self._store.get(self.operation_id).parent_id
            for operation_id in filter(None, (self.operation_id, parent_id)):
                note_attempt(self._store, operation_id, record)

        await self.step("note_attempt", note)

        async def wait() -> None:
            while (left_s := failed_at_ms / 1000 + pause_s - clock().timestamp()) > 0:
                await self.report(0.0, f"{reason}: trying again in {math.ceil(left_s)} s")
                await asyncio.sleep(min(left_s, 1.0))

        await self.owned_step("back_off", wait)

    async def repeating(self, phase: str, attempt: Callable[[], Awaitable[T]], repetition: Repetition) -> T:
        """Try something until it succeeds, at most as often as the repetition allows.

        Raises:
            OperationFailed: The last attempt's failure, or one for another reason.
        """
        for number in range(repetition.times):
            try:
                return await attempt()
            except OperationFailed as error:
                if error.reason not in repetition.reasons:
                    raise
                reason = error.reason
            await self.back_off(phase, reason, repetition.pause_s(number))
        return await attempt()

    async def new_child_id(self, operation_type: str) -> str:
        """Return an id for a child: the same one whenever the body runs again."""
        return await self.step("new_child_id", lambda: new_operation_id(operation_type, self._services.clock()))

    async def run_child(self, operation_type: str, operation_id: str, payload: Payload) -> JsonValue:
        """Run a child on this worker and wait for its result.

        Raises:
            OperationFailed: The child failed or was cancelled; the reason is the child's own.
        """
        attributes = initial_attributes(self._services.clock(), {})
        with SetWorkflowID(operation_id), SetWorkflowAttributes(attributes):
            handle = await DBOS.start_workflow_async(self._services.workflows[operation_type], payload)
        return await self._result_of(handle, operation_id)

    async def run_queued_child(
        self, operation_type: str, operation_id: str, payload: Payload, *, queue: str, start_timeout_s: float
    ) -> JsonValue:
        """Run a child on any worker that serves `queue` and wait for its result.

        Raises:
            OperationFailed: The child failed or was cancelled (its own reason), or for `start_timeout_s` seconds
                no living worker served the queue (`unavailable`); it is cancelled then.
        """
        turn = await patiently(lambda: self._services.ownership.turn_of_child(queue))
        handle = await DBOS.enqueue_workflow_with_options_async(
            {
                "workflow_name": operation_type,
                "queue_name": queue,
                "workflow_id": operation_id,
                "app_version": APPLICATION_VERSION,
                "application_name": APPLICATION_NAME,
                "priority": turn,
                "attributes": initial_attributes(self._services.clock(), {}),
            },
            payload,
        )

        async def wait_for_start() -> bool:
            return await self._wait_for_start(operation_id, queue, start_timeout_s)

        if not await self.owned_step("wait_for_start", wait_for_start):
            raise OperationFailed(
                f"no living worker serves the queue {queue!r}; start one with `ktrdr worker --queues {queue}`",
                reason="unavailable",
            )
        return await self._result_of(handle, operation_id)

    async def _wait_for_start(self, operation_id: str, queue: str, timeout_s: float) -> bool:
        """Return whether the child was taken up, or still may be: a full queue is not an absent worker."""
        unserved_s = 0.0
        while True:
            child = await patiently(lambda: self._store.get(operation_id))
            if child.status is not OperationStatus.PENDING:
                return True
            workers = await patiently(lambda: live_workers(self._services.leases))
            served = any(queue in worker.queues for worker in workers)
            unserved_s = 0.0 if served else unserved_s + CHILD_POLL_S
            if unserved_s > timeout_s:
                await patiently(lambda: self._store.cancel(operation_id))
                return False
            await asyncio.sleep(CHILD_POLL_S)

    async def _result_of(self, handle: Any, child_id: str) -> JsonValue:  # noqa: ANN401 - two kinds that share no type
        # Not by the engine's own waiting alone: cancelled and resumed, a body would wait on beside its successor.
        while not await self._has_ended(child_id):
            await asyncio.sleep(CHILD_POLL_S)
            await self._stop_unless_ours()
        try:
            result: JsonValue = await handle.get_result(polling_interval_sec=CHILD_POLL_S)
        except KtrdrError as error:
            raise OperationFailed(error.message, reason=error.reason) from error
        except dbos_errors.DBOSException as error:
            raise OperationFailed(str(error), reason=error_reason(error)) from error
        return result

    async def _has_ended(self, child_id: str) -> bool:
        try:
            return await asyncio.to_thread(self._store.has_ended, child_id)
        except sa.exc.SQLAlchemyError as error:
            if not is_connection_lost(error):
                raise
            return False  # the database is away for a while: ask again
