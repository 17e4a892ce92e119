"""Run operations in this process: the engine, its queues, and the watch over other workers' work."""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol

from dbos import DBOS
from dbos import error as dbos_errors
from pydantic import JsonValue

from ktrdr.clock import Clock
from ktrdr.database.engine import Database
from ktrdr.errors import KtrdrError, OperationFailed
from ktrdr.operations.leases import WorkerLease, dead_executors
from ktrdr.operations.serializer import JsonSerializer
from ktrdr.operations.store import APPLICATION_NAME, APPLICATION_VERSION, OperationStore
from ktrdr.operations.work import Payload, Work, WorkerServices, Workflow

CYCLES_QUEUE = "cycles"
COMPUTE_QUEUE = "compute"
QUEUE_POLL_S = 0.2
SUPERVISION_INTERVAL_S = 1.0
MAX_TAKEOVERS = 3
COMPANION_STOP_S = 1.0

Body = Callable[[Work, Payload], Coroutine[Any, Any, JsonValue]]
_logger = logging.getLogger(__name__)


class Companion(Protocol):
    """Something that a worker does beside its operations, in a thread of its own."""

    def start(self) -> None:
        """Begin."""
        ...

    def stop(self, timeout_s: float) -> None:
        """End, within so many seconds."""
        ...


class WorkerRuntime:
    """The engine in one worker process. Construct, `register` every operation type, `launch`, `stop`."""

    def __init__(
        self, database: Database, store: OperationStore, *, clock: Clock, lease: WorkerLease, state_folder: Path
    ) -> None:
        self._store = store
        self._lease = lease
        self._state_folder = state_folder
        self._stopping = threading.Event()
        self._workflows: dict[str, Workflow] = {}
        self._services = WorkerServices(store, clock, lease.executor_id, state_folder, self._workflows)
        self._companions: list[Companion] = []
        self._chores: list[Callable[[], None]] = [store.cancel_orphans, self._take_over]
        DBOS(
            config={
                "name": APPLICATION_NAME,
                "system_database_url": database.url,
                "system_database_engine": database.engine,
                "application_version": APPLICATION_VERSION,
                "executor_id": lease.executor_id,
                "serializer": JsonSerializer(),
                "run_migrations": False,
                "log_level": "WARNING",
            }
        )

        _adopt_engine_log()

    def register(self, operation_type: str, body: Body) -> None:
        """Make this worker able to run an operation type."""

        async def run(payload: Payload) -> JsonValue:
            operation_id = DBOS.workflow_id
            assert operation_id is not None
            return await self._run(Work(operation_id, self._services), body, payload)

        self._workflows[operation_type] = DBOS.workflow(name=operation_type, max_recovery_attempts=MAX_TAKEOVERS)(run)

    def add_chore(self, chore: Callable[[], None]) -> None:
        """Have something done about once a second as long as the worker lives. It must be quick and idempotent."""
        self._chores.append(chore)

    def add_companion(self, companion: Companion) -> None:
        """Have something run as long as the worker works."""
        self._companions.append(companion)

    def launch(self, queues: Sequence[str], *, max_concurrent_cycles: int) -> None:
        """Start taking work from the queues, first of all what this executor left unfinished."""
        DBOS.listen_queues(list(queues))
        DBOS.launch()
        DBOS.register_queue(
            CYCLES_QUEUE,
            worker_concurrency=max_concurrent_cycles,
            global_concurrency=max_concurrent_cycles,
            polling_interval_sec=QUEUE_POLL_S,
            on_conflict="always_update",
        )
        DBOS.register_queue(
            COMPUTE_QUEUE, worker_concurrency=1, polling_interval_sec=QUEUE_POLL_S, on_conflict="always_update"
        )
        threading.Thread(target=self._supervise, name="ktrdr-supervision", daemon=True).start()
        for companion in self._companions:
            companion.start()

    def stop(self) -> None:
        """Stop taking work. What runs is left as it is, to be taken up by the next worker."""
        self._stopping.set()
        for companion in self._companions:
            companion.stop(COMPANION_STOP_S)
        DBOS.destroy(workflow_completion_timeout_sec=0)
        self._lease.release()

    async def _run(self, work: Work, body: Body, payload: Payload) -> JsonValue:
        await work.step("start", lambda: self._store.mark_once(work.operation_id, "started_at"))
        result: JsonValue = None
        failure: Exception | None = None
        try:
            result = await body(work, payload)
        except (KtrdrError, dbos_errors.DBOSException) as error:
            _logger.info("operation %s failed: %s", work.operation_id, error)
            failure = error
        except Exception as error:  # the operation's outermost frame
            _logger.exception("operation %s broke", work.operation_id)
            failure = OperationFailed(
                f"{type(error).__name__}; the worker's log has its trace", reason="internal_error"
            )
        # A cancellation, and the end of this worker, are no Exception and pass by: whoever cancels writes the time.
        await asyncio.to_thread(self._store.mark, work.operation_id, "completed_at")
        if failure is not None:
            raise failure
        return result

    def _supervise(self) -> None:
        while not self._stopping.wait(SUPERVISION_INTERVAL_S):
            for chore in self._chores:
                try:
                    chore()
                except Exception:  # the thread's outermost frame: the next round tries again
                    _logger.exception("%s failed", getattr(chore, "__name__", chore))

    def _take_over(self) -> None:
        """Put the work of executors that nobody holds back into its queues."""
        others = self._store.running_executors() - {self._lease.executor_id}
        if not others:
            return
        with dead_executors(self._state_folder, others) as dead:
            if dead:
                _logger.warning("taking over the work of %s", ", ".join(dead))
                # Private, but the public resume resets slot, queue and attempts; dbos is pinned exactly.
                DBOS._recover_pending_workflows(dead)


class _ExpectedFailures(logging.Filter):
    """Drops the engine's trace of a failure that is an operation's honest outcome and stands on its row."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, KtrdrError)


def _adopt_engine_log() -> None:
    """Have DBOS log where this process logs, not to a handler of its own."""
    engine_log = logging.getLogger("dbos")
    engine_log.handlers.clear()
    engine_log.propagate = True
    engine_log.addFilter(_ExpectedFailures())
