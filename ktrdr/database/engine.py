"""Open the database with the settings that durable work needs."""

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event

from ktrdr.database.trouble import database_trouble
from ktrdr.errors import InvalidInput, WorkspaceUnusable

SQLITE_BUSY_TIMEOUT_MS = 30_000
# A machine that vanished answers nothing at all, not even a refusal: seconds to connect, milliseconds for an answer
# to what was sent.
CONNECT_TIMEOUT_S = 5
_POSTGRES_PATIENCE = {"connect_timeout": CONNECT_TIMEOUT_S, "tcp_user_timeout": 10_000}


@dataclass(frozen=True, slots=True)
class Database:
    """An open database. One engine serves operations and ledgers alike."""

    url: str
    engine: sa.Engine
    _others: list[sa.Engine] = field(default_factory=list)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a file on this machine."""
        return self.engine.dialect.name == "sqlite"

    def single_connection_engine(self, *, timeout_s: float) -> sa.Engine:
        """Return another engine on a PostgreSQL database: one connection, which is kept, and no transactions.

        A query that takes longer than `timeout_s` seconds, and a server that is silent for so long, are errors.
        """
        milliseconds = int(1000 * timeout_s)
        other = sa.create_engine(
            self.engine.url,
            isolation_level="AUTOCOMMIT",
            pool_size=1,
            max_overflow=0,
            pool_reset_on_return=None,  # so that what a session holds outlives a statement
            connect_args={
                "connect_timeout": max(2, int(timeout_s)),
                "tcp_user_timeout": milliseconds,
                "options": f"-c statement_timeout={milliseconds}",
            },
        )
        self._others.append(other)
        return other

    def close(self) -> None:
        """Give back all connections."""
        for engine in (self.engine, *self._others):
            engine.dispose()


def open_database(url: str) -> Database:
    """Open `sqlite:///PATH` or `postgresql+psycopg://…` and check that it answers.

    Raises:
        InvalidInput: The address is neither of the two.
        WorkspaceUnusable: The file or the server cannot be used.
    """
    try:
        address = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise InvalidInput(
            "KTRDR_DATABASE_URL: need sqlite:///PATH or postgresql+psycopg://…, was not an address"
        ) from None
    if address.drivername == "sqlite" and address.database:
        engine = _open_sqlite(address, Path(address.database))
    elif address.drivername == "postgresql+psycopg":
        engine = sa.create_engine(address, pool_size=10, pool_pre_ping=True, connect_args=_POSTGRES_PATIENCE)
    else:
        raise InvalidInput(
            f"KTRDR_DATABASE_URL: need sqlite:///PATH or postgresql+psycopg://…, was {address.drivername!r}"
        )
    try:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
    except sa.exc.SQLAlchemyError as error:
        trouble = database_trouble(error, address)
        engine.dispose()
        if trouble is None:
            raise
        raise trouble from error
    return Database(url, engine)


def _open_sqlite(address: sa.URL, path: Path) -> sa.Engine:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceUnusable(
            f"cannot create {path.parent}: {error.strerror}. "
            "Choose a folder that can be written: --workspace DIR or KTRDR_WORKSPACE."
        ) from error
    engine = sa.create_engine(address, pool_size=10, max_overflow=20)

    # DBOS sets these on the engines it makes itself; a shared engine loses its hook, so all are repeated here.
    @event.listens_for(engine, "connect")
    def set_pragmas(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = "IMMEDIATE"  # writers queue instead of failing half-way
        connection.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")  # safe with WAL against a killed process

    return engine
