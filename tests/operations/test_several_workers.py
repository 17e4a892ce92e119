"""Workers that are paused, woken, cut off from their database or stopped, beside others that live."""

import signal
import subprocess
import sys
import threading
import time

import pytest
import sqlalchemy as sa
from laboratory import GRACE_S, Laboratory, is_alive

from ktrdr.errors import OperationFailed
from ktrdr.operations.leases import live_workers
from ktrdr.operations.operation import OperationStatus

MIGRATE = """
import sys
from ktrdr.database.engine import open_database
from ktrdr.operations.store import migrate_database
database = open_database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
migrate_database(database)
"""


@pytest.fixture
def laboratory(tmp_path, postgres_url):
    laboratory = Laboratory(tmp_path, postgres_url)
    yield laboratory
    laboratory.close()


def test_a_paused_and_woken_worker_overwrites_nothing_and_leaves(laboratory):
    first = laboratory.start_worker()
    # Its job goes on while it is paused, and has long answered when it wakes.
    operation_id = laboratory.enqueue(seconds=GRACE_S + 2)
    laboratory.wait_until(lambda: laboratory.runs())
    second = laboratory.start_worker()
    first.send_signal(signal.SIGSTOP)
    laboratory.wait_until(lambda: len(laboratory.runs()) == 2)
    old_job, new_job = laboratory.runs()
    laboratory.wait_until(lambda: not is_alive(old_job), timeout_s=5)
    assert laboratory.store.get(operation_id).status is OperationStatus.RUNNING
    assert laboratory.ownership.running() == {second.name: [operation_id]}
    first.send_signal(signal.SIGCONT)
    assert first.wait(timeout=5) == 1
    ended = laboratory.wait_for_end(operation_id)
    assert ended.result == {"answer": 42}
    (half,) = (laboratory.folder / "attempts").glob(f"{operation_id}_*/half.txt")
    assert half.read_text() == f"half-written by {new_job}"
    assert second.poll() is None
    assert [worker.executor_id for worker in laboratory.leases.workers()] == [second.name]


def test_a_job_of_a_woken_worker_dies_with_it(laboratory):
    first = laboratory.start_worker()
    operation_id = laboratory.enqueue(seconds=60)
    laboratory.wait_until(lambda: laboratory.runs())
    first.send_signal(signal.SIGSTOP)
    second = laboratory.start_worker(queues="cycles")
    laboratory.wait_until(lambda: laboratory.store.get(operation_id).status is OperationStatus.PENDING)
    first.send_signal(signal.SIGCONT)
    (job,) = laboratory.runs()
    laboratory.wait_until(lambda: not is_alive(job), timeout_s=2)
    assert first.wait(timeout=5) == 1
    assert second.poll() is None


def test_workers_go_on_when_their_database_was_away_for_longer_than_the_grace(laboratory, postgres_server):
    workers = [laboratory.start_worker(), laboratory.start_worker()]
    parent_id = laboratory.enqueue("toy_parent", queue="cycles", seconds=3 * GRACE_S)
    laboratory.wait_until(lambda: laboratory.runs())
    postgres_server.crash()
    time.sleep(2 * GRACE_S)
    postgres_server.start()
    assert laboratory.wait_for_end(parent_id).result == {"child": {"answer": 42}, "inner": "inner done"}
    assert len(laboratory.runs()) == 1
    time.sleep(2 * GRACE_S)  # long enough for one to give up the other
    assert [worker.executor_id for worker in live_workers(laboratory.leases)] == [worker.name for worker in workers]
    assert [worker.poll() for worker in workers] == [None, None]
    with laboratory.database.engine.connect() as connection:
        locks = sa.text("SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND classid = 7242102 ORDER BY objid")
        assert connection.execute(locks).scalars().all() == [1, 2]


def test_a_phase_of_a_dead_worker_is_taken_over_by_one_that_serves_cycles(laboratory):
    first = laboratory.start_worker()
    parent_id = laboratory.enqueue("toy_parent", queue="cycles", inner_seconds=2)
    laboratory.wait_until(lambda: laboratory.store.list(type="toy_inner", status=OperationStatus.RUNNING).operations)
    first.kill()
    compute = laboratory.start_worker(queues="compute")
    laboratory.wait_until(lambda: laboratory.ownership.waiting() == {"cycles": 1, "phases": 1})
    laboratory.start_worker(queues="cycles")
    assert laboratory.wait_for_end(parent_id).result["inner"] == "inner done"
    assert len(laboratory.runs()) == 1
    assert compute.poll() is None


def test_a_number_is_given_out_again_and_an_executor_id_never(laboratory):
    first, second = (laboratory.leases.lease(["cycles"], on_lost=lambda: None) for _ in range(2))
    assert first.gone({first.executor_id, second.executor_id, "worker-7-unheard-of"}) == {"worker-7-unheard-of"}
    first.release()  # in order: nobody waits for the grace
    assert second.gone({first.executor_id}) == {first.executor_id}
    third = laboratory.leases.lease(["compute"], on_lost=lambda: None)
    shown = [(worker.number, worker.executor_id, worker.queues) for worker in laboratory.leases.workers()]
    assert shown == [(1, third.executor_id, ("compute",)), (2, second.executor_id, ("cycles",))]
    assert third.executor_id != first.executor_id
    for lease in (second, third):
        lease.release()


def test_what_is_held_is_not_taken_over_meanwhile_and_what_was_taken_is_not_held(laboratory):
    laboratory.start_worker()
    operation_id = laboratory.enqueue(seconds=60)
    laboratory.wait_until(lambda: laboratory.runs())
    owner = laboratory.owner(operation_id)
    cancelling = threading.Thread(target=laboratory.store.cancel, args=(operation_id,))
    with laboratory.ownership.held(owner, operation_id):
        cancelling.start()
        cancelling.join(0.5)
        assert cancelling.is_alive()
        assert laboratory.store.get(operation_id).status is OperationStatus.RUNNING
    cancelling.join()
    with pytest.raises(OperationFailed, match="dropped"), laboratory.ownership.held(owner, operation_id):
        pytest.fail("an operation that was cancelled was held")
    assert not laboratory.ownership.write_attributes(owner, operation_id, {"progress": None})


def test_a_worker_runs_as_many_jobs_as_it_was_told_and_others_as_they_were(laboratory):
    laboratory.start_worker(concurrency=2)
    laboratory.start_worker(queues="compute")
    ids = [laboratory.enqueue(seconds=1) for _ in range(4)]
    laboratory.wait_until(lambda: len(laboratory.runs()) == 3)
    assert sorted(len(running) for running in laboratory.ownership.running().values()) == [1, 2]
    assert laboratory.ownership.waiting() == {"compute": 1}
    assert {laboratory.wait_for_end(operation_id).status for operation_id in ids} == {OperationStatus.COMPLETED}


def test_an_empty_database_is_migrated_once_by_however_many_start_at_once(tmp_path, postgres_server, request):
    name = postgres_server.new_database()
    request.addfinalizer(lambda: postgres_server.drop_database(name))
    url = postgres_server.url(name)
    command, pipe = [sys.executable, "-c", MIGRATE, url], subprocess.PIPE
    starters = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(4)]
    for starter in starters:
        assert starter.stdout.readline() == "ready\n"
    for starter in starters:
        starter.stdin.write("go\n")
        starter.stdin.flush()
    assert [(starter.communicate(timeout=60)[1], starter.returncode) for starter in starters] == [("", 0)] * 4
    laboratory = Laboratory(tmp_path, url)
    assert laboratory.store.list().operations == []
    laboratory.close()
