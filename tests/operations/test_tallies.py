"""Every end of an operation is told once: of what is stored, of what ends meanwhile, and of what goes on after it."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from dbos._schemas.system_database import SystemSchema
from test_revival import revive

from ktrdr.clock import epoch_ms, utc_now
from ktrdr.operations.engine_tables import operations_engine
from ktrdr.operations.pruning import OperationPruner
from ktrdr.operations.stalls import STALL_S, StallWatch
from ktrdr.operations.store import OperationStore
from ktrdr.operations.tallies import OVERLAP_MS, ActiveOperation, EndFeed


def new_feed(laboratory, clock=utc_now):
    return EndFeed(laboratory.database, clock, metadata_keys=["purpose"], measured_types=["toy_job"])


def counted(ends):
    return Counter((end.type, end.status.value, end.reason) for end in ends)


def test_all_ends_are_told_once_also_of_what_goes_on_after_its_end_and_by_whoever_starts_later(any_laboratory):
    laboratory = any_laboratory
    feed = new_feed(laboratory)
    told, takeovers = [], 0

    def read():
        nonlocal takeovers
        reading = feed.read()
        told.extend(reading.ends)
        takeovers += reading.takeovers
        return reading

    assert read().ends == []
    laboratory.start_worker()
    failing = laboratory.enqueue("toy_parent", queue="cycles", behaviour="fail_once")
    laboratory.wait_for_end(failing)
    read()
    assert read().ends == []
    assert counted(told) == {("toy_parent", "failed", "toy_reason"): 1, ("toy_job", "failed", "toy_reason"): 1}
    revive(laboratory, failing)
    late = new_feed(laboratory)  # starts while they go on: their first ends are told, and nothing else
    assert counted(late.read().ends) == counted(told)
    laboratory.wait_for_end(failing)
    killed = laboratory.enqueue(behaviour="kill_worker", seconds=0.2)
    laboratory.workers[0].wait()
    active = read().active
    assert [(each.operation_id, each.waiting_since_ms) for each in active] == [(killed, None)]
    laboratory.start_worker()
    laboratory.wait_until(lambda: len(laboratory.runs()) >= 4)
    laboratory.store.cancel(killed)
    read()
    assert counted(told) == {
        ("toy_parent", "failed", "toy_reason"): 1,
        ("toy_parent", "completed", None): 1,
        ("toy_job", "failed", "toy_reason"): 1,
        ("toy_job", "completed", None): 1,
        ("toy_inner", "completed", None): 1,
        ("toy_job", "cancelled", None): 1,
    }
    assert [end.is_first for end in told if end.operation_id == failing] == [True, False]
    assert all(end.created_at_ms <= end.ended_at_ms for end in told)
    assert counted([*late.read().ends, *new_feed(laboratory).read().ends]) - counted(told) == (
        counted(told) - Counter({("toy_parent", "failed", "toy_reason"): 1, ("toy_job", "failed", "toy_reason"): 1})
    )
    assert takeovers == new_feed(laboratory).read().takeovers >= 1
    assert laboratory.leases.count_lost(timedelta(hours=1)) == 1


@pytest.fixture
def stored(laboratory):
    """A function that stores an ended operation as the engine would have."""

    def store(number, ended_at, status="SUCCESS"):
        operation_id = laboratory.store.enqueue("toy_job", queue="none", payload={}, metadata={}).operation_id
        table = SystemSchema.workflow_status
        with operations_engine(laboratory.database).begin() as connection:
            connection.execute(
                sa.update(table)
                .where(table.c.workflow_uuid == operation_id)
                .values(status=status, completed_at=epoch_ms(ended_at) + number)
            )
        return operation_id

    return store


def test_clocks_that_jump_and_rows_that_are_removed_change_nothing_that_was_told(laboratory, stored):
    now = datetime(2026, 6, 1, tzinfo=UTC)
    feed = new_feed(laboratory, lambda: now)
    for number in range(20):
        stored(number, now - timedelta(days=20 - number))
    waiting = laboratory.store.enqueue("toy_job", queue="none", payload={}, metadata={}).operation_id
    assert len(feed.read().ends) == 20
    stored(0, now + timedelta(days=30))  # of a machine whose clock is ahead
    assert len(feed.read().ends) == 1
    stored(1, now - timedelta(milliseconds=OVERLAP_MS / 2))  # committed late
    assert len(feed.read().ends) == 1
    table = SystemSchema.workflow_status
    with operations_engine(laboratory.database).begin() as connection:  # it ends on a clock that was set back
        connection.execute(
            sa.update(table)
            .where(table.c.workflow_uuid == waiting)
            .values(status="CANCELLED", completed_at=epoch_ms(now - timedelta(days=2)))
        )
    assert [end.operation_id for end in feed.read().ends] == [waiting]
    pruner = OperationPruner(laboratory.database, OperationStore(laboratory.database, utc_now))
    assert len(pruner.prune(now - timedelta(days=1), dry_run=False).operation_ids) > 10
    asked = []
    sa.event.listen(laboratory.database.engine, "before_cursor_execute", lambda *event: asked.append(event[2:4]))
    assert feed.read().ends == []
    with laboratory.database.engine.connect() as connection:  # however much is stored, none of it is walked through
        for statement, parameters in [each for each in asked if each[0].startswith("SELECT")]:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            assert not any(row[-1].startswith("SCAN") for row in plan)


def test_a_stall_is_an_absent_worker_or_a_long_silence_but_no_long_queue():
    def active(name, parent=None, executor="worker-1-a", said=0):
        return ActiveOperation(name, "toy", parent, "q", executor, None if executor else 0, True, {"progress": said})

    watch = StallWatch()

    def stalled(now_s, *operations):
        return {each.operation_id for each in watch.stalled(operations, {"worker-1-a"}, now_s)}

    lost = active("lost", executor="worker-2-b")
    family = [active("cycle"), active("training", "cycle")]
    queued = [active("patient"), active("waiting", "patient", executor=None)]
    assert stalled(0, lost, *family, *queued) == {"lost"}
    family = [active("cycle"), active("training", "cycle", said=1)]
    assert stalled(STALL_S, *family, *queued) == set()
    assert stalled(STALL_S + 1, *family, *queued) == set()
    assert stalled(2 * STALL_S + 1, *family, *queued) == {"cycle", "training"}
