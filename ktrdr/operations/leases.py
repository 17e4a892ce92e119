"""Who works: a worker holds the lowest free number by an exclusive lock, which dies with its process."""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ktrdr.errors import WorkspaceUnusable

MAX_WORKERS = 256


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """A worker process that holds its lease now."""

    number: int
    pid: int
    queues: tuple[str, ...]


class WorkerLease:
    """An executor number that is this process's as long as the process lives and does not release it."""

    def __init__(self, number: int, handle: int) -> None:
        self.number = number
        self._handle = handle

    @property
    def executor_id(self) -> str:
        """Return the name under which DBOS knows this worker."""
        return executor_id(self.number)

    def release(self) -> None:
        """Give the number back; the kernel does the same when the process dies."""
        os.close(self._handle)


def executor_id(number: int) -> str:
    """Return the executor id of a leased number."""
    return f"worker-{number}"


def lease_worker_number(state_folder: Path, queues: Sequence[str]) -> WorkerLease:
    """Take the lowest number that nobody holds.

    Raises:
        WorkspaceUnusable: The folder cannot be written, or all numbers are taken.
    """
    folder = state_folder / "workers"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1, MAX_WORKERS + 1):
            handle = _lock(folder / f"{number}.lock")
            if handle is None:
                continue
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps({"pid": os.getpid(), "queues": list(queues)}).encode(), 0)
            return WorkerLease(number, handle)
    except OSError as error:
        raise WorkspaceUnusable(
            f"a worker cannot write {folder}: {error.strerror}. Check who owns the folder, or name another "
            "workspace with --workspace."
        ) from error
    raise WorkspaceUnusable(f"all {MAX_WORKERS} worker numbers of {folder} are taken; stop some workers")


def live_workers(state_folder: Path) -> list[LiveWorker]:
    """Return the workers that hold a lease at this moment."""
    alive = []
    for path in _lease_files(state_folder):
        handle = _lock(path)
        if handle is not None:
            os.close(handle)
            continue
        try:
            content = json.loads(path.read_text())
        except ValueError:
            continue  # it has just taken the lock and not yet written who it is
        alive.append(LiveWorker(int(path.stem), content["pid"], tuple(content["queues"])))
    return sorted(alive, key=lambda worker: worker.number)


@contextmanager
def dead_executors(state_folder: Path, candidates: set[str]) -> Iterator[list[str]]:
    """Yield those of the executor ids that no living worker holds, and keep others from taking them meanwhile."""
    held: list[int] = []
    dead: list[str] = []
    try:
        for path in _lease_files(state_folder):
            name = executor_id(int(path.stem))
            if name not in candidates:
                continue
            handle = _lock(path)
            if handle is not None:
                held.append(handle)
                dead.append(name)
        yield dead
    finally:
        for handle in held:
            os.close(handle)


def _lease_files(state_folder: Path) -> list[Path]:
    return [path for path in (state_folder / "workers").glob("*.lock") if path.stem.isdigit()]


def _lock(path: Path) -> int | None:
    """Return a handle that holds the file's lock, or None where another process holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
