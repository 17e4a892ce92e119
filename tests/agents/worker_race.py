"""Cycles on several real workers against a small daily limit, with faults of the provider and a killed worker."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from fakes.anthropic_server import Answer, AnthropicServer, Hang, Raw, Refusal, text, tool_use
from race_workers import NaiveLedger

from ktrdr.agents.budget import BudgetLedger, BudgetLimits
from ktrdr.agents.choice import model_chooser
from ktrdr.agents.trigger import CycleRequest, CycleTrigger
from ktrdr.clock import utc_now
from ktrdr.config import load_settings
from ktrdr.database.engine import open_database
from ktrdr.errors import Conflict
from ktrdr.market.store import BarStore
from ktrdr.operations.store import OperationStore, migrate_database
from ktrdr.strategy.store import StrategyStore

WORKERS = Path(__file__).parent / "race_workers.py"
# A call is reserved with some $0.034 and comes to $0.02: the day holds half a call for each cycle, so that calls which
# are all let go because none is written down yet overspend it by far.
N_WORKERS, DAILY_USD_A_CYCLE, CYCLE_USD = 3, 0.011, 0.04
PATIENCE_S = 120


class UnreliableProvider:
    """Answers after a while, as a real one does; one request in three it answers with a fault."""

    def __init__(self):
        self._chance = random.Random(5)
        self._lock = threading.Lock()

    def play(self, _request):
        with self._lock:
            fate, size = self._chance.random(), self._chance.random()
        faults = (
            (0.08, Refusal(529, "overloaded_error")),
            (0.14, Refusal(500, is_billed=True)),
            (0.20, Raw(b'{"type": "message"', "application/json", cut=True)),
            (0.24, Hang(5)),
            (0.30, Refusal(429, "rate_limit_error", headers={"retry-after": "0.1"})),
        )
        for below, fault in faults:
            if fate < below:
                return fault
        usage = {"input_tokens": int(9_000 + 3_000 * size), "output_tokens": 200}
        content = [text("I stop.")] if fate > 0.85 else [tool_use("list_markets", {})]
        return Answer(content, usage=usage, delay_s=0.8)


@dataclass(frozen=True)
class RaceResult:
    """Dollars: the day's limit, what was billed, what the ledger has charged. `reasons`: how cycles ended."""

    limit_usd: float
    billed_usd: float
    charged_usd: float
    n_cycles: int
    n_refused: int
    n_calls: int
    reasons: dict[str, int]
    cycles_by_worker: list[int]
    seconds: float


class Race:
    """One workspace with its provider, workers and trigger."""

    def __init__(self, folder, data, n_cycles, *, is_naive, database_url=None):
        self.is_naive = is_naive
        self._n_cycles = n_cycles
        self.limit_usd = n_cycles * DAILY_USD_A_CYCLE
        self.server = AnthropicServer(script=UnreliableProvider().play)
        shutil.copytree(data, folder / "data")
        self.environment = {
            "KTRDR_WORKSPACE": str(folder),
            "KTRDR_AGENT_DAILY_BUDGET_USD": str(self.limit_usd),
            "KTRDR_AGENT_CYCLE_BUDGET_USD": str(CYCLE_USD),
            "KTRDR_AGENT_MAX_CONCURRENT_CYCLES": "60",
            "KTRDR_AGENT_MAX_OUTPUT_TOKENS": "256",
            "KTRDR_AGENT_MAX_TURNS": "3",
            "KTRDR_AGENT_CALL_TIMEOUT_S": "2",
            "KTRDR_AGENT_RETRY_BACKOFF_S": "0.05",
            "ANTHROPIC_API_KEY": "sk-ant-race",
            "ANTHROPIC_BASE_URL": self.server.url,
        }
        if database_url is not None:
            self.environment["KTRDR_DATABASE_URL"] = database_url
        settings = load_settings(self.environment)
        self.database = open_database(settings.database_url)
        migrate_database(self.database)
        self.operations = OperationStore(self.database, utc_now)
        kind = NaiveLedger if is_naive else BudgetLedger
        self.ledger = kind(self.database, utc_now, BudgetLimits(self.limit_usd, CYCLE_USD))
        strategies = StrategyStore(settings.strategies_folder)
        bars, chooser = BarStore(settings.data_folder), model_chooser(settings.agent)
        self._trigger = CycleTrigger(self.operations, settings, strategies, bars, self.ledger, chooser)

    def run(self, victim):
        """Trigger cycles as fast as the budget lets them start, kill a worker on the way, wait for their ends."""
        began = time.monotonic()
        self._until = began + PATIENCE_S
        started, n_refused = [], 0
        while len(started) + n_refused < self._n_cycles:
            try:
                started.append(self._trigger.trigger(CycleRequest()).operation_id)
            except Conflict:  # the budget is spent or promised, for now or for good
                n_refused += self._is_spent_for_good()
            if victim and len(self.server.received) >= self._n_cycles // 4:
                os.kill(victim, signal.SIGKILL)
                victim = None
        ended = [self._end_of(operation_id) for operation_id in started]
        reasons = [operation.error.reason for operation in ended]
        charged_usd = self.ledger.report(days=2).days[0].charged_usd
        executors = self._executors()
        return RaceResult(
            self.limit_usd,
            self.server.billed_usd,
            charged_usd,
            len(started),
            n_refused,
            len(self.server.received),
            {reason: reasons.count(reason) for reason in sorted(set(reasons))},
            [executors.count(each) for each in sorted(set(executors))],
            time.monotonic() - began,
        )

    def _is_spent_for_good(self):
        """Whether no cycle is under way that could give something back; else wait a moment."""
        self._pause()
        return not self.ledger.open_cycles()

    def _end_of(self, operation_id):
        while not (operation := self.operations.get(operation_id)).status.is_terminal:
            self._pause()
        return operation

    def _pause(self):
        assert time.monotonic() < self._until, "the race does not end"
        time.sleep(0.05)

    def _executors(self):
        schema = "" if self.database.is_sqlite else "dbos."
        with self.database.engine.connect() as connection:
            query = sa.text(f"SELECT executor_id FROM {schema}workflow_status WHERE name = 'agent_research'")
            return [str(each) for each in connection.execute(query).scalars()]

    def close(self):
        self.server.close()
        self.database.close()


def race_both(folder, data, *, cycles_each, database_urls=(None, None)):
    """Run the race with our ledger and with the naive control, on workers of their own; return both results."""
    with ExitStack() as stack:
        races = []
        for is_naive, url in zip((False, True), database_urls, strict=True):
            place = folder / ("naive" if is_naive else "ours")
            place.mkdir()
            race = Race(place, data, cycles_each * N_WORKERS, is_naive=is_naive, database_url=url)
            stack.callback(race.close)
            races.append(race)
        requests = [
            {"environment": race.environment, "is_naive": race.is_naive} for race in races for _ in range(N_WORKERS)
        ]
        workers = stack.enter_context(
            subprocess.Popen(
                [sys.executable, str(WORKERS), json.dumps(requests)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(workers.kill)  # its workers die with it
        pids = json.loads(workers.stdout.readline())
        with ThreadPoolExecutor(2) as pool:  # each mostly waits for its provider
            return list(pool.map(Race.run, races, (pids[0], pids[N_WORKERS])))


def tell(name, result):
    """Print a race's figures."""
    sys.stderr.write(
        f"\n{name}: {result.n_cycles} cycles on {result.cycles_by_worker}, {result.n_refused} refused, "
        f"{result.n_calls} HTTP calls, billed ${result.billed_usd:.4f} and charged ${result.charged_usd:.4f} of "
        f"${result.limit_usd:.2f} in {result.seconds:.1f} s; {result.reasons}\n"
    )


def check(ours, naive):
    """What must be true of a race, and of its control: else it were none."""
    tell("with reservations", ours)
    tell("naive control", naive)
    assert ours.billed_usd <= ours.charged_usd <= ours.limit_usd
    assert ours.billed_usd > ours.limit_usd / 3
    assert naive.billed_usd > naive.limit_usd
