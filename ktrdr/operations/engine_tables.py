"""DBOS's own tables, as far as we read them ourselves."""

import sqlalchemy as sa
from dbos._schemas.system_database import SystemSchema

from ktrdr.database.engine import Database

# Raised only when the order of a workflow's steps changes: running operations of another version are not taken up.
APPLICATION_VERSION = "1"
# The engine's index of what waits or runs is used only where its condition stands in the query word for word.
IN_FLIGHT = SystemSchema.workflow_status.c.status.in_([sa.literal_column("'ENQUEUED'"), sa.literal_column("'PENDING'")])


def operations_engine(database: Database) -> sa.Engine:
    """Return the engine for DBOS's tables, which live in a schema of their own on PostgreSQL only."""
    schema = None if database.is_sqlite else "dbos"
    return database.engine.execution_options(schema_translate_map={SystemSchema.metadata_obj.schema: schema})
