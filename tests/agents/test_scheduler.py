"""Schedules start their cycles once, only when there is room, and wait longer the more of them fail."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from schedule_office import CYCLE_USD, DAILY_USD, Office

from ktrdr.agents.scheduler import ScheduleRequest
from ktrdr.agents.trigger import CycleRequest
from ktrdr.database.engine import open_database
from ktrdr.errors import Conflict, InvalidInput, NotFound
from ktrdr.operations.store import migrate_database

TEN = datetime(2026, 3, 2, 10, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
RACERS = 6


@pytest.fixture
def database(tmp_path):
    database = open_database(f"sqlite:///{tmp_path / 'state.sqlite'}")
    migrate_database(database)
    yield database
    database.close()


@pytest.fixture
def office(database, tmp_path):
    return Office(database, tmp_path, TEN)


@pytest.fixture
def url(database_url):
    return database_url


def add(office, **request):
    return office.desk.add(ScheduleRequest(**{"every": "30m", **request})).schedule_id


def document(office):
    (found,) = office.service.list().schedules
    return found


def tick_at(office, moment):
    office.now = moment
    office.new_starter().start_due()


def test_workers_that_look_at_the_same_moment_start_one_cycle_per_due_time(url, tmp_path):
    databases = [open_database(url) for _ in range(RACERS)]
    migrate_database(databases[0])
    offices = [Office(database, tmp_path, TEN, slots=RACERS) for database in databases]
    schedule_id = add(offices[0])
    with ThreadPoolExecutor(RACERS) as pool:
        for turn in range(3):
            line = threading.Barrier(RACERS)

            def look(office, moment=TEN + turn * HALF_HOUR, line=line):
                office.now = moment
                line.wait(30)
                office.starter.start_due()

            assert list(pool.map(look, offices)) == [None] * RACERS
            offices[0].end_all("completed")
    cycles = offices[0].cycles(schedule_id)
    assert [cycle.created_at for cycle in cycles] == [TEN, TEN + HALF_HOUR, TEN + 2 * HALF_HOUR]
    assert [cycle.metadata["scheduled_for"][11:16] for cycle in cycles] == ["10:00", "10:30", "11:00"]
    assert document(offices[1]).last_cycle.status == "completed"
    for database in databases:
        database.close()


def test_a_worker_that_dies_before_it_moves_the_row_on_has_started_the_only_cycle_of_that_time(database, tmp_path):
    office = Office(database, tmp_path, TEN, slots=5)
    schedule_id = add(office)
    (before,) = office.schedules.list()
    tick_at(office, TEN)
    office.schedules.replace(before)
    office.end_all("completed")
    tick_at(office, TEN + timedelta(seconds=1))
    assert (len(office.cycles(schedule_id)), document(office).next_due_at) == (1, TEN + HALF_HOUR)
    for minutes in (30, 60, 90):  # its second cycle goes on, and there are slots for more
        tick_at(office, TEN + timedelta(minutes=minutes))
    assert (len(office.cycles(schedule_id)), document(office).state) == (2, "running")


def test_a_night_off_leaves_one_cycle_due_and_it_waits_for_the_slot_and_starts_once(office):
    schedule_id = add(office, seed=7, brief="SPX trend")
    tick_at(office, TEN)
    office.end_all("completed")
    by_hand = office.trigger.trigger(CycleRequest())
    morning = TEN + timedelta(hours=22, minutes=10)
    for seconds in range(3):
        tick_at(office, morning + timedelta(seconds=seconds))
    assert (document(office).state, document(office).reason) == ("waiting", "active_cycle_exists")
    office.end(by_hand, "completed")
    for seconds in range(3, 6):
        tick_at(office, morning + timedelta(seconds=seconds))
        office.end_all("completed")
    cycles = office.cycles(schedule_id)
    assert [cycle.created_at for cycle in cycles] == [TEN, morning + timedelta(seconds=3)]
    assert [(cycle.metadata["seed"], cycle.metadata["brief"]) for cycle in cycles] == [
        (7, "SPX trend"),
        (8, "SPX trend"),
    ]
    assert document(office).next_due_at == morning + timedelta(minutes=20)


def test_a_day_whose_money_is_gone_is_waited_out_and_is_no_failure(office):
    schedule_id = add(office, every="2h", model="dear")
    for turn in range(int(DAILY_USD / CYCLE_USD)):
        tick_at(office, TEN + timedelta(hours=2 * turn))
        office.end(office.cycles(schedule_id)[-1], "completed", spent_usd=CYCLE_USD)
    for hours in (4, 6, 13.9):
        tick_at(office, TEN + timedelta(hours=hours))
    found = document(office)
    assert (found.state, found.reason, found.consecutive_failures) == ("waiting", "budget_exhausted", 0)
    assert len(office.cycles(schedule_id)) == 2
    office.now = datetime(2026, 3, 3, tzinfo=UTC)
    office.starter.start_due()
    assert [cycle.created_at for cycle in office.cycles(schedule_id)][2:] == [office.now]


def test_failures_double_the_wait_and_the_list_says_so_until_a_cycle_ends_of_its_own(office):
    schedule_id = add(office)
    waits = []
    for _ in range(8):
        tick_at(office, document(office).next_due_at)
        started = office.now
        office.end(office.cycles(schedule_id)[-1], "design_failed:overloaded")
        found = document(office)
        assert (found.state, found.reason) == ("backing_off", "design_failed:overloaded")
        tick_at(office, found.next_due_at - timedelta(seconds=1))
        waits.append((found.next_due_at - started) / HALF_HOUR)
    assert waits == [2, 4, 8, 16, 32, 48, 48, 48]
    assert (len(office.cycles(schedule_id)), document(office).consecutive_failures) == (8, 8)
    tick_at(office, document(office).next_due_at)
    office.end(office.cycles(schedule_id)[-1], "gate_failed:training:loss_too_high")
    found = document(office)
    assert (found.state, found.consecutive_failures) == ("scheduled", 0)
    assert found.next_due_at == office.now + HALF_HOUR


def test_three_failures_that_nothing_but_a_person_can_mend_pause_it_until_it_is_resumed(office):
    schedule_id = add(office)
    for failure in ("training_failed:overloaded", "design_failed:auth", "design_failed:auth", "assessment_failed:auth"):
        assert document(office).state != "paused"
        tick_at(office, document(office).next_due_at)
        office.end(office.cycles(schedule_id)[-1], failure)
    for hours in (0, 1, 100):
        tick_at(office, office.now + timedelta(hours=hours))
        found = document(office)
        assert (found.state, found.reason, found.next_due_at) == ("paused", "assessment_failed:auth", None)
    assert "it went wrong" in found.message
    office.service.resume(schedule_id)
    found = document(office)
    assert (found.state, found.consecutive_failures) == ("scheduled", 0)
    tick_at(office, found.next_due_at)
    assert len(office.cycles(schedule_id)) == 5


def test_a_request_that_the_trigger_refuses_as_wrong_pauses_the_schedule_at_once(office):
    schedule_id = add(office)
    office.schedules.replace(replace(office.schedules.get(schedule_id), model="gone"))  # the key was taken away
    tick_at(office, TEN)
    found = document(office)
    assert (found.state, found.reason, found.last_cycle) == ("paused", "model_unavailable", None)


def test_names_are_unique_checked_and_as_good_as_ids(office):
    add(office, name="nightly")
    with pytest.raises(Conflict, match="schedule remove nightly"):
        add(office, name="nightly")
    for name in ("sch_1", "N", "a b", "../x"):
        with pytest.raises(InvalidInput, match="name: need"):
            add(office, name=name)
    for wrong in ({"cron": "0 0 * * *"}, {"every": None}, {"timezone": "UTC"}):
        with pytest.raises(InvalidInput) as caught:
            add(office, **wrong)
        assert caught.value.reason == "bad_cadence"
    assert office.service.pause("nightly").reason == office.service.pause("nightly").reason == "paused_by_user"
    tick_at(office, TEN + HALF_HOUR)
    assert document(office).last_cycle is None
    office.service.remove("nightly")
    with pytest.raises(NotFound, match="nightly"):
        office.service.resume("nightly")
