"""Trigger ten cycles at once in this process, as soon as a line arrives; print how each ended."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

from ktrdr.agents.budget import BudgetLedger, BudgetLimits
from ktrdr.agents.choice import model_chooser
from ktrdr.agents.trigger import CycleRequest, CycleTrigger
from ktrdr.clock import utc_now
from ktrdr.config import load_settings
from ktrdr.database.engine import open_database
from ktrdr.errors import Conflict
from ktrdr.market.store import BarStore
from ktrdr.operations.store import OperationStore
from ktrdr.strategy.store import StrategyStore

settings = load_settings()
database = open_database(settings.database_url)
budget = BudgetLedger(database, utc_now, BudgetLimits(settings.budget.daily_usd, settings.budget.cycle_usd))
strategies = StrategyStore(settings.strategies_folder)
chooser = model_chooser(settings.agent)
cycle_trigger = CycleTrigger(
    OperationStore(database, utc_now), settings, strategies, BarStore(settings.data_folder), budget, chooser
)


def trigger(_: int) -> list[str]:
    try:
        return ["started", cycle_trigger.trigger(CycleRequest(model="offline")).operation_id]
    except Conflict as conflict:
        return [conflict.reason, str(conflict.operation_id)]


sys.stdout.write("ready\n")
sys.stdout.flush()
sys.stdin.readline()
with ThreadPoolExecutor(10) as pool:
    sys.stdout.write(json.dumps(list(pool.map(trigger, range(10)))) + "\n")
