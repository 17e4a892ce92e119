"""Who works: a worker holds a number and an executor id, and others can tell whether it is gone for good.

Here is what both databases share, and the leases of one machine; those over PostgreSQL are `postgres_leases`.
"""

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from ktrdr import __version__
from ktrdr.clock import utc_now
from ktrdr.errors import WorkspaceUnusable

MAX_WORKERS = 256
_LOSSES_KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker as the others see it. A `last_seen` too long ago means that it is dead, paused or cut off."""

    executor_id: str
    number: int
    host: str
    pid: int
    queues: tuple[str, ...]
    version: str
    last_seen: datetime
    is_alive: bool


class WorkerLease(Protocol):
    """What a working process holds. Its executor id is never given out again: work of a lost one can be told apart."""

    @property
    def executor_id(self) -> str:
        """Return the name under which the engine knows this worker."""
        ...

    @property
    def is_lost(self) -> bool:
        """Whether others have declared this worker dead. It is to leave at once."""
        ...

    def gone(self, executors: set[str]) -> set[str]:
        """Return those of the executors whose workers are gone for good, so that their work may be taken over."""
        ...

    def release(self) -> None:
        """Give the number back: what this worker still runs may be taken over at once."""
        ...


class WorkerLeases(Protocol):
    """All the workers of one database."""

    def lease(self, queues: Sequence[str], *, on_lost: Callable[[], None]) -> WorkerLease:
        """Take the lowest number that nobody holds.

        Args:
            queues: Which queues the worker serves.
            on_lost: Called once, from another thread, when others have declared this worker dead.

        Raises:
            WorkspaceUnusable: The place of the leases cannot be used, or all numbers are taken.
        """
        ...

    def workers(self) -> list[WorkerInfo]:
        """Return the workers that have not been given up, by number."""
        ...

    def count_lost(self, within: timedelta) -> int:
        """Return how many workers died lately without giving their number back."""
        ...


def live_workers(leases: WorkerLeases) -> list[WorkerInfo]:
    """Return the workers that live at this moment."""
    return [worker for worker in leases.workers() if worker.is_alive]


def new_executor_id(number: int) -> str:
    """Return an executor id that no worker had before."""
    return f"{_name_of_number(number)}-{secrets.token_hex(4)}"


def worker_name(executor_id: str) -> str:
    """Return the name that a worker shares with those that had its number before: `worker-3`."""
    return executor_id.rpartition("-")[0]


def _name_of_number(number: int) -> str:
    return f"worker-{number}"


def all_numbers_taken() -> WorkspaceUnusable:
    """Return the error for a worker that finds no free number."""
    return WorkspaceUnusable(f"all {MAX_WORKERS} worker numbers are taken; stop some workers")


@dataclass(frozen=True, slots=True)
class _Holder:
    """What the holder of a lock writes into its file."""

    executor_id: str
    host: str
    pid: int
    queues: list[str]
    version: str


@dataclass(frozen=True, slots=True)
class FileLease:
    """A lock on a file. The kernel drops it when the process dies, and never while it is paused: it cannot be lost."""

    executor_id: str
    is_lost: bool
    _leases: "FileLeases"
    _handle: int

    def gone(self, executors: set[str]) -> set[str]:
        """Return those of the executors that hold no lock now."""
        holders = self._leases.holders()
        living = {holder.executor_id for holder in holders.values() if holder is not None}
        # Of a lock that is held by somebody whose words are damaged, the number alone tells whose it may be.
        nameless = {_name_of_number(number) for number, holder in holders.items() if holder is None}
        return {each for each in executors - living if worker_name(each) not in nameless}

    def release(self) -> None:
        """Give the number back; the kernel does the same when the process dies, and the file then names the dead."""
        os.ftruncate(self._handle, 0)
        os.close(self._handle)


class FileLeases:
    """Exclusive locks on files `<state folder>/workers/<number>.lock`: the workers of one machine."""

    def __init__(self, state_folder: Path) -> None:
        self._folder = state_folder / "workers"

    def lease(self, queues: Sequence[str], *, on_lost: Callable[[], None]) -> FileLease:
        """Take the lowest number that nobody holds. `on_lost` is never called.

        Raises:
            WorkspaceUnusable: The folder cannot be written, or all numbers are taken.
        """
        del on_lost
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for number in range(1, MAX_WORKERS + 1):
                handle = _lock(self._folder / f"{number}.lock", fcntl.LOCK_EX)
                if handle is None:
                    continue
                self._note_losses([self._folder / f"{number}.lock"])
                holder = _Holder(new_executor_id(number), socket.gethostname(), os.getpid(), [*queues], __version__)
                os.ftruncate(handle, 0)
                os.pwrite(handle, json.dumps(asdict(holder)).encode(), 0)
                self._forget_losses()
                return FileLease(holder.executor_id, False, self, handle)
        except OSError as error:
            raise WorkspaceUnusable(
                f"a worker cannot write {self._folder}: {error.strerror}. Check who owns the folder, or name another "
                "workspace with --workspace."
            ) from error
        raise all_numbers_taken()

    def workers(self) -> list[WorkerInfo]:
        """Return the workers that hold a lock at this moment and say who they are, by number."""
        return [
            WorkerInfo(
                holder.executor_id,
                number,
                holder.host,
                holder.pid,
                tuple(holder.queues),
                holder.version,
                last_seen=utc_now(),
                is_alive=True,
            )
            for number, holder in sorted(self.holders().items())
            if holder is not None
        ]

    def holders(self) -> dict[int, _Holder | None]:
        """Return who holds each number's lock at this moment; None where the file does not say it, or not yet."""
        return {int(path.stem): _named_in(path) for path in self._lock_files() if _is_held(path)}

    def count_lost(self, within: timedelta) -> int:
        """Return how many workers died lately: since when they are noticed, by whoever looks or takes their number."""
        self._note_losses(path for path in self._lock_files() if not _is_held(path))
        since = (utc_now() - within).timestamp()
        return sum(_noticed_at(path) >= since for path in self._folder.glob("*.lost"))

    def _lock_files(self) -> Iterator[Path]:
        return (path for path in self._folder.glob("*.lock") if path.stem.isdigit())

    def _note_losses(self, free: Iterable[Path]) -> None:
        """Leave a mark for everybody whom a file that is nobody's still names."""
        for path in free:
            dead = _named_in(path)
            if dead is not None:
                with suppress(FileExistsError):  # its time is that of the first who noticed
                    (self._folder / f"{dead.executor_id}.lost").touch(exist_ok=False)

    def _forget_losses(self) -> None:
        """Remove old marks, but for those that would be made anew."""
        before = (utc_now() - _LOSSES_KEPT).timestamp()
        named = {holder.executor_id for path in self._lock_files() if (holder := _named_in(path))}
        for path in self._folder.glob("*.lost"):
            if path.stem not in named and _noticed_at(path) < before:
                path.unlink(missing_ok=True)


def _is_held(path: Path) -> bool:
    handle = _lock(path, fcntl.LOCK_SH)  # shared: two who look at once must not take each other for a worker
    if handle is None:
        return True
    os.close(handle)
    return False


def _named_in(path: Path) -> _Holder | None:
    try:
        return _Holder(**json.loads(path.read_bytes()))
    except (ValueError, TypeError):
        return None


def _noticed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another worker has just removed it
        return 0.0


def _lock(path: Path, kind: int) -> int | None:
    """Return a handle that holds the file's lock, or None where another process stands in the way."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
