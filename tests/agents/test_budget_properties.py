"""Any order of triggers, calls, crashes and midnights, against a plain account of what may and must be granted."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ktrdr.agents.budget import BudgetLedger, BudgetLimits
from ktrdr.database.engine import open_database
from ktrdr.database.tables import budget_attempts, budget_envelopes, create_tables
from ktrdr.errors import BudgetExceeded, Conflict

DAILY, CYCLE = 125, 50  # cents


class Call:
    def __init__(self, cycle, day, cents):
        self.cycle, self.day, self.cents, self.is_settled = cycle, day, cents, False


class BudgetMachine(RuleBasedStateMachine):
    """What the ledger says is compared with lists of calls; what it must never allow is asked of the lists alone."""

    database = None

    @initialize()
    def begin(self):
        with self.database.engine.begin() as connection:
            connection.execute(budget_attempts.delete())
            connection.execute(budget_envelopes.delete())
        self.now = datetime(2026, 3, 1, 21, tzinfo=UTC)
        self.ledger = BudgetLedger(self.database, lambda: self.now, BudgetLimits(DAILY / 100, CYCLE / 100))
        self.opened_on, self.open_cycles, self.calls = {}, set(), {}

    @rule(minutes=st.sampled_from([-240, 5, 240, 240, 240]))
    def let_time_pass_or_correct_the_clock(self, minutes):
        self.now += timedelta(minutes=minutes)

    @rule()
    def trigger_again(self):
        self.trigger()

    @rule()
    def trigger(self):
        cycle = f"cycle_{len(self.opened_on)}"
        fits = all(self.may_be_charged_on(day) + CYCLE <= DAILY for day in self.days_from_today())
        try:
            self.ledger.open_envelope(cycle)
        except Conflict:
            assert not fits
            return
        assert fits
        self.opened_on[cycle] = self.now.date()
        self.open_cycles.add(cycle)

    @precondition(lambda self: self.opened_on)
    @rule(data=st.data(), cents=st.sampled_from([1, 10, 25, 40, CYCLE]), restart=st.booleans())
    def call(self, data, cents, restart):
        if restart:  # another process: it knows only what is written
            self.ledger = BudgetLedger(self.database, lambda: self.now, BudgetLimits(DAILY / 100, CYCLE / 100))
        cycle, attempt = data.draw(st.sampled_from(sorted(self.opened_on))), f"call_{len(self.calls)}"
        is_promised = cycle in self.open_cycles and self.charged(cycle=cycle) + cents <= CYCLE
        try:
            self.ledger.reserve(
                attempt_id=attempt, cycle_id=cycle, operation_id=cycle, model="m", amount_usd=cents / 100
            )
        except BudgetExceeded:
            assert not is_promised
            return
        assert is_promised
        self.calls[attempt] = Call(cycle, max(self.now.date(), self.opened_on[cycle]), cents)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), share=st.sampled_from([0.0, 0.0, 0.5, 1.0, None]))
    def settle(self, data, share):
        attempt = data.draw(st.sampled_from(sorted(self.calls)))
        call = self.calls[attempt]
        cents = None if share is None else int(call.cents * share)
        self.ledger.settle(attempt, amount_usd=None if cents is None else cents / 100, usage=None)
        if not call.is_settled:
            call.is_settled, call.cents = True, call.cents if cents is None else cents

    @precondition(lambda self: self.opened_on)
    @rule(data=st.data())
    def end_cycle(self, data):
        cycle = data.draw(st.sampled_from(sorted(self.opened_on)[-3:]))
        self.ledger.close_envelope(cycle)
        self.open_cycles.discard(cycle)

    @precondition(lambda self: set(self.opened_on) - self.open_cycles)
    @rule(data=st.data())
    def go_on_with_an_ended_cycle(self, data):
        cycle = data.draw(st.sampled_from(sorted(set(self.opened_on) - self.open_cycles)))
        self.open_cycles.add(cycle)
        fits = self.charged(cycle=cycle) < CYCLE and all(
            self.may_be_charged_on(day) <= DAILY for day in self.days_from_today()
        )
        try:
            self.ledger.open_envelope(cycle)
        except Conflict:
            assert not fits
            self.open_cycles.discard(cycle)
            return
        assert fits

    @invariant()
    def no_day_and_no_cycle_is_charged_more_than_its_limit(self):
        assert all(self.charged(day=call.day) <= DAILY for call in self.calls.values())
        assert all(self.charged(cycle=call.cycle) <= CYCLE for call in self.calls.values())

    def teardown(self):
        if hasattr(self, "ledger"):
            self.check_that_the_report_adds_up_and_agrees_with_the_calls()

    @rule()
    def check_that_the_report_adds_up_and_agrees_with_the_calls(self):
        report = self.ledger.report(days=400)
        assert {each.key: round(each.charged_usd * 100) for each in report.days} == {
            str(day): self.charged(day=day) for day in {call.day for call in self.calls.values()}
        }
        assert {each.key: round(each.charged_usd * 100) for each in report.operations} == {
            cycle: self.charged(cycle=cycle) for cycle in {call.cycle for call in self.calls.values()}
        }
        whole = report.spent_usd + report.reserved_usd + report.remaining_usd
        assert whole == pytest.approx(DAILY / 100, abs=1e-9)
        assert sorted(report.open_cycles) == sorted(self.open_cycles)

    def charged(self, *, day=None, cycle=None):
        return sum(c.cents for c in self.calls.values() if day in (None, c.day) and cycle in (None, c.cycle))

    def days_from_today(self):
        """Return today and every later day that a clock, since put back, has begun."""
        today = self.now.date()
        begun = [*(call.day for call in self.calls.values()), *(self.opened_on[cycle] for cycle in self.open_cycles)]
        return {today, *(day for day in begun if day > today)}

    def may_be_charged_on(self, day):
        """The most that the calls made so far and those of open cycles can come to on a day, if all goes badly.

        Badly: every call under way on this day costs all that is reserved for it, every one of another day nothing,
        and each open cycle spends the rest on this day.
        """
        total = sum(c.cents for c in self.calls.values() if c.day == day and c.cycle not in self.open_cycles)
        for cycle in (each for each in self.open_cycles if self.opened_on[each] <= day):
            calls = [c for c in self.calls.values() if c.cycle == cycle]
            gone_elsewhere = sum(c.cents for c in calls if c.day != day and c.is_settled)
            total += CYCLE - gone_elsewhere
        return total


def test_no_order_of_events_breaks_a_limit_or_a_promise(tmp_path):
    database = open_database(f"sqlite:///{tmp_path / 'state.sqlite'}")
    create_tables(database)
    with database.engine.begin() as connection:
        connection.execute(sa.text("PRAGMA synchronous=OFF"))
    machine = type("Machine", (BudgetMachine,), {"database": database})
    run_state_machine_as_test(machine, settings=settings(max_examples=120, stateful_step_count=30, deadline=None))
    database.close()
