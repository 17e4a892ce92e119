"""A paid cycle begins with its money set aside, and what it does not spend comes back however it ends."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from ktrdr.agents.budget import BudgetLedger, BudgetLimits, Usage
from ktrdr.agents.choice import ChosenModel
from ktrdr.agents.envelopes import envelope_reconciler
from ktrdr.agents.trigger import CycleRequest, CycleTrigger
from ktrdr.clock import utc_now
from ktrdr.config import load_settings
from ktrdr.database.engine import open_database
from ktrdr.errors import Conflict
from ktrdr.market.store import BarStore
from ktrdr.operations.store import OperationStore, migrate_database
from ktrdr.strategy.store import StrategyStore


class Office:
    """A workspace that nobody works in: cycles are triggered and cancelled, and none begins."""

    def __init__(self, folder, *, daily_usd):
        settings = load_settings({"KTRDR_WORKSPACE": str(folder), "KTRDR_AGENT_MAX_CONCURRENT_CYCLES": "50"})
        self.database = open_database(settings.database_url)
        migrate_database(self.database)
        self.operations = OperationStore(self.database, utc_now)
        self.budget = BudgetLedger(self.database, utc_now, BudgetLimits(daily_usd, cycle_usd=0.4))
        self.trigger = CycleTrigger(
            self.operations,
            settings,
            StrategyStore(settings.strategies_folder),
            BarStore(settings.data_folder),
            self.budget,
            lambda asked: ChosenModel(asked or "offline", is_paid=asked is not None),
        )

    def start(self, model="dear"):
        return self.trigger.trigger(CycleRequest(model=model)).operation_id


@pytest.fixture
def office(tmp_path):
    office = Office(tmp_path, daily_usd=1.0)
    yield office
    office.database.close()


def test_of_many_simultaneous_triggers_as_many_start_as_the_day_can_pay_whole(office):
    def try_to_start(_number):
        try:
            return office.start()
        except Conflict as refusal:
            return refusal.reason

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(try_to_start, range(8)))
    started = {answer for answer in answers if answer.startswith("op_")}
    assert answers.count("budget_exhausted") == 6
    assert set(office.budget.open_cycles()) == started
    assert {operation.operation_id for operation in office.operations.active("agent_research")} == started


def test_offline_cycle_does_not_touch_the_budget(tmp_path):
    office = Office(tmp_path, daily_usd=0.0)
    with pytest.raises(Conflict, match="KTRDR_AGENT_DAILY_BUDGET_USD"):
        office.start()
    assert office.start(model=None).startswith("op_agent_research")
    assert (office.budget.open_cycles(), office.budget.report(days=1).days) == ([], [])
    office.database.close()


def test_chore_closes_what_was_cancelled_or_never_begun_and_leaves_what_is_under_way(office):
    cancelled, active = office.start(), office.start()
    for cycle_id, attempt_id in ((cancelled, "1"), (cancelled, "2"), (active, "3")):
        office.budget.reserve(
            attempt_id=attempt_id, cycle_id=cycle_id, operation_id="design", model="dear", amount_usd=0.1
        )
    office.budget.settle("1", amount_usd=0.03, usage=Usage(900, 80, 0, 0))
    office.operations.cancel(cancelled)
    reconcile = envelope_reconciler(office.operations, office.budget)
    for _ in range(2):
        reconcile()
    assert office.budget.open_cycles() == [active]
    shown = office.operations.get(cancelled).metadata
    # The second call was under way when everything stopped: nobody knows what it cost, so all of it is charged.
    assert (shown["input_tokens"], shown["output_tokens"], shown["cost_usd"]) == (900, 80, 0.13)

    office.budget.settle("2", amount_usd=0.0, usage=None)  # its worker lived, and the call was refused after all
    reconcile()
    assert office.operations.get(cancelled).metadata["cost_usd"] == 0.03

    office.budget.open_envelope("op_agent_research_20260301_120000_abcdef")  # its trigger died before the cycle was
    reconcile()
    assert office.budget.open_cycles() == [active]


def test_next_trigger_needs_no_worker_to_get_back_what_cancelled_cycles_left(office):
    for _ in range(4):
        office.operations.cancel(office.start())
    assert office.budget.report(days=1).spent_usd == 0.0
