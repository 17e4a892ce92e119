"""One lock for all threads, processes and, over PostgreSQL, machines."""

import fcntl
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from ktrdr.database.engine import Database

_MIGRATION_KEY = 7242103
_MIGRATION_POLL_S = 0.1


@contextmanager
def migration_lock(database: Database) -> Iterator[None]:
    """Hold the right to change the database's tables, waiting for it."""
    if database.is_sqlite:
        with exclusive_lock(database, "migration"):
            yield
        return
    # Asked for again and again, in no transaction: one that waited inside the server would hold up the building of an
    # index (CREATE INDEX CONCURRENTLY), and with it the holder of the lock.
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.execute(sa.select(sa.func.pg_try_advisory_lock(_MIGRATION_KEY))).scalar():
            time.sleep(_MIGRATION_POLL_S)
        try:
            yield
        finally:
            connection.execute(sa.select(sa.func.pg_advisory_unlock(_MIGRATION_KEY)))


@contextmanager
def exclusive_lock(database: Database, name: str) -> Iterator[None]:
    """Hold the lock called `name`, waiting for it. It ends with the process at the latest."""
    if database.is_sqlite:
        handle = os.open(f"{database.engine.url.database}.{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
    else:
        with database.engine.begin() as connection:
            key = zlib.crc32(f"ktrdr:{name}".encode())
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
            yield
