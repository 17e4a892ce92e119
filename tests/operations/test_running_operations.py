"""Operations on real worker processes, real databases and real jobs, some of them killed."""

import resource
import signal
import time

import pytest
from laboratory import is_alive

from ktrdr.errors import Conflict, InvalidInput, NotFound
from ktrdr.operations.leases import live_workers
from ktrdr.operations.operation import OperationStatus
from ktrdr.telemetry.log_files import read_log


def test_an_operation_tells_its_whole_story(laboratory):
    operation_id = laboratory.enqueue(seconds=1.2)
    waiting = laboratory.store.get(operation_id)
    assert (waiting.status, waiting.started_at, waiting.progress.percentage) == (OperationStatus.PENDING, None, 0.0)
    laboratory.start_worker()
    laboratory.wait_until(lambda: laboratory.store.get(operation_id).progress.percentage == 50.0)
    assert laboratory.store.get(operation_id).progress.current_step == "half-way"
    ended = laboratory.wait_for_end(operation_id)
    assert ended.status is OperationStatus.COMPLETED
    assert ended.result == {"answer": 42}
    assert ended.metadata == {"purpose": "test"}
    assert ended.created_at <= ended.started_at < ended.completed_at
    assert ended.duration_seconds == pytest.approx(1.6, abs=1.4)
    assert ended.error is None


def test_failures_keep_the_reason_and_hide_what_an_exception_said(laboratory):
    laboratory.start_worker()
    errors = {
        behaviour: laboratory.wait_for_end(laboratory.enqueue(behaviour=behaviour)).error
        for behaviour in ("fail", "break", "die")
    }
    assert (errors["fail"].reason, errors["fail"].message) == ("toy_reason", "need a reason, was none")
    assert errors["break"].reason == "internal_error"
    assert "secret" not in errors["break"].message
    assert errors["die"].reason == "process_died"
    assert "exit code 7" in errors["die"].message


def test_cancelling_a_parent_kills_the_job_of_its_child_within_a_second(any_laboratory):
    laboratory = any_laboratory
    laboratory.start_worker()
    parent_id = laboratory.enqueue("toy_parent", queue="cycles", seconds=60)
    laboratory.wait_until(lambda: laboratory.runs())
    (pid,) = laboratory.runs()
    asked = time.monotonic()
    assert laboratory.store.cancel(parent_id).status is OperationStatus.CANCELLED
    laboratory.wait_until(lambda: not is_alive(pid), timeout_s=1.0)
    assert time.monotonic() - asked < 1.0
    children = laboratory.store.children(parent_id)
    assert [child.status for child in children] == [OperationStatus.CANCELLED]
    laboratory.wait_until(lambda: not list((laboratory.folder / "attempts").iterdir()))
    assert laboratory.store.cancel(parent_id).status is OperationStatus.CANCELLED
    assert children[0].completed_at is not None


def test_a_killed_worker_takes_its_job_along_and_the_next_one_finishes_the_work_once(
    any_laboratory,
):
    laboratory = any_laboratory
    worker = laboratory.start_worker()
    parent_id = laboratory.enqueue("toy_parent", queue="cycles", seconds=1.5)
    laboratory.wait_until(lambda: laboratory.runs())
    worker.kill()
    (pid,) = laboratory.runs()
    laboratory.wait_until(lambda: not is_alive(pid), timeout_s=1.0)
    assert laboratory.store.get(parent_id).status is OperationStatus.RUNNING
    laboratory.start_worker()
    ended = laboratory.wait_for_end(parent_id)
    assert ended.result == {"child": {"answer": 42}, "inner": "inner done"}
    assert len(laboratory.runs()) == 2  # the interrupted one and its repetition
    assert [child.type for child in laboratory.store.children(parent_id)] == ["toy_job", "toy_inner"]


def test_a_living_worker_takes_over_from_a_dead_one_and_leaves_the_living_alone(any_laboratory):
    laboratory = any_laboratory
    first = laboratory.start_worker()
    second = laboratory.start_worker()
    alive = [(worker.number, worker.executor_id, worker.pid) for worker in live_workers(laboratory.leases)]
    assert alive == [(1, first.name, first.pid), (2, second.name, second.pid)]
    ids = [laboratory.enqueue(seconds=2.5), laboratory.enqueue(seconds=2.5)]
    laboratory.wait_until(lambda: len(laboratory.runs()) == 2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert {laboratory.wait_for_end(operation_id).status for operation_id in ids} == {OperationStatus.COMPLETED}
    assert len(laboratory.runs()) == 3
    assert second.poll() is None


def test_lists_filter_and_page_without_losing_or_repeating_a_row(laboratory):
    ids = {laboratory.enqueue() for _ in range(7)}
    ids |= {laboratory.enqueue("toy_parent", queue="cycles")}
    seen, cursor = [], None
    while True:
        page = laboratory.store.list(limit=3, cursor=cursor)
        seen += [operation.operation_id for operation in page.operations]
        cursor = page.next_cursor
        if cursor is None:
            break
        laboratory.enqueue()  # a newer row must not shift the pages after it
    assert len(seen) == len(set(seen))
    created = [laboratory.store.get(operation_id).created_at for operation_id in seen]
    assert created == sorted(created, reverse=True)  # also within a second
    assert ids <= set(seen)
    assert [row.type for row in laboratory.store.list(type="toy_parent").operations] == ["toy_parent"]
    assert laboratory.store.list(status=OperationStatus.RUNNING).operations == []
    with pytest.raises(InvalidInput, match="next_cursor"):
        laboratory.store.list(cursor="nonsense")


def test_what_does_not_exist_or_has_ended_cannot_be_cancelled(laboratory):
    with pytest.raises(NotFound, match="operations list"):
        laboratory.store.cancel("op_toy_job_20260101_000000_abcdef")
    laboratory.start_worker()
    ended = laboratory.wait_for_end(laboratory.enqueue())
    with pytest.raises(Conflict, match="already completed"):
        laboratory.store.cancel(ended.operation_id)


def test_what_an_operation_and_its_job_process_log_is_found_by_its_id(laboratory):
    laboratory.start_worker()
    broken, fine = (laboratory.enqueue(behaviour=behaviour) for behaviour in ("break", "answer"))
    laboratory.wait_for_end(broken)
    laboratory.wait_for_end(fine)
    lines = read_log(laboratory.folder / "logs", {broken}, limit=100).lines
    assert {line.operation_id for line in lines} == {broken}
    [trace] = [line for line in lines if line.trace]
    assert (trace.source, trace.level, trace.logger) == ("worker-1", "error", "ktrdr.operations.job_child")
    assert "ZeroDivisionError: secret-in-an-exception" in trace.trace
    words = " ".join(line.message for line in read_log(laboratory.folder / "logs", {fine}, limit=100).lines)
    assert f"operation {fine} completed" in words
    assert "toy_job runs as process" in words


def test_a_child_that_no_living_worker_can_take_is_unavailable_after_its_time(any_laboratory):
    laboratory = any_laboratory
    laboratory.start_worker(queues="cycles")
    parent_id = laboratory.enqueue("toy_parent", queue="cycles")
    ended = laboratory.wait_for_end(parent_id)
    assert ended.error.reason == "unavailable"
    assert "ktrdr worker --queues compute" in ended.error.message
    (child,) = laboratory.store.children(parent_id)
    assert child.status is OperationStatus.CANCELLED


def test_an_operation_that_kills_every_worker_fails_after_three_takeovers(any_laboratory):
    laboratory = any_laboratory
    operation_id = laboratory.enqueue(behaviour="kill_worker")
    for _ in range(4):
        laboratory.start_worker().wait(20)
    laboratory.start_worker()
    ended = laboratory.wait_for_end(operation_id)
    assert (ended.status, ended.error.reason) == (OperationStatus.FAILED, "worker_lost")
    assert len(laboratory.runs()) == 4


def test_a_worker_that_leaves_in_order_costs_its_operation_no_takeover(any_laboratory):
    laboratory = any_laboratory
    operation_id = laboratory.enqueue(seconds=1.5)
    for run in range(2):
        worker = laboratory.start_worker()
        laboratory.wait_until(lambda run=run: len(laboratory.runs()) == run + 1)
        if run == 0:
            laboratory.spend_takeovers(operation_id)  # one more, and it would be given up
            worker.terminate()
            assert worker.wait(5) == 0
    assert laboratory.wait_for_end(operation_id).result == {"answer": 42}


def test_a_parent_that_waits_for_its_child_is_not_given_up_for_the_deaths_of_its_workers(any_laboratory):
    laboratory = any_laboratory
    parent_id = laboratory.enqueue("toy_parent", queue="cycles", seconds=1.5)
    for run in range(2):
        worker = laboratory.start_worker()
        laboratory.wait_until(lambda run=run: len(laboratory.runs()) == run + 1)
        if run == 0:
            laboratory.spend_takeovers(parent_id)
            worker.kill()
            worker.wait()
    assert laboratory.wait_for_end(parent_id).status is OperationStatus.COMPLETED


def test_what_an_operation_started_ends_with_it_when_it_is_given_up(laboratory):
    laboratory.start_worker()
    parent_id = laboratory.enqueue("toy_parent", queue="cycles", seconds=30)
    laboratory.wait_until(lambda: laboratory.runs())
    (job,) = laboratory.runs()
    (child,) = laboratory.store.children(parent_id)
    laboratory.give_up(parent_id)
    assert laboratory.wait_for_end(child.operation_id).status is OperationStatus.CANCELLED
    laboratory.wait_until(lambda: not is_alive(job))


def test_an_operation_whose_end_could_not_be_written_on_a_full_disk_goes_on_when_there_is_room(laboratory):
    worker = laboratory.start_worker()
    operation_id = laboratory.enqueue(seconds=1.0)
    laboratory.wait_until(lambda: laboratory.runs())
    unlimited = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (0, unlimited[1]))  # it can write nothing, nowhere
    (job,) = laboratory.runs()
    laboratory.wait_until(lambda: not is_alive(job))
    time.sleep(0.5)
    assert laboratory.store.get(operation_id).status is OperationStatus.RUNNING
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, unlimited)
    assert laboratory.wait_for_end(operation_id).result == {"answer": 42}
    assert worker.poll() is None
