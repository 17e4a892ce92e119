"""Wait for a database, or a shared store, that went away: work of hours must not be lost to a restart of a minute."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TypeVar

import psycopg
import sqlalchemy as sa

from ktrdr.errors import ArtifactsUnavailable

PATIENCE_S = 3600.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0
# Connection trouble, and a server that is starting, stopping or was told to end the session.
_LOST_CLASSES = ("08", "57P")

T = TypeVar("T")
_logger = logging.getLogger(__name__)


def is_connection_lost(error: sa.exc.SQLAlchemyError) -> bool:
    """Whether PostgreSQL could not be asked, so that asking again may help. Never so for a file."""
    if isinstance(error, sa.exc.TimeoutError):
        return True  # all connections are busy with waiting for an answer
    origin = error.orig if isinstance(error, sa.exc.DBAPIError) else None
    if not isinstance(origin, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    return origin.sqlstate is None or origin.sqlstate.startswith(_LOST_CLASSES)


async def patiently(function: Callable[[], T]) -> T:
    """Run a blocking function in a thread, again and again until database and shared store answer.

    That is an hour at most for the database, and for the store as long as its error says. It may be called again
    after it failed half-way. For workers: whoever answers a request says at once that it cannot.
    """
    began, pause_s = time.monotonic(), _FIRST_PAUSE_S
    while True:
        try:
            return await asyncio.to_thread(function)
        except sa.exc.SQLAlchemyError as error:
            if not is_connection_lost(error) or time.monotonic() - began > PATIENCE_S:
                raise
            _logger.warning("waiting for the database: %s", str(error.__cause__ or error).splitlines()[0])
        except ArtifactsUnavailable as error:
            if time.monotonic() - began > error.patience_s:
                raise
            _logger.warning("waiting for the shared store: %s", error.message)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
