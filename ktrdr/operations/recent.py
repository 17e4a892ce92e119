"""The newest ids of a workspace's own database, for the shell: without the engine, which takes seconds to import."""

import sqlite3
from contextlib import closing
from pathlib import Path

# The engine's table; `store.py` reads it in every other case.
_NEWEST = "SELECT workflow_uuid FROM workflow_status ORDER BY created_at DESC LIMIT ?"
_PATIENCE_S = 0.5


def recent_operation_ids(database: Path, limit: int) -> list[str]:
    """Return ids, newest first, and change nothing.

    Raises:
        sqlite3.Error: There is no such database, or it cannot be read now.
    """
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=_PATIENCE_S)) as connection:
        return [row[0] for row in connection.execute(_NEWEST, (limit,))]
