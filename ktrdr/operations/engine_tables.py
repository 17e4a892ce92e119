"""The engine's tables: how they are reached, and indexes of ours. It lists by its own status, we by type and ours."""

import sqlalchemy as sa
from dbos._schemas.system_database import SystemSchema

from ktrdr.database.engine import Database
from ktrdr.operations.operation import OperationStatus

# Raised only when the order of a workflow's steps changes: running operations of another version are not taken up.
APPLICATION_VERSION = "3"
POLL_TIMEOUT_S = 10.0
# The engine's index of what waits or runs is used only where its condition stands in the query word for word.
IN_FLIGHT = SystemSchema.workflow_status.c.status.in_([sa.literal_column("'ENQUEUED'"), sa.literal_column("'PENDING'")])
STATUS_BY_ENGINE_STATUS = {
    "ENQUEUED": OperationStatus.PENDING,
    "DELAYED": OperationStatus.PENDING,
    "PENDING": OperationStatus.RUNNING,
    "SUCCESS": OperationStatus.COMPLETED,
    "ERROR": OperationStatus.FAILED,
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": OperationStatus.FAILED,
    "CANCELLED": OperationStatus.CANCELLED,
}
# Expressions are literal text, in the index and in the query: a parameter is not the same words. With one value to
# be equal to, both databases read a page in its order from the index; with a list they read all and sort.
_CASES = " ".join(f"WHEN '{name}' THEN '{status}'" for name, status in STATUS_BY_ENGINE_STATUS.items())
_STATUS = f"CASE status {_CASES} END"
_ID_SUFFIX = "substr(workflow_uuid, length(workflow_uuid) - 5)"
STATUS, ID_SUFFIX = sa.literal_column(_STATUS, sa.Text), sa.literal_column(_ID_SUFFIX, sa.Text)
_INDEXES = {
    "ktrdr_operations_by_type": "(name, created_at)",
    "ktrdr_operations_by_status": f"(({_STATUS}), created_at)",
    "ktrdr_operations_by_type_and_status": f"(name, ({_STATUS}), created_at)",
    "ktrdr_operations_by_id_suffix": f"(({_ID_SUFFIX}))",
}
# Only so does PostgreSQL find by the beginning of a text, whatever its collation.
_POSTGRES_INDEXES = {"ktrdr_operations_by_id_prefix": "(workflow_uuid text_pattern_ops)"}


def operations_engine(database: Database) -> sa.Engine:
    """Return an engine for statements over `SystemSchema`."""
    return _with_schema(database.engine, is_sqlite=database.is_sqlite)


def polling_engine(database: Database) -> sa.Engine:
    """Return an engine for what is asked many times a second: on PostgreSQL one without transactions and checks."""
    if database.is_sqlite:
        return operations_engine(database)
    return _with_schema(database.single_connection_engine(timeout_s=POLL_TIMEOUT_S), is_sqlite=False)


def status_literal(status: OperationStatus) -> sa.ColumnElement[str]:
    """Return what `STATUS` is compared with."""
    return sa.literal_column(f"'{status.value}'", sa.Text)


def create_indexes(database: Database) -> None:
    """Create what is missing. Safe when several processes start at once; the engine's migrations do not mind."""
    with database.engine.begin() as connection:
        table, indexes = "workflow_status", _INDEXES
        if not database.is_sqlite:
            table, indexes = "dbos.workflow_status", {**_INDEXES, **_POSTGRES_INDEXES}
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7242104)"))
        for name, columns in indexes.items():
            connection.exec_driver_sql(f"CREATE INDEX IF NOT EXISTS {name} ON {table} {columns}")


def _with_schema(engine: sa.Engine, *, is_sqlite: bool) -> sa.Engine:
    # They live in a schema of their own on PostgreSQL only.
    return engine.execution_options(
        schema_translate_map={SystemSchema.metadata_obj.schema: None if is_sqlite else "dbos"}
    )
