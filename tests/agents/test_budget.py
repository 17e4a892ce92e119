"""No day and no cycle costs more than its limit, whoever spends, whoever dies, whatever the hour."""

import json
import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from ktrdr.agents.budget import BudgetLedger, BudgetLimits, Usage
from ktrdr.database.engine import open_database
from ktrdr.database.tables import create_tables
from ktrdr.errors import BudgetExceeded, Conflict, NotFound

RACER = Path(__file__).parent / "budget_racer.py"
USAGE = Usage(input_tokens=1000, output_tokens=200, cache_read_tokens=600, cache_write_tokens=100)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BEFORE_MIDNIGHT = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)


class HandClock:
    """A clock that stands still until somebody moves it."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def url(database_url):
    return database_url


@pytest.fixture
def database(url):
    database = open_database(url)
    create_tables(database)
    yield database
    database.close()


@pytest.fixture
def clock():
    return HandClock(NOON)


@pytest.fixture
def ledger(database, clock):
    return BudgetLedger(database, clock, BudgetLimits(daily_usd=1.0, cycle_usd=0.4))


def reserve(ledger, attempt_id, usd, *, cycle="a", model="m"):
    ledger.reserve(attempt_id=attempt_id, cycle_id=cycle, operation_id=f"design_{cycle}", model=model, amount_usd=usd)


def standing(ledger):
    report = ledger.report(days=1)
    return report.spent_usd, report.reserved_usd, report.remaining_usd


def test_day_holds_as_many_whole_envelopes_as_fit_and_a_closed_one_gives_back_what_it_did_not_spend(ledger):
    ledger.open_envelope("a")
    ledger.open_envelope("a")  # a replay: promised once
    ledger.open_envelope("b")
    assert standing(ledger) == (0.0, 0.8, 0.2)
    with pytest.raises(Conflict) as refused:
        ledger.open_envelope("c")
    assert refused.value.reason == "budget_exhausted"
    reserve(ledger, "1", 0.3)
    ledger.settle("1", amount_usd=0.1, usage=USAGE)
    assert standing(ledger) == (0.1, 0.7, 0.2)
    for _ in range(2):
        ledger.close_envelope("a")
    ledger.close_envelope("nobody")
    assert standing(ledger) == (0.1, 0.4, 0.5)
    ledger.open_envelope("c")
    assert ledger.open_cycles() == ["b", "c"]
    with pytest.raises(Conflict, match=r"may cost \$0.30, and \$0.9000 of the day's"):
        ledger.open_envelope("a")  # what is left of it no longer fits


def test_a_cycle_that_goes_on_after_its_end_has_what_is_left_of_its_limit_over_all_attempts(ledger):
    ledger.open_envelope("a")
    reserve(ledger, "1", 0.3)
    ledger.settle("1", amount_usd=0.1, usage=USAGE)
    ledger.close_envelope("a")
    ledger.open_envelope("a")
    assert standing(ledger) == (0.1, 0.3, 0.6)
    with pytest.raises(BudgetExceeded):
        reserve(ledger, "2", 0.31)
    reserve(ledger, "3", 0.3)
    ledger.close_envelope("a")
    with pytest.raises(Conflict, match=r"has spent \$0.4000 of the \$0.40") as refused:
        ledger.open_envelope("a")
    assert refused.value.reason == "budget_exhausted"


def test_calls_of_a_cycle_stay_within_its_envelope_and_the_error_carries_the_figures(ledger):
    ledger.open_envelope("a")
    reserve(ledger, "1", 0.25)
    with pytest.raises(BudgetExceeded) as refused:
        reserve(ledger, "2", 0.151)
    error = refused.value
    assert (error.reason, error.scope) == ("budget_exceeded", "cycle")
    assert (error.needed_usd, error.spent_usd, error.limit_usd) == (0.151, 0.25, 0.4)
    reserve(ledger, "2", 0.15)  # to the last nano-dollar
    assert ledger.cycle_totals("a")[1] == 0.4


@pytest.mark.parametrize("state", ["never opened", "closed"])
def test_paid_call_without_an_open_envelope_is_refused_and_a_free_one_is_only_counted(ledger, state):
    if state == "closed":
        ledger.open_envelope("a")
        ledger.close_envelope("a")
    with pytest.raises(BudgetExceeded):
        reserve(ledger, "1", 0.000001)
    reserve(ledger, "2", 0.0)
    ledger.settle("2", amount_usd=0.0, usage=USAGE)
    assert ledger.cycle_totals("a") == (USAGE, 0.0)
    assert standing(ledger) == (0.0, 0.0, 1.0)


def test_one_reservation_pays_for_one_attempt(ledger):
    ledger.open_envelope("a")
    reserve(ledger, "1", 0.1)
    with pytest.raises(Conflict, match="reservation already"):
        reserve(ledger, "1", 0.1)
    ledger.settle("1", amount_usd=0.05, usage=USAGE)
    with pytest.raises(Conflict, match="reservation already"):
        reserve(ledger, "1", 0.1)
    assert ledger.cycle_totals("a") == (USAGE, 0.05)


@pytest.mark.parametrize(("first", "charged"), [(0.07, 0.07), (0.0, 0.0), (None, 0.3)])
def test_settling_twice_changes_nothing_whatever_came_first(ledger, first, charged):
    ledger.open_envelope("a")
    reserve(ledger, "1", 0.3)
    ledger.settle("1", amount_usd=first, usage=None)
    for later in (0.2, None, 0.0):
        ledger.settle("1", amount_usd=later, usage=USAGE)
    usage, cost_usd = ledger.cycle_totals("a")
    assert (usage.input_tokens, cost_usd) == (0, charged)
    with pytest.raises(NotFound):
        ledger.settle("unheard of", amount_usd=0.0, usage=None)


@pytest.mark.parametrize("amount", [-0.01, float("nan"), float("inf")])
def test_amount_that_is_no_amount_is_an_error_and_reserves_nothing(ledger, amount):
    ledger.open_envelope("a")
    with pytest.raises(ValueError, match="need a finite amount"):
        reserve(ledger, "1", amount)
    assert ledger.cycle_totals("a")[1] == 0.0


def test_call_that_cost_more_than_reserved_is_recorded_as_it_is_alarms_and_stops_further_calls(ledger, caplog):
    for cycle in ("a", "b"):
        ledger.open_envelope(cycle)
    reserve(ledger, "1", 0.4)
    with caplog.at_level(logging.ERROR, logger="ktrdr.agents.budget"):
        ledger.settle("1", amount_usd=0.9, usage=USAGE)
    assert "more than the $0.400000 reserved" in caplog.text
    assert standing(ledger) == (0.9, 0.4, 0.0)
    with pytest.raises(BudgetExceeded, match="the day's"):  # b's envelope holds it, the day no longer does
        reserve(ledger, "2", 0.2, cycle="b")
    reserve(ledger, "3", 0.1, cycle="b")


def test_reservation_of_a_process_that_died_stays_charged_also_when_its_cycle_is_closed(database, ledger, clock):
    ledger.open_envelope("a")
    reserve(ledger, "1", 0.3)
    reborn = BudgetLedger(database, clock, BudgetLimits(1.0, 0.4))
    assert standing(reborn) == (0.0, 0.4, 0.6)
    with pytest.raises(BudgetExceeded):
        reserve(reborn, "2", 0.2)
    reborn.close_envelope("a")
    assert standing(reborn) == (0.3, 0.0, 0.7)
    reborn.settle("1", amount_usd=0.01, usage=USAGE)  # the call came back after all
    assert standing(reborn) == (0.01, 0.0, 0.99)


def test_limit_that_was_lowered_holds_for_cycles_that_are_under_way(database, ledger, clock):
    for cycle in ("a", "b"):
        ledger.open_envelope(cycle)
    poorer = BudgetLedger(database, clock, BudgetLimits(daily_usd=0.5, cycle_usd=0.1))
    reserve(poorer, "1", 0.3)
    with pytest.raises(BudgetExceeded, match="the day's"):
        reserve(poorer, "2", 0.3, cycle="b")
    assert poorer.report(days=1).remaining_usd == 0.0


def test_call_after_midnight_counts_on_the_new_day_and_the_envelope_goes_along(ledger, clock):
    clock.now = BEFORE_MIDNIGHT
    for cycle in ("a", "b"):
        ledger.open_envelope(cycle)
    reserve(ledger, "1", 0.3)
    ledger.settle("1", amount_usd=0.3, usage=USAGE)
    assert standing(ledger) == (0.3, 0.5, 0.2)
    clock.now += timedelta(seconds=1)
    assert standing(ledger) == (0.0, 0.5, 0.5)  # what a and b may still spend, and nothing of yesterday
    ledger.open_envelope("c")
    with pytest.raises(Conflict):
        ledger.open_envelope("d")
    reserve(ledger, "2", 0.1)
    for cycle in ("b", "c"):
        reserve(ledger, f"all of {cycle}", 0.4, cycle=cycle)
    days = [(each.key, each.charged_usd) for each in ledger.report(days=2).days]
    assert days == [("2026-03-02", 0.9), ("2026-03-01", 0.3)]


def test_call_under_way_at_midnight_frees_nothing_on_the_new_day_until_it_is_settled(ledger, clock):
    """Else: settled for little, it gives its cycle money back that another cycle has meanwhile been promised."""
    clock.now = BEFORE_MIDNIGHT
    for cycle in ("a", "b"):
        ledger.open_envelope(cycle)
    reserve(ledger, "1", 0.4)
    clock.now += timedelta(hours=1)
    assert standing(ledger) == (0.0, 0.8, 0.2)
    ledger.close_envelope("b")
    ledger.open_envelope("c")
    with pytest.raises(Conflict):
        ledger.open_envelope("d")
    ledger.settle("1", amount_usd=0.0, usage=None)
    reserve(ledger, "2", 0.4)
    reserve(ledger, "3", 0.4, cycle="c")
    assert [each.charged_usd for each in ledger.report(days=2).days] == [0.8, 0.0]


def test_clock_that_runs_behind_midnight_cannot_fill_either_day_beyond_its_limit(database, clock, ledger):
    clock.now = BEFORE_MIDNIGHT + timedelta(hours=1)
    behind = BudgetLedger(database, lambda: BEFORE_MIDNIGHT, BudgetLimits(1.0, 0.4))
    for cycle in ("a", "b"):
        ledger.open_envelope(cycle)
        reserve(ledger, f"all of {cycle}", 0.4, cycle=cycle)
        ledger.close_envelope(cycle)
    with pytest.raises(Conflict):
        behind.open_envelope("c")
    ledger.close_envelope("b")
    ledger.settle("all of b", amount_usd=0.0, usage=None)
    ledger.open_envelope("d")
    assert standing(behind) == (0.0, 0.0, 1.0)  # nothing of the day before can be spent by d
    reserve(behind, "1", 0.4, cycle="d")
    assert [(each.key, each.charged_usd) for each in ledger.report(days=2).days] == [("2026-03-02", 0.8)]


def test_report_splits_the_same_money_by_day_model_and_operation(ledger, clock):
    clock.now = NOON - timedelta(days=8)
    ledger.open_envelope("old")
    reserve(ledger, "0", 0.2, cycle="old")
    ledger.close_envelope("old")
    clock.now = NOON - timedelta(days=1)
    ledger.open_envelope("a")
    reserve(ledger, "1", 0.1, model="haiku")
    ledger.settle("1", amount_usd=0.012345678, usage=USAGE)
    clock.now = NOON
    ledger.open_envelope("b")
    for attempt_id, model, usd in (("2", "opus", 0.03), ("3", "haiku", 0.02)):
        reserve(ledger, attempt_id, 0.1, cycle="b", model=model)
        ledger.settle(attempt_id, amount_usd=usd, usage=USAGE)
    report = ledger.report(days=7)
    assert report.day == date(2026, 3, 1)
    assert report.open_cycles == ["a", "b"]
    for split in (report.days, report.models, report.operations):
        assert sum(each.charged_usd for each in split) == pytest.approx(0.062345678, abs=1e-12)
        assert sum(each.calls for each in split) == 3
        assert sum(each.usage.cache_read_tokens for each in split) == 1800
    assert [(each.key, each.charged_usd) for each in report.days] == [
        ("2026-03-01", 0.05),
        ("2026-02-28", 0.012345678),
    ]
    assert [each.key for each in report.models] == ["haiku", "opus"]
    assert [each.key for each in report.operations] == ["design_b", "design_a"]
    assert [each.key for each in ledger.report(days=9).operations][-1] == "design_old"
    assert report.spent_usd + report.reserved_usd + report.remaining_usd == pytest.approx(1.0, abs=1e-12)
    standing_now = asdict(ledger.standing())
    assert standing_now == {name: getattr(report, name) for name in standing_now}


def test_threads_that_reserve_at_once_get_exactly_what_there_is(ledger):
    for cycle in ("a", "b"):
        ledger.open_envelope(cycle)
    start = threading.Barrier(8)

    def try_to_reserve(number):
        start.wait(10)
        granted = 0
        for call in range(4):
            try:
                reserve(ledger, f"{number}:{call}", 0.05, cycle="ab"[number % 2])
                granted += 1
            except BudgetExceeded:
                pass
        return granted

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(try_to_reserve, range(8))) == 16  # 0.8 of envelopes, 0.05 each
    assert standing(ledger) == (0.0, 0.8, 0.2)


DAILY_USD, N_PROCESSES = 0.5, 3


def race(mode, url, tmp_path):
    """Let processes spend at once; return what the provider billed in all, in dollars."""
    bills = tmp_path / f"{mode}.bills"
    with ExitStack() as stack:
        racers = []
        for number in range(N_PROCESSES):
            request = {"mode": mode, "url": url, "bills": str(bills), "number": number}
            request |= {"n_cycles": 20, "daily_usd": DAILY_USD, "cycle_usd": 0.1}
            racer = subprocess.Popen(
                [sys.executable, RACER, json.dumps(request)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.callback(racer.kill)
            racers.append(stack.enter_context(racer))
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        assert [racer.wait(60) for racer in racers] == [0] * N_PROCESSES
    return sum(map(int, bills.read_text().split())) / 100


def test_processes_that_spend_at_once_are_billed_less_than_the_limit(database, url, tmp_path):
    billed_usd = race("ledger", url, tmp_path)
    ledger = BudgetLedger(database, HandClock(NOON), BudgetLimits(DAILY_USD, 0.1))
    spent_usd = ledger.report(days=1).spent_usd
    assert DAILY_USD / 2 < billed_usd <= spent_usd <= DAILY_USD


@pytest.mark.usefixtures("database")
def test_naive_check_then_call_overspends_in_the_same_race(url, tmp_path):
    """The control: if it kept within the limit too, the race would be none and the test above would show nothing."""
    billed_usd = race("naive", url, tmp_path)
    assert billed_usd > DAILY_USD


def test_conditional_insert_without_a_lock_overspends_on_postgresql(postgres_url):
    """Why writers queue there: two transactions at READ COMMITTED do not see each other's rows."""
    insert = sa.text(
        "INSERT INTO unlocked (usd) SELECT 60 WHERE (SELECT coalesce(sum(usd), 0) FROM unlocked) + 60 <= 100"
    )
    database = open_database(postgres_url)
    with database.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS unlocked"))
        connection.execute(sa.text("CREATE TABLE unlocked (usd integer)"))
    with database.engine.connect() as one, database.engine.connect() as other:
        for connection in (one, other):
            connection.execute(insert)
        one.commit()
        other.commit()
        assert one.execute(sa.text("SELECT sum(usd) FROM unlocked")).scalar_one() == 120
        one.commit()
        one.execute(sa.text("DROP TABLE unlocked"))
        one.commit()
    database.close()
