"""What the body of an operation may do: durable steps, children, a job process, words about itself."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from dbos import DBOS, SetWorkflowAttributes, SetWorkflowID
from dbos import error as dbos_errors
from pydantic import JsonValue

from ktrdr.artifacts.attempt import discard_attempt, fresh_attempt
from ktrdr.clock import Clock
from ktrdr.database.patience import UNANSWERED, patiently
from ktrdr.errors import KtrdrError, OperationFailed
from ktrdr.operations.job_process import OWNERSHIP_POLL_S, JobHooks, run_job
from ktrdr.operations.leases import live_workers
from ktrdr.operations.operation import OperationStatus, new_operation_id
from ktrdr.operations.serializer import error_reason
from ktrdr.operations.store import (
    APPLICATION_NAME,
    APPLICATION_VERSION,
    OperationStore,
    initial_attributes,
)

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
    executor_id: str
    state_folder: Path
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
        """Run a blocking function once, in a thread, and remember its JSON result.

        It may be called again where it was cut off, by a crash or by a database that went away.
        """

        async def run() -> T:
            return await asyncio.to_thread(patiently, function)

        return await DBOS.run_step_async({"name": name}, run)

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
            raise OperationFailed("another worker has taken this operation over", reason="taken_over")

        return await self.interruptible_step(name, run)

    async def _is_ours(self) -> bool:
        try:
            return await asyncio.to_thread(self._store.is_owned_by, self.operation_id, self._services.executor_id)
        except UNANSWERED:
            return True  # nobody can say otherwise; what is written later is fenced

    async def annotate(self, metadata: Payload) -> None:
        """Set keys of this operation's metadata, once."""
        await self.step("annotate", lambda: self._store.write_metadata(self.operation_id, metadata))

    async def report(self, percentage: float, current_step: str) -> None:
        """Write progress. Call it from inside a step, at most twice a second."""
        progress: JsonValue = {
            "percentage": percentage,
            "current_step": current_step,
            "executor_id": self._services.executor_id,
        }
        with contextlib.suppress(*UNANSWERED):  # not worth waiting for: the next one says more
            await asyncio.to_thread(self._store.write_attributes, self.operation_id, {"progress": progress})

    async def run_job(self, module: str, request: Payload, *, attempt: Path) -> JsonValue:
        """Run a job process as a step that ends with the operation. Its progress becomes the operation's.

        The job finds an empty folder `attempt`, whose path is added to its request; the folder stays only if the job
        succeeds.
        """

        async def run() -> JsonValue:
            await asyncio.to_thread(fresh_attempt, attempt)
            try:
                return await run_job(module, {**request, "attempt": str(attempt)}, JobHooks(self.report, self._is_ours))
            except BaseException:
                discard_attempt(attempt)
                raise

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
        handle = await DBOS.enqueue_workflow_with_options_async(
            {
                "workflow_name": operation_type,
                "queue_name": queue,
                "workflow_id": operation_id,
                "app_version": APPLICATION_VERSION,
                "application_name": APPLICATION_NAME,
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
            child = await asyncio.to_thread(patiently, partial(self._store.get, operation_id))
            if child.status is not OperationStatus.PENDING:
                return True
            workers = await asyncio.to_thread(live_workers, self._services.state_folder)
            served = any(queue in worker.queues for worker in workers)
            unserved_s = 0.0 if served else unserved_s + CHILD_POLL_S
            if unserved_s > timeout_s:
                await asyncio.to_thread(self._store.cancel, operation_id)
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
