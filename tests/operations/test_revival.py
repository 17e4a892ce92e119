"""Operations that are cancelled or fail and are set going again, on real workers."""

import time
from datetime import datetime, timedelta

import pytest
from laboratory import is_alive

from ktrdr.operations.operation import OperationStatus
from ktrdr.operations.revival import FIRST_STEP, Reviver, first_failed_step
from ktrdr.operations.runtime import COMPUTE_QUEUE, CYCLES_QUEUE, PHASES_QUEUE

QUEUES = {
    "toy_parent": CYCLES_QUEUE,
    "toy_outer": CYCLES_QUEUE,
    "toy_job": COMPUTE_QUEUE,
    "toy_inner": PHASES_QUEUE,
    "toy_slow_inner": PHASES_QUEUE,
}


def restart(operation, steps):
    return FIRST_STEP if operation.type == "toy_job" else first_failed_step(steps)


def revive(laboratory, operation_id):
    reviver = Reviver(laboratory.store, QUEUES, restart)
    return reviver.carry_out(reviver.plan(laboratory.store.get(operation_id)))


def attempts(laboratory):
    return list((laboratory.folder / "attempts").iterdir())


def test_a_family_cancelled_and_resumed_at_once_goes_on_and_its_first_job_is_dead(laboratory):
    laboratory.start_worker()
    parent_id = laboratory.enqueue("toy_parent", queue="cycles", seconds=1.5)
    laboratory.wait_until(lambda: laboratory.runs())
    started_at = laboratory.store.get(parent_id).started_at
    laboratory.store.cancel(parent_id)
    resumed = revive(laboratory, parent_id)  # before the worker has noticed that it was cancelled
    assert (resumed.status, resumed.completed_at) == (OperationStatus.PENDING, None)
    laboratory.wait_until(lambda: len(laboratory.runs()) == 2)
    first, second = laboratory.runs()
    assert not is_alive(first)
    assert is_alive(second)
    ended = laboratory.wait_for_end(parent_id)
    assert ended.result == {"child": {"answer": 42}, "inner": "inner done"}
    assert (ended.started_at, ended.metadata["stage"]) == (started_at, "child")
    assert ended.completed_at > started_at
    assert len(laboratory.runs()) == 2
    assert len(attempts(laboratory)) == 1  # that of the second run, which the job's owner would now publish
    assert [child.type for child in laboratory.store.children(parent_id)] == ["toy_job", "toy_inner"]


def test_a_child_that_runs_in_its_parents_worker_goes_on_without_repeating_its_finished_step(laboratory):
    laboratory.start_worker()
    parent_id = laboratory.enqueue("toy_outer", queue="cycles", seconds=60)
    laboratory.wait_until(lambda: laboratory.runs() == [1, 2])
    laboratory.store.cancel(parent_id)
    time.sleep(1.2)  # a chore cancels what runs below a cancelled parent: it must not meet the resumed child
    revive(laboratory, parent_id)
    assert laboratory.wait_for_end(parent_id).result == "slow inner done"
    assert laboratory.runs() == [1, 2, 2]


def test_the_child_of_a_parent_given_up_as_lost_is_cancelled_and_comes_back_with_it(laboratory):
    laboratory.start_worker()
    parent_id = laboratory.enqueue("toy_parent", queue="cycles", seconds=2.0)
    laboratory.wait_until(lambda: laboratory.runs())
    laboratory.give_up(parent_id)
    [child] = laboratory.store.children(parent_id)
    assert laboratory.wait_for_end(child.operation_id).status is OperationStatus.CANCELLED
    [job] = laboratory.runs()
    laboratory.wait_until(lambda: not is_alive(job), timeout_s=2)
    assert laboratory.store.get(parent_id).error.reason == "worker_lost"
    revive(laboratory, parent_id)
    assert laboratory.wait_for_end(parent_id).result["child"] == {"answer": 42}
    assert len(laboratory.runs()) == 2


@pytest.mark.parametrize("gone", ["child", "worker"])
def test_a_failed_family_is_tried_again_from_the_child_that_failed(laboratory, gone):
    if gone == "child":
        laboratory.start_worker()
    else:
        laboratory.start_worker(queues="cycles")
    parent_id = laboratory.enqueue("toy_parent", queue="cycles", behaviour="fail_once")
    failed = laboratory.wait_for_end(parent_id)
    assert failed.error.reason == ("toy_reason" if gone == "child" else "unavailable")
    if gone == "worker":
        laboratory.log.write_text("1\n")
        laboratory.start_worker(queues="compute")
    revived = revive(laboratory, parent_id)
    assert (revived.error, revived.completed_at, revived.created_at) == (None, None, failed.created_at)
    ended = laboratory.wait_for_end(parent_id)
    assert ended.result["child"] == {"answer": 42}
    assert len(laboratory.store.children(parent_id)) == 2


def test_a_job_that_dies_is_tried_again_so_often_and_its_history_tells(laboratory):
    laboratory.start_worker()
    ended = laboratory.wait_for_end(laboratory.enqueue("toy_persistent", seconds=0.1, behaviour="die"))
    assert (ended.error.reason, len(laboratory.runs())) == ("process_died", 3)
    noted = [(each["phase"], each["reason"], each["by"]) for each in ended.metadata["attempts"]]
    assert noted == [("toy", "process_died", "worker")] * 2
    times = [datetime.fromisoformat(each["at"]) for each in ended.metadata["attempts"]]
    assert ended.started_at <= times[0] < times[1] <= ended.completed_at - timedelta(seconds=0.4)
    refused = laboratory.wait_for_end(laboratory.enqueue("toy_persistent", seconds=0.1, behaviour="fail"))
    assert (refused.error.reason, len(laboratory.runs())) == ("toy_reason", 4)


def test_an_operation_cancelled_while_it_waits_to_try_again_gives_its_worker_free_at_once(laboratory):
    laboratory.start_worker()
    waiting = laboratory.enqueue("toy_persistent", seconds=60, behaviour="die")
    laboratory.wait_until(lambda: "trying again in" in laboratory.store.get(waiting).progress.current_step)
    behind = laboratory.enqueue()  # the queue takes one at a time
    laboratory.store.cancel(waiting)
    cancelled_at = time.monotonic()
    laboratory.wait_until(lambda: laboratory.store.get(behind).status is not OperationStatus.PENDING)
    assert time.monotonic() - cancelled_at < 1.0
    assert laboratory.wait_for_end(behind).status is OperationStatus.COMPLETED
    assert len(laboratory.runs()) == 2
