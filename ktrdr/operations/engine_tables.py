"""DBOS's own tables, as far as we read them ourselves."""

import sqlalchemy as sa
from dbos._schemas.system_database import SystemSchema

from ktrdr.database.engine import Database

# Raised only when the order of a workflow's steps changes: running operations of another version are not taken up.
APPLICATION_VERSION = "2"
POLL_TIMEOUT_S = 10.0
# The engine's index of what waits or runs is used only where its condition stands in the query word for word.
IN_FLIGHT = SystemSchema.workflow_status.c.status.in_([sa.literal_column("'ENQUEUED'"), sa.literal_column("'PENDING'")])


def operations_engine(database: Database) -> sa.Engine:
    """Return the engine for DBOS's tables."""
    return _with_schema(database.engine, is_sqlite=database.is_sqlite)


def polling_engine(database: Database) -> sa.Engine:
    """Return an engine for what is asked many times a second: on PostgreSQL one without transactions and checks."""
    if database.is_sqlite:
        return operations_engine(database)
    return _with_schema(database.single_connection_engine(timeout_s=POLL_TIMEOUT_S), is_sqlite=False)


def _with_schema(engine: sa.Engine, *, is_sqlite: bool) -> sa.Engine:
    # They live in a schema of their own on PostgreSQL only.
    return engine.execution_options(
        schema_translate_map={SystemSchema.metadata_obj.schema: None if is_sqlite else "dbos"}
    )
