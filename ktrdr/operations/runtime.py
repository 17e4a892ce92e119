"""Run operations in this process: the engine, its queues, and the watch over other workers' work."""

import logging
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import sqlalchemy as sa
from dbos import DBOS
from dbos import error as dbos_errors
from dbos._context import assert_current_dbos_context
from pydantic import JsonValue
from sqlalchemy.exc import SQLAlchemyError

from ktrdr.artifacts.trouble import storage_trouble
from ktrdr.clock import Clock, epoch_ms
from ktrdr.database.engine import Database
from ktrdr.database.patience import is_connection_lost, patiently
from ktrdr.database.trouble import database_trouble
from ktrdr.errors import KtrdrError, OperationFailed
from ktrdr.operations.engine_tables import APPLICATION_VERSION
from ktrdr.operations.executions import FIRST_STEP_NAME, note_execution
from ktrdr.operations.leases import WorkerLease, WorkerLeases
from ktrdr.operations.lineage import log_subject
from ktrdr.operations.ownership import Ownership
from ktrdr.operations.serializer import JsonSerializer
from ktrdr.operations.store import APPLICATION_NAME, OperationStore
from ktrdr.operations.work import Payload, Work, WorkerServices, Workflow
from ktrdr.telemetry.logs import LogSubject, logging_about

CYCLES_QUEUE = "cycles"
COMPUTE_QUEUE = "compute"
# Phases of a cycle begin in the cycle's own worker. One that is set going again, or whose worker is gone, waits here
# for any that serves cycles: in their queue it would wait for the slot that its own cycle holds.
PHASES_QUEUE = "phases"
QUEUE_POLL_S = 0.25
PHASES_POLL_S = 0.5
LOOK_VALID_S = 0.2
SUPERVISION_INTERVAL_S = 1.0
MAX_TAKEOVERS = 3
COMPANION_STOP_S = 1.0
UNATTENDED_S = 3.0

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


@dataclass(frozen=True, slots=True)
class Membership:
    """This worker among the others: all leases, and its own."""

    leases: WorkerLeases
    lease: WorkerLease


class WorkerRuntime:
    """The engine in one worker process. Construct, `register` every operation type, `launch`, `stop`.

    `job_environment` is that of the job processes.
    """

    def __init__(
        self,
        database: Database,
        store: OperationStore,
        *,
        clock: Clock,
        membership: Membership,
        job_environment: Mapping[str, str],
    ) -> None:
        self._store = store
        self._database_url = database.engine.url
        self._ownership = Ownership(database)
        self._lease = membership.lease
        self._stopping = threading.Event()
        self._workflows: dict[str, Workflow] = {}
        executor_id = self._lease.executor_id
        self._services = WorkerServices(
            store, clock, self._ownership, membership.leases, executor_id, job_environment, self._workflows
        )
        self._executing: set[Work] = set()
        self._unattended_since: dict[str, float] = {}
        self._companions: list[Companion] = []
        self._chores: list[Callable[[], None]] = [self._take_over, store.cancel_orphans]
        self._engine = DBOS(
            config={
                "name": APPLICATION_NAME,
                "system_database_url": database.url,
                "system_database_engine": database.engine,
                "application_version": APPLICATION_VERSION,
                "executor_id": executor_id,
                "serializer": JsonSerializer(),
                "run_migrations": False,
                "notification_coalesce_sec": 1.0,  # nothing here notifies, and by default it looks 100 times a second
                "log_level": "WARNING",
            }
        )

        _adopt_engine_log()

    def register(self, operation_type: str, body: Body) -> None:
        """Make this worker able to run an operation type."""

        async def run(payload: Payload) -> JsonValue:
            # Private, but nothing public names the execution, only the operation; dbos is pinned exactly.
            context = assert_current_dbos_context()
            assert context.owner_xid is not None
            work = Work(context.workflow_id, context.owner_xid, self._services)
            self._executing.add(work)
            try:
                with logging_about(await patiently(lambda: self._subject(work.operation_id))):
                    return await self._run(work, body, payload)
            finally:
                self._executing.remove(work)

        self._workflows[operation_type] = DBOS.workflow(name=operation_type, max_recovery_attempts=MAX_TAKEOVERS)(run)

    def add_chore(self, chore: Callable[[], None]) -> None:
        """Have something done about once a second as long as the worker lives. It must be quick and idempotent."""
        self._chores.append(chore)

    def add_companion(self, companion: Companion) -> None:
        """Have something run as long as the worker works."""
        self._companions.append(companion)

    def launch(self, queues: Sequence[str], *, max_concurrent_cycles: int, compute_concurrency: int) -> None:
        """Start taking work from the queues, first of all what workers that are gone left unfinished.

        At most `compute_concurrency` jobs run in this worker, and at most `max_concurrent_cycles` cycles in all.
        """
        DBOS.listen_queues(list(queues))
        # Private, and what the engine uses for its own queues: those of the public `register_queue` live in the
        # database, where the limit of one worker would become that of all, and are read anew at every poll.
        register = self._engine._registry._register_internal_queue
        if CYCLES_QUEUE in queues:
            limit = max_concurrent_cycles
            register(
                CYCLES_QUEUE, worker_concurrency=limit, global_concurrency=limit, polling_interval_sec=QUEUE_POLL_S
            )
            register(PHASES_QUEUE, polling_interval_sec=PHASES_POLL_S)
        if COMPUTE_QUEUE in queues:
            register(COMPUTE_QUEUE, worker_concurrency=compute_concurrency, polling_interval_sec=QUEUE_POLL_S)
        DBOS.launch()
        # Private: the engine asks it before each attempt to take something, of which there are a dozen a second. An
        # idle attempt costs ten times what asking does.
        self._engine._sys_db.dequeue_scopes = _Lookout(self._ownership).scopes  # type: ignore[method-assign]
        threading.Thread(target=self._supervise, name="ktrdr-supervision", daemon=True).start()
        for companion in self._companions:
            companion.start()

    def stop(self) -> None:
        """Give the lease back, for the process to end at once: what runs is left to the next worker as it is.

        The engine is not wound up, which would take a second: all it does survives a kill. That it has to be done
        again does not count as a takeover, of which an operation has a few: those are for what kills its worker.
        """
        self._stopping.set()
        for companion in self._companions:
            companion.stop(COMPANION_STOP_S)
        with suppress(SQLAlchemyError):  # a database that is away: then it counts
            self._ownership.forgive(self._lease.executor_id)
        self._lease.release()

    def _subject(self, operation_id: str) -> LogSubject:
        return log_subject(self._store, self._store.get(operation_id))

    async def _begin(self, work: Work) -> None:
        """Note which worker begins. The step answers from memory where an earlier one had begun."""
        is_noted = False

        def note() -> None:
            nonlocal is_noted
            note_execution(self._store, work.operation_id, self._services.executor_id, epoch_ms(self._services.clock()))
            is_noted = True

        await work.step(FIRST_STEP_NAME, note)
        if not is_noted:
            await patiently(note)

    async def _run(self, work: Work, body: Body, payload: Payload) -> JsonValue:
        await self._begin(work)
        _logger.info("operation %s runs on %s", work.operation_id, self._lease.executor_id)
        result: JsonValue = None
        failure: Exception | None = None
        try:
            result = await body(work, payload)
        except (KtrdrError, dbos_errors.DBOSException) as error:
            _logger.info("operation %s failed: %s", work.operation_id, error)
            failure = error
        except Exception as error:  # the operation's outermost frame
            _logger.exception("operation %s broke", work.operation_id)
            trouble = self._trouble(error)
            failure = trouble or OperationFailed(
                f"{type(error).__name__}; `ktrdr operations logs` shows its trace", reason="internal_error"
            )
        # A cancellation, and the end of this worker, are no Exception and pass by: whoever cancels writes the time.
        await patiently(partial(self._store.mark, work.operation_id, "completed_at"))
        if failure is not None:
            raise failure
        _logger.info("operation %s completed", work.operation_id)
        return result

    def _trouble(self, error: Exception) -> KtrdrError | None:
        """Return what an error says of the disk or the database, None where it says something else."""
        if isinstance(error, SQLAlchemyError):
            return database_trouble(error, self._database_url)
        return storage_trouble(error) if isinstance(error, OSError) else None

    def _supervise(self) -> None:
        while True:
            for chore in self._chores:
                try:
                    chore()
                except Exception as error:  # the thread's outermost frame: the next round tries again
                    if isinstance(error, sa.exc.SQLAlchemyError) and is_connection_lost(error):
                        break  # whoever keeps the lease says so, once
                    _logger.exception("%s failed", getattr(chore, "__name__", chore))
            if self._stopping.wait(SUPERVISION_INTERVAL_S):
                return

    def _take_over(self) -> None:
        """Put work back into its queues that stands as running and does not."""
        attended = self._attended()
        running = self._ownership.running()
        mine = {*running.pop(self._lease.executor_id, ())}
        self._take_up_again(mine - attended - self._attended())
        for executor_id in self._lease.gone({*running}):
            for operation_id in running[executor_id]:
                with logging_about(self._subject(operation_id)):
                    _logger.warning("operation %s: %s is gone, taking over its work", operation_id, executor_id)
                self._requeue(operation_id, executor_id)

    def _attended(self) -> set[str]:
        return {work.operation_id for work in self._executing.copy()}

    def _take_up_again(self, unattended: set[str]) -> None:
        """Put back what runs nowhere in this worker: its end could not be written, as on a full disk."""
        now = time.monotonic()
        self._unattended_since = {each: self._unattended_since.get(each, now) for each in unattended}
        for operation_id, since in self._unattended_since.items():
            # Not at once: it stands as ours a moment before it runs, and a moment after.
            if now - since > UNATTENDED_S:
                with logging_about(self._subject(operation_id)):
                    _logger.warning("operation %s stands as running here and does not; putting it back", operation_id)
                self._requeue(operation_id, self._lease.executor_id)

    def _requeue(self, operation_id: str, executor_id: str) -> None:
        # Private, but the public resume resets slot, queue and attempts; dbos is pinned exactly. It does nothing where
        # another worker was quicker.
        put_back = partial(self._engine._sys_db.reenqueue_for_recovery, operation_id, [executor_id], PHASES_QUEUE)
        self._ownership.requeue(operation_id, executor_id, put_back)


class _Lookout:
    """Looks into all queues at once, for the engine's threads, each of which watches one."""

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership
        self._lock = threading.Lock()
        self._asked_for: set[str] = set()
        self._with_work: set[str] = set()
        self._looked_at = 0.0

    def scopes(self, queue_name: str) -> list[str | None]:
        """Return the engine's one scope if something waits in a queue, none otherwise."""
        with self._lock:
            is_stale = time.monotonic() - self._looked_at > LOOK_VALID_S
            if is_stale or queue_name not in self._asked_for:
                self._asked_for.add(queue_name)
                self._with_work = self._ownership.queues_with_work(tuple(sorted(self._asked_for)))
                self._looked_at = time.monotonic()
            return [None] if queue_name in self._with_work else []


class _ExpectedFailures(logging.Filter):
    """Drops the engine's words on what is said elsewhere.

    That is the trace of a failure or cancellation that is an operation's honest outcome and stands on its row; and,
    several times a second from each of its threads, that PostgreSQL does not answer: whoever keeps the lease says so
    once.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        is_honest = isinstance(error, KtrdrError | dbos_errors.DBOSAwaitedWorkflowCancelledError)
        return not is_honest and "psycopg.OperationalError" not in record.getMessage()


def _adopt_engine_log() -> None:
    """Have DBOS log where this process logs, not to a handler of its own."""
    engine_log = logging.getLogger("dbos")
    engine_log.handlers.clear()
    engine_log.propagate = True
    engine_log.addFilter(_ExpectedFailures())
