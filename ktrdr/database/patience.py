"""What to do while the database is away: wait, since whoever works has nothing better to do."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import psycopg
import sqlalchemy as sa

RETRY_INTERVAL_S = 0.5
# Connection trouble, and a server that is starting, stopping or was told to end the session.
_LOST_CLASSES = ("08", "57P")

T = TypeVar("T")


def is_connection_lost(error: sa.exc.SQLAlchemyError) -> bool:
    """Whether PostgreSQL could not be asked, so that asking again may help. Never so for a file."""
    if isinstance(error, sa.exc.TimeoutError):
        return True  # all connections are busy with waiting for an answer
    origin = error.orig if isinstance(error, sa.exc.DBAPIError) else None
    if not isinstance(origin, psycopg.OperationalError):
        return False
    return origin.sqlstate is None or origin.sqlstate.startswith(_LOST_CLASSES)


async def patiently(function: Callable[[], T]) -> T:
    """Run a blocking function in a thread, again and again as long as the database is away. It must be repeatable."""
    while True:
        try:
            return await asyncio.to_thread(function)
        except sa.exc.SQLAlchemyError as error:
            if not is_connection_lost(error):
                raise
        await asyncio.sleep(RETRY_INTERVAL_S)
