"""One cycle at a time, whoever asks and however many ask at once."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ktrdr.agents.budget import BudgetLedger, BudgetLimits
from ktrdr.agents.choice import model_chooser
from ktrdr.agents.trigger import FIRST_SEED, CycleRequest, CycleTrigger
from ktrdr.clock import utc_now
from ktrdr.config import load_settings
from ktrdr.database.engine import open_database
from ktrdr.errors import InvalidInput, NotFound
from ktrdr.market.store import BarStore
from ktrdr.operations.store import OperationStore, migrate_database
from ktrdr.strategy.store import StrategyStore

SCRIPT = Path(__file__).parent / "trigger_many.py"


@pytest.fixture
def settings(tmp_path, database_url):
    return load_settings({"KTRDR_WORKSPACE": str(tmp_path), "KTRDR_DATABASE_URL": database_url})


@pytest.fixture
def database(settings):
    database = open_database(settings.database_url)
    migrate_database(database)
    yield database
    database.close()


@pytest.fixture
def store(database):
    return OperationStore(database, utc_now)


@pytest.fixture
def cycle_trigger(settings, store, database):
    budget = BudgetLedger(database, utc_now, BudgetLimits(settings.budget.daily_usd, settings.budget.cycle_usd))
    return CycleTrigger(
        store,
        settings,
        StrategyStore(settings.strategies_folder),
        BarStore(settings.data_folder),
        budget,
        model_chooser(settings.agent),
    )


def test_of_twenty_simultaneous_triggers_from_two_processes_one_starts(settings, store):
    variables = {"KTRDR_WORKSPACE": str(settings.workspace), "KTRDR_DATABASE_URL": settings.database_url}
    environment = {**os.environ, **variables}
    command = [sys.executable, str(SCRIPT)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [answer for process in processes for answer in json.loads(process.communicate(timeout=60)[0])]
    assert Counter(outcome for outcome, _ in answers) == {"started": 1, "active_cycle_exists": 19}
    assert len({operation_id for _, operation_id in answers}) == 1
    assert len(store.list(type="agent_research").operations) == 1


def test_every_cycle_without_a_seed_takes_the_next_one(cycle_trigger, store):
    seeds = []
    for _ in range(3):
        cycle = cycle_trigger.trigger(CycleRequest(model="offline"))
        seeds.append(cycle.metadata["seed"])
        store.cancel(cycle.operation_id)
    assert seeds == [FIRST_SEED, FIRST_SEED + 1, FIRST_SEED + 2]


def test_what_cannot_be_done_is_refused_before_anything_is_stored(cycle_trigger, store):
    with pytest.raises(NotFound, match="no strategy 'unknown_one'"):
        cycle_trigger.trigger(CycleRequest(strategy="unknown_one"))
    with pytest.raises(InvalidInput, match="offline"):
        cycle_trigger.trigger(CycleRequest(model="gpt-99"))
    assert len(store.list(type="agent_research").operations) == 0
