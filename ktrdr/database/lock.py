"""One lock for all threads, processes and, over PostgreSQL, machines."""

import fcntl
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from ktrdr.database.engine import Database


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
