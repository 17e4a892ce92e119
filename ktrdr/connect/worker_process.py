"""A worker process that belongs to this one and dies with it."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from ktrdr.config import Settings
from ktrdr.errors import KtrdrError, WorkspaceUnusable
from ktrdr.operations.leases import FileLeases, WorkerInfo, live_workers
from ktrdr.telemetry.logs import MAX_FILE_BYTES

WORKER_LOG = "worker.log"
ALL_QUEUES = frozenset({"cycles", "compute"})
MAX_STARTS = 3
# A worker that lived so long was well: its end is no reason to mistrust the next one.
HEALTHY_AFTER_S = 60.0
_STOP_PATIENCE_S = 3.0
_LOG_TAIL_BYTES = 4096
_FAILURE_PREFIX = "the worker cannot start: "


class WorkerProcess:
    """`python -m ktrdr.worker --owned`. Start it from the main thread: the kernel kills it when that thread ends."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, log_start: int) -> None:
        self._process = process
        self._log = log
        self._log_start = log_start

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    async def wait_until_ready(self) -> None:
        """Return once it takes work.

        Raises:
            KtrdrError: It ended instead (`worker_failed`); the message has its last words.
        """
        assert self._process.stdout is not None
        if await asyncio.to_thread(self._process.stdout.readline):
            return
        raise KtrdrError(self.describe_end(), reason="worker_failed")

    def describe_end(self) -> str:
        """Return how it ended, in words, with the next step."""
        code = self._process.wait()
        words = self._last_words()
        if words.startswith(_FAILURE_PREFIX):
            return words
        return (
            f"a worker process ended with code {code}: {words or 'it said nothing'}\n"
            f"Its logs are {self._log} and {self._log.parent / 'logs'}; `ktrdr worker` starts one by itself"
        )

    def stop(self) -> None:
        """End it now; what it ran is taken up by the next worker."""
        assert self._process.stdin is not None
        self._process.terminate()  # so that it gives its lease back, for which others would wait on PostgreSQL
        try:
            self._process.wait(_STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdin.close()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _last_words(self) -> str:
        """Return the last line that it wrote to its log: of a trace that is the error."""
        with self._log.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(self._log_start, end - _LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def start_worker_process(settings: Settings, *, starts_scheduled_cycles: bool) -> WorkerProcess:
    """Start a worker of a workspace. What it says before it has a name, or as it breaks, goes to `.ktrdr/worker.log`.

    Raises:
        WorkspaceUnusable: The log cannot be written.
    """
    log = settings.state_folder / WORKER_LOG
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        is_long = log.exists() and log.stat().st_size > MAX_FILE_BYTES
        with log.open("wb" if is_long else "ab") as file:
            return WorkerProcess(_spawn(settings, file, starts_scheduled_cycles), log, file.tell())
    except OSError as error:
        raise WorkspaceUnusable(
            f"cannot write {log}: {error.strerror}. Check who owns the folder, or choose another with --workspace "
            "or KTRDR_WORKSPACE"
        ) from error


def _spawn(settings: Settings, log: IO[bytes], starts_scheduled_cycles: bool) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ktrdr.worker", "--owned"]
    if not starts_scheduled_cycles:
        command.append("--no-schedules")
    return subprocess.Popen(
        command,
        env=settings.child_environment(),
        stdin=subprocess.PIPE,  # kept open as long as this process lives
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,  # Ctrl-C in the terminal is for the command, which then cancels in order
    )


class WorkerKeeper:
    """Sees to it that somebody works in a workspace while this process waits for work to be done."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._own: WorkerProcess | None = None
        self._own_is_ready = False
        self._starts = 0
        self._started_at = 0.0

    async def ensure_worker(self) -> None:
        """Return once somebody works. Call it again while waiting: another's worker may go away.

        Raises:
            KtrdrError: A worker cannot start, or dies again and again (`worker_failed`).
            WorkspaceUnusable: The workspace cannot be written.
        """
        if self._own is None or self._own_is_ready:
            self.begin_worker()
        if self._own is not None and not self._own_is_ready:
            await self._own.wait_until_ready()
            self._own_is_ready = True

    def begin_worker(self) -> None:
        """Start a worker unless others serve every queue, and do not wait for it; raises as `ensure_worker`."""
        if self._own is not None and self._own.is_alive:
            return
        if self._served_queues() >= ALL_QUEUES:
            return
        if time.monotonic() - self._started_at >= HEALTHY_AFTER_S:
            self._starts = 0
        if self._starts >= MAX_STARTS:
            assert self._own is not None
            raise KtrdrError(self._own.describe_end(), reason="worker_failed")
        self._starts += 1
        if self._own is not None:
            self._own.stop()
        self._started_at = time.monotonic()
        # A scheduled cycle would take the command's own slot, and be cut off when the command ends.
        self._own = start_worker_process(self._settings, starts_scheduled_cycles=False)
        self._own_is_ready = False

    def close(self) -> None:
        """Stop the worker that this keeper started, if any."""
        if self._own is not None:
            self._own.stop()
            self._own = None

    def _served_queues(self) -> frozenset[str]:
        return frozenset(queue for worker in live_workers_of(self._settings) for queue in worker.queues)


def live_workers_of(settings: Settings) -> list[WorkerInfo]:
    """Return the workers of a workspace's database that live now; of any machine, where machines share one.

    Raises:
        WorkspaceUnusable: The database server does not answer.
    """
    if settings.is_single_machine:
        return live_workers(FileLeases(settings.state_folder))
    from ktrdr.database.engine import open_database
    from ktrdr.operations.postgres_leases import PostgresLeases

    database = open_database(settings.database_url)
    try:
        return live_workers(PostgresLeases(database, grace_s=settings.worker_grace_s))
    finally:
        database.close()
