"""A page of operations is read from an index in its order: never all of them, sorted."""

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from ktrdr.clock import utc_now
from ktrdr.database.engine import open_database
from ktrdr.errors import NotFound
from ktrdr.operations.operation import OperationStatus
from ktrdr.operations.store import OperationStore, migrate_database

NEVER = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path):
    database = open_database(f"sqlite:///{tmp_path / 'state.sqlite'}")
    migrate_database(database)
    yield OperationStore(database, utc_now), database.engine
    database.close()


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda store: store.list(), "workflow_status_created_at_index"),
        (lambda store: store.list(since=NEVER, until=NEVER), "workflow_status_created_at_index"),
        (lambda store: store.list(type="training"), "ktrdr_operations_by_type"),
        (lambda store: store.list(status=OperationStatus.FAILED), "ktrdr_operations_by_status"),
        (
            lambda store: store.list(type="training", status=OperationStatus.PENDING),
            "ktrdr_operations_by_type_and_status",
        ),
        (lambda store: store.active("training"), "ktrdr_operations_by_type_and_status"),
        (lambda store: store.list(parent_id="op_x"), "idx_workflow_status_parent_workflow_id"),
        (lambda store: store.resolve("abcdef"), "ktrdr_operations_by_id_suffix"),
    ],
)
def test_every_way_of_listing_has_its_index(store, ask, index):
    operations, engine = store
    asked = []
    sa.event.listen(engine, "before_cursor_execute", lambda *event: asked.append(event[2:4]))
    try:
        ask(operations)
    except NotFound:
        pass
    statement, parameters = asked[-1]
    with engine.connect() as connection:
        plan = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    assert f"INDEX {index} " in plan[0] + " "
