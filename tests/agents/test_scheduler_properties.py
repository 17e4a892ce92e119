"""Any order of looks, deaths, failures, full slots, empty budgets, pauses: what may and what must start."""

from datetime import UTC, datetime, timedelta
from itertools import takewhile

import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from schedule_office import CYCLE_USD, Office

from ktrdr.agents.scheduler import ScheduleRequest
from ktrdr.agents.trigger import CycleRequest
from ktrdr.database.engine import open_database
from ktrdr.database.tables import budget_attempts, budget_envelopes, schedules
from ktrdr.errors import Conflict
from ktrdr.operations.store import migrate_database

DAY, EVERY = timedelta(days=1), {"free": timedelta(minutes=30), "dear": timedelta(hours=7)}
OUTCOMES = [
    "completed",
    "gate_failed:training:loss_too_high",
    "design_failed:overloaded",
    "design_failed:overloaded",
    "design_failed:auth",
    "design_failed:auth",
    "cancelled",
]


class Start:
    def __init__(self, at):
        self.at, self.outcome = at, None


class ScheduleMachine(RuleBasedStateMachine):
    """Two schedules, one of which costs money. What is right is told by the list of their starts and outcomes alone."""

    database = folder = None

    @initialize(slots=st.sampled_from([1, 2, 2]))
    def begin(self, slots):
        self.slots = slots
        self.office = Office(self.database, self.folder, datetime(2026, 3, 1, 21, tzinfo=UTC), slots=slots)
        self.office.forget_everything(schedules, budget_attempts, budget_envelopes)
        self.made = self.office.now
        self.ids, self.starts, self.paused, self.forgiven = {}, {}, set(), {}
        for name, every in EVERY.items():
            request = ScheduleRequest(
                every=f"{every // timedelta(minutes=1)}m", name=name, model="dear" if name == "dear" else None
            )
            self.ids[name] = self.office.desk.add(request).schedule_id
            self.starts[name], self.forgiven[name] = {}, None

    @rule(minutes=st.sampled_from([1, 16, 29, 31, 61, 61, 430, 430, 1500]))
    def let_time_pass(self, minutes):
        self.office.now += timedelta(minutes=minutes)

    @rule(looks=st.integers(1, 3), dies=st.booleans())
    def look(self, looks, dies):
        """Let workers look; one that dies has enqueued a cycle and did not get to move its row on."""
        before = self.office.schedules.list()
        known = {name: set(starts) for name, starts in self.starts.items()}
        for _ in range(looks):
            self.office.new_starter().start_due()
        active = self.office.operations.active("agent_research")
        for name, schedule_id in self.ids.items():
            cycles = self.office.cycles(schedule_id)
            due_times = [cycle.metadata["scheduled_for"] for cycle in cycles]
            assert len(due_times) == len(set(due_times))
            new = [cycle.operation_id for cycle in cycles if cycle.operation_id not in known[name]]
            assert len(new) <= 1
            if new:
                assert self.may_start(name)
                self.starts[name][new[0]] = Start(self.office.now)
            elif len(active) < self.slots and not dies and looks > 1:  # the first may but tidy up
                assert not self.must_start(name)
        if dies:
            for row in before:
                self.office.schedules.replace(row)

    @rule()
    def look_as_a_worker_that_lives_on(self):
        known = {cycle for starts in self.starts.values() for cycle in starts}
        self.office.starter.start_due()
        for name, schedule_id in self.ids.items():
            for cycle in self.office.cycles(schedule_id):
                if cycle.operation_id not in known:
                    assert self.may_start(name)
                    self.starts[name][cycle.operation_id] = Start(self.office.now)

    @rule()
    def trigger_by_hand(self):
        has_room = len(self.office.operations.active("agent_research")) < self.slots
        try:
            self.office.trigger.trigger(CycleRequest())
        except Conflict:
            assert not has_room

    @rule(outcome=st.sampled_from(OUTCOMES), share=st.sampled_from([0.0, 1.0]), newest=st.booleans())
    def end(self, outcome, share, newest):
        active = self.office.operations.active("agent_research")
        if not active:
            return
        cycle = active[-1 if newest else 0]
        is_paid = cycle.metadata["model"] == "dear"
        self.office.end(cycle, outcome, spent_usd=share * CYCLE_USD if is_paid else 0.0)
        for starts in self.starts.values():
            if cycle.operation_id in starts:
                starts[cycle.operation_id].outcome = outcome

    @rule(name=st.sampled_from(sorted(EVERY)))
    def pause(self, name):
        self.office.desk.pause(name)
        self.paused.add(name)

    @rule(name=st.sampled_from(sorted(EVERY)))
    def resume(self, name):
        if name in self.paused or self.failures(name):
            self.forgiven[name] = self.office.now
        self.office.desk.resume(name)
        self.paused.discard(name)

    @invariant()
    def never_more_than_the_slots_and_never_two_of_one_schedule(self):
        active = self.office.operations.active("agent_research")
        assert len(active) <= self.slots
        of_schedules = [cycle.metadata["schedule_id"] for cycle in active if cycle.metadata["schedule_id"]]
        assert len(of_schedules) == len(set(of_schedules))

    def failures(self, name):
        """Return the failed starts in a row, newest first."""
        counted = [start for start in self.starts[name].values() if start.at >= (self.forgiven[name] or self.made)]
        ended = [start for start in reversed(counted) if start.outcome not in (None, "cancelled")]
        return [*takewhile(lambda start: start.outcome.startswith("design_failed"), ended)]

    def period(self, name, moment):
        return (moment - self.made) // EVERY[name]

    def may_start(self, name):
        """Whether a start now breaks no promise."""
        started = list(self.starts[name].values())
        if name in self.paused or any(start.outcome is None for start in started) or self.has_given_up(name):
            return False
        if started and self.period(name, self.office.now) == self.period(name, started[-1].at):
            return False
        failed, every = self.failures(name), EVERY[name]
        return not failed or self.office.now - failed[0].at > min(2 ** len(failed) * every, DAY) - every

    def must_start(self, name):
        """Whether not starting now breaks one, there being a slot."""
        now, every = self.office.now, EVERY[name]
        last = [start.at for start in self.starts[name].values()][-1:]
        since = max([self.made - every, *last, *filter(None, [self.forgiven[name]])])
        failed = self.failures(name)
        is_due = self.period(name, now) > self.period(name, since)
        if failed:
            is_due = is_due and now - failed[0].at >= min(2 ** len(failed) * every, DAY)
        budget = self.office.budget.report(days=1)
        can_pay = name == "free" or budget.remaining_usd >= budget.cycle_limit_usd
        is_idle = all(start.outcome is not None for start in self.starts[name].values())
        return is_due and can_pay and is_idle and name not in self.paused and not self.has_given_up(name)

    def has_given_up(self, name):
        newest = self.failures(name)[:3]
        return len(newest) == 3 and all(start.outcome == "design_failed:auth" for start in newest)


def test_no_order_of_events_starts_a_cycle_too_many_or_forgets_one(tmp_path):
    database = open_database(f"sqlite:///{tmp_path / 'state.sqlite'}")
    migrate_database(database)
    with database.engine.begin() as connection:
        connection.execute(sa.text("PRAGMA synchronous=OFF"))
    machine = type("Machine", (ScheduleMachine,), {"database": database, "folder": tmp_path})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=35, deadline=None))
    database.close()
