"""Open the database with the settings that durable work needs."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event

from ktrdr.database.trouble import database_trouble
from ktrdr.errors import InvalidInput, WorkspaceUnusable

SQLITE_BUSY_TIMEOUT_MS = 30_000
# A machine that vanished answers nothing at all, not even a refusal: seconds to connect, milliseconds for an answer
# to what was sent.
_POSTGRES_PATIENCE = {"connect_timeout": 5, "tcp_user_timeout": 10_000}


@dataclass(frozen=True, slots=True)
class Database:
    """An open database. One engine serves operations and ledgers alike."""

    url: str
    engine: sa.Engine

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a file on this machine."""
        return self.engine.dialect.name == "sqlite"

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()


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
