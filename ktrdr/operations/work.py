"""What the body of an operation may do: durable steps, children, a job process, words about itself."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from dbos import DBOS, SetWorkflowAttributes, SetWorkflowID
from dbos import error as dbos_errors
from pydantic import JsonValue

from ktrdr.artifacts.attempt import discard_attempt, fresh_attempt, promote_attempt
from ktrdr.clock import Clock
from ktrdr.database.patience import is_connection_lost, patiently
from ktrdr.errors import KtrdrError, OperationFailed
from ktrdr.operations.engine_tables import APPLICATION_VERSION
from ktrdr.operations.job_process import OWNERSHIP_POLL_S, JobHooks, run_job
from ktrdr.operations.leases import WorkerLeases, live_workers
from ktrdr.operations.operation import OperationStatus, new_operation_id
from ktrdr.operations.ownership import TAKEN_OVER, Ownership
from ktrdr.operations.serializer import error_reason
from ktrdr.operations.store import APPLICATION_NAME, OperationStore, initial_attributes, metadata_attributes

CHILD_POLL_S = 0.2
ENGINE_PATIENCE_S = 5.0

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


class Work:
    """One execution of an operation's body.

    After a crash the body runs again from its first line; finished steps and children answer from memory. Between
    steps it must therefore be a pure function of its payload and of what the steps returned.
    """

    def __init__(self, operation_id: str, services: WorkerServices) -> None:
        self.operation_id = operation_id
        self._services = services
        self._store = services.store

    async def step(self, name: str, function: Callable[[], T]) -> T:
        """Run a blocking function once, in a thread, and remember its JSON result."""

        async def run() -> T:
            return await patiently(function)

        return await DBOS.run_step_async({"name": name}, run)

    def held(self) -> AbstractContextManager[None]:
        """Return a context in which this operation stays this worker's own; nothing in it may write to the operation.

        What becomes visible to others is put in place inside: a worker that was paused, given up and woken finds the
        operation taken over (OperationFailed, `taken_over`) instead of overwriting what its successor made.
        """
        return self._services.ownership.held(self._services.executor_id, self.operation_id)

    async def publish(self, name: str, function: Callable[[], T]) -> T:
        """As `step`, for a function that puts this operation's files into place: it runs only while `held`."""

        def run() -> T:
            with self.held():
                return function()

        return await self.step(name, run)

    async def interruptible_step(self, name: str, coroutine: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine once and remember its JSON result; it is cancelled with the operation."""
        return await DBOS.run_step_async({"name": name, "preemptible": True}, coroutine)

    async def owned_step(self, name: str, coroutine: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """As `interruptible_step`, but the coroutine is cancelled within a second of its operation's end.

        The engine looks for a cancellation once a second only, and never whether another worker took the work over.
        """

        async def run() -> T:
            task = asyncio.ensure_future(coroutine())
            try:
                while not (await asyncio.wait({task}, timeout=OWNERSHIP_POLL_S))[0]:
                    if not await self._is_ours():
                        break
                if task.done():
                    return task.result()
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await asyncio.sleep(ENGINE_PATIENCE_S)  # cancelled: the engine stops this step within a second
            raise OperationFailed("another worker has taken this operation over", reason=TAKEN_OVER)

        return await self.interruptible_step(name, run)

    async def _is_ours(self) -> bool:
        holds, executor_id = self._services.ownership.holds, self._services.executor_id
        try:
            return await asyncio.to_thread(holds, executor_id, self.operation_id)
        except sa.exc.SQLAlchemyError as error:
            if not is_connection_lost(error):
                raise
            return True  # nobody can have taken it; if we alone are cut off, what we make is never published

    async def annotate(self, metadata: Payload) -> None:
        """Set keys of this operation's metadata, once."""
        await self.step("annotate", lambda: self._write_attributes(metadata_attributes(metadata)))

    def _write_attributes(self, attributes: Payload) -> None:
        self._services.ownership.write_attributes(self._services.executor_id, self.operation_id, attributes)

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

    async def run_job(self, module: str, request: Payload, *, attempt: Path) -> JsonValue:
        """Run a job process as a step that ends with the operation. Its progress becomes the operation's.

        The job finds an empty folder of its own, whose path is added to its request as `attempt`. If it succeeds, what
        it left there becomes the folder `attempt`; else it is removed.
        """
        # The job of a worker that was paused and given up goes on writing: into this folder, not into its successor's.
        own = attempt.with_name(f"{attempt.name}.{self._services.executor_id}")
        hooks = JobHooks(self.report, self._is_ours, self._services.job_environment)

        def promote() -> None:
            with self.held():
                promote_attempt(own, attempt)

        async def run() -> JsonValue:
            await asyncio.to_thread(fresh_attempt, own)
            try:
                result = await run_job(module, {**request, "attempt": str(own)}, hooks)
                await patiently(promote)
            except OperationFailed as error:
                discard_attempt(own)
                if error.reason == TAKEN_OVER:
                    await asyncio.sleep(ENGINE_PATIENCE_S)  # cancelled, or given up: one of the two ends this step
                raise
            except BaseException:
                discard_attempt(own)
                raise
            return result

        return await self.interruptible_step(module.rpartition(".")[2], run)

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
        return await _result_of(handle)

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

        if not await self.interruptible_step("wait_for_start", wait_for_start):
            raise OperationFailed(
                f"no living worker serves the queue {queue!r}; start one with `ktrdr worker --queues {queue}`",
                reason="unavailable",
            )
        return await _result_of(handle)

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


async def _result_of(handle: Any) -> JsonValue:  # noqa: ANN401 - the engine's two kinds of handle share no type
    try:
        result: JsonValue = await handle.get_result(polling_interval_sec=CHILD_POLL_S)
    except KtrdrError as error:
        raise OperationFailed(error.message, reason=error.reason) from error
    except dbos_errors.DBOSException as error:
        raise OperationFailed(str(error), reason=error_reason(error)) from error
    return result
