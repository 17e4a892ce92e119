"""Trigger ten cycles at once in this process, as soon as a line arrives; print how each ended."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

from ktrdr.agents.trigger import CycleRequest, CycleTrigger
from ktrdr.clock import utc_now
from ktrdr.config import load_settings
from ktrdr.database.engine import open_database
from ktrdr.errors import Conflict
from ktrdr.operations.store import OperationStore
from ktrdr.strategy.store import StrategyStore

settings = load_settings()
store = OperationStore(open_database(settings.database_url), utc_now)
cycle_trigger = CycleTrigger(store, settings, StrategyStore(settings.strategies_folder))


def trigger(_: int) -> list[str]:
    try:
        return ["started", cycle_trigger.trigger(CycleRequest()).operation_id]
    except Conflict as conflict:
        return [conflict.reason, str(conflict.operation_id)]


sys.stdout.write("ready\n")
sys.stdout.flush()
sys.stdin.readline()
with ThreadPoolExecutor(10) as pool:
    sys.stdout.write(json.dumps(list(pool.map(trigger, range(10)))) + "\n")
