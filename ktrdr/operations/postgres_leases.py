"""Who works, over PostgreSQL: a row with a heartbeat by the database's clock, and a lock on the number.

A worker lives as long as its row does. Whoever finds the heartbeat older than the grace removes the row, in one
statement that fails if the heartbeat comes first; so either the worker beats in time and keeps its work, or it finds
no row and leaves. See decision 0007.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from ktrdr import __version__
from ktrdr.database.engine import Database
from ktrdr.database.tables import lost_workers
from ktrdr.database.tables import workers as table
from ktrdr.errors import WorkspaceUnusable
from ktrdr.operations.leases import (
    MAX_WORKERS,
    FileLeases,
    WorkerInfo,
    WorkerLeases,
    all_numbers_taken,
    new_executor_id,
)

# All workers beat alike, whatever grace each was given: the impatient must not bury the patient.
HEARTBEAT_INTERVAL_S = 1.0
_BEATS_PER_GRACE = 5
_LOSSES_KEPT = timedelta(days=1)
_LOCK_SPACE = 7242102
_NOW = sa.func.clock_timestamp()
# While the database was down nobody could beat: silence counts from its start on.
_SILENCE = _NOW - sa.func.greatest(table.c.heartbeat_at, sa.func.pg_postmaster_start_time())
_logger = logging.getLogger(__name__)


def worker_leases(database: Database, state_folder: Path, *, grace_s: float) -> WorkerLeases:
    """Return the leases that fit the database: a file on this machine, or a server that several machines share."""
    return FileLeases(state_folder) if database.is_sqlite else PostgresLeases(database, grace_s=grace_s)


class PostgresLeases:
    """The workers of one PostgreSQL database, on however many machines.

    `grace_s`: how long a worker may be silent before others take its work.
    """

    def __init__(self, database: Database, *, grace_s: float) -> None:
        self._database = database
        self._grace_s = grace_s

    def lease(self, queues: Sequence[str], *, on_lost: Callable[[], None]) -> "PostgresLease":
        """Take the lowest number that nobody holds, and begin to beat.

        Raises:
            WorkspaceUnusable: The database does not answer, or all numbers are taken.
        """
        engine = self._database.single_connection_engine(timeout_s=self._grace_s)
        try:
            with engine.connect() as connection:
                taken = _take_number(connection, queues)
        except sa.exc.DBAPIError as error:
            engine.dispose()
            raise WorkspaceUnusable(f"a worker cannot register in the database: {error.orig}") from error
        if taken is None:
            engine.dispose()
            raise all_numbers_taken()
        return PostgresLease(self._database, engine, _Holding(*taken, self._grace_s, on_lost))

    def workers(self) -> list[WorkerInfo]:
        """Return the workers that have not been given up, by number; none where nobody has migrated the database."""
        query = sa.select(table, (_SILENCE < _seconds(self._grace_s)).label("is_alive")).order_by(table.c.number)
        with self._database.engine.connect() as connection:
            if connection.execute(sa.select(sa.func.to_regclass(table.name))).scalar() is None:
                return []
            rows = connection.execute(query).mappings().all()
        return [
            WorkerInfo(
                row["executor_id"],
                row["number"],
                row["host"],
                row["pid"],
                tuple(row["queues"].split(",")),
                row["version"],
                row["heartbeat_at"],
                row["is_alive"],
            )
            for row in rows
        ]

    def count_lost(self, within: timedelta) -> int:
        """Return how many workers were given up lately, or are silent for long enough to be."""
        span = _seconds(within.total_seconds())
        buried = sa.select(sa.func.count()).where(lost_workers.c.lost_at > _NOW - span)
        silent = sa.select(sa.func.count()).where(_SILENCE >= _seconds(self._grace_s), _SILENCE < span)
        with self._database.engine.connect() as connection:
            return int(connection.execute(buried).scalar_one()) + int(connection.execute(silent).scalar_one())


@dataclass(frozen=True, slots=True)
class _Holding:
    """What a worker has leased, and on what terms."""

    number: int
    executor_id: str
    grace_s: float
    on_lost: Callable[[], None]


class PostgresLease:
    """One worker's row and lock, and the thread that keeps them on a connection of its own."""

    def __init__(self, database: Database, engine: sa.Engine, holding: _Holding) -> None:
        self.executor_id = holding.executor_id
        self._database = database
        self._engine = engine
        self._number = holding.number
        self._grace_s = holding.grace_s
        self._on_lost = holding.on_lost
        self._is_lost = threading.Event()
        self._released = threading.Event()
        self._has_lock = True
        self._beating = threading.Thread(target=self._beat_until_released, name="ktrdr-heartbeat", daemon=True)
        self._beating.start()

    @property
    def is_lost(self) -> bool:
        """Whether others have declared this worker dead."""
        return self._is_lost.is_set()

    def gone(self, executors: set[str]) -> set[str]:
        """Return those of the executors whose workers are gone; bury those that have been silent for too long."""
        grace = _seconds(self._grace_s)
        me = table.alias("me")
        # Whoever was cut off itself, or has just begun, cannot tell who is silent from who was cut off with it.
        i_am_steady = sa.exists().where(me.c.executor_id == self.executor_id, _NOW - me.c.steady_since > grace)
        bury = sa.delete(table).where(_SILENCE > grace, i_am_steady).returning(table.c.executor_id)
        with self._database.engine.begin() as connection:
            for buried in connection.execute(bury).scalars().all():
                _logger.warning("worker %s has been silent for %g s and is given up", buried, self._grace_s)
                connection.execute(sa.insert(lost_workers).values(executor_id=buried, lost_at=_NOW))
                connection.execute(sa.delete(lost_workers).where(lost_workers.c.lost_at < _NOW - _LOSSES_KEPT))
            present = {*connection.execute(sa.select(table.c.executor_id)).scalars()}
        return executors - present

    def release(self) -> None:
        """Give the number back."""
        self._released.set()
        self._beating.join(timeout=self._grace_s)
        # Where the database does not answer, the row is buried after the grace.
        with suppress(sa.exc.SQLAlchemyError), self._engine.connect() as connection:
            connection.execute(sa.delete(table).where(table.c.executor_id == self.executor_id))
        self._engine.dispose()

    def _beat_until_released(self) -> None:
        interval_s = min(HEARTBEAT_INTERVAL_S, self._grace_s / _BEATS_PER_GRACE)
        was_cut_off = False
        while not self._released.wait(interval_s):
            try:
                still_ours = self._beat()
            except sa.exc.SQLAlchemyError as error:
                if not was_cut_off:
                    _logger.warning("the database does not answer; trying again: %s", error)
                # What the pool holds is dead, and the lock died with it.
                self._engine.dispose()
                was_cut_off, self._has_lock = True, False
                continue
            if was_cut_off:
                _logger.warning("the database answers again; going on as %s", self.executor_id)
                was_cut_off = False
            if not still_ours:
                self._is_lost.set()
                self._on_lost()
                return

    def _beat(self) -> bool:
        """Renew the heartbeat. Returns False if there is none to renew: others have given this worker up."""
        was_silent = _NOW - table.c.heartbeat_at > _seconds(self._grace_s)
        renew = (
            sa.update(table)
            .where(table.c.executor_id == self.executor_id)
            .values(heartbeat_at=_NOW, steady_since=sa.case((was_silent, _NOW), else_=table.c.steady_since))
        )
        with self._engine.connect() as connection:
            if connection.execute(renew).rowcount == 0:
                return False
            if not self._has_lock:
                # Until the server notices that the old connection is dead, its lock stands; the row keeps the number.
                self._has_lock = _try_lock(connection, self._number)
        return True


def _take_number(connection: sa.Connection, queues: Sequence[str]) -> tuple[int, str] | None:
    """Return the lowest free number and its executor id, both now this process's; None where all are taken."""
    for number in range(1, MAX_WORKERS + 1):
        if not _try_lock(connection, number):
            continue
        executor_id = new_executor_id(number)
        if _add_row(connection, number, executor_id, queues):
            return number, executor_id
        # A worker that has just lost its connection: the number is still its own.
        connection.execute(sa.select(sa.func.pg_advisory_unlock(_LOCK_SPACE, number)))
    return None


def _add_row(connection: sa.Connection, number: int, executor_id: str, queues: Sequence[str]) -> bool:
    """Return whether the number was free, and is now this process's."""
    columns = {
        "executor_id": executor_id,
        "number": number,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "queues": ",".join(queues),
        "version": __version__,
    }
    present = sa.exists().where(table.c.number == number)
    values = sa.select(*(sa.literal(value) for value in columns.values()), _NOW, _NOW, _NOW).where(~present)
    names = [*columns, "started_at", "heartbeat_at", "steady_since"]
    added = sa.insert(table).from_select(names, values).returning(table.c.number)
    return connection.execute(added).one_or_none() is not None


def _try_lock(connection: sa.Connection, number: int) -> bool:
    return bool(connection.execute(sa.select(sa.func.pg_try_advisory_lock(_LOCK_SPACE, number))).scalar())


def _seconds(seconds: float) -> sa.ColumnElement[object]:
    return sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)
