"""A process that runs cycles as fast as it can. `bill` stands for the provider: what it writes was really charged.

`python budget_racer.py '{"mode": "ledger" | "naive", "url": ..., "bills": FILE, ...}'`; it waits for a line on stdin.
"""

import json
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import sqlalchemy as sa

from ktrdr.agents.budget import BudgetLedger, BudgetLimits
from ktrdr.database.engine import open_database
from ktrdr.database.tables import budget_attempts
from ktrdr.errors import BudgetExceeded, Conflict

THREADS, CALLS_A_CYCLE, CALL_S = 4, 4, 0.003
WORST_CENTS = 3
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Racer:
    def __init__(self, request):
        self.number = request["number"]
        self.n_cycles = request["n_cycles"]
        self.limits = BudgetLimits(request["daily_usd"], request["cycle_usd"])
        self.chance = random.Random(self.number)
        self.bills = os.open(request["bills"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.database = open_database(request["url"])
        self.ledger = BudgetLedger(self.database, lambda: NOON, self.limits)

    def call(self):
        """Make a call and return its price in cents, billed at once."""
        time.sleep(CALL_S)
        cents = self.chance.randint(1, WORST_CENTS)
        os.write(self.bills, f"{cents}\n".encode())
        return cents

    def run_with_the_ledger(self, cycle_id):
        try:
            self.ledger.open_envelope(cycle_id)
        except Conflict:
            time.sleep(CALL_S)
            return
        for number in range(CALLS_A_CYCLE):
            attempt_id = f"{cycle_id}:{number}"
            try:
                self.ledger.reserve(
                    attempt_id=attempt_id,
                    cycle_id=cycle_id,
                    operation_id=cycle_id,
                    model="racer",
                    amount_usd=WORST_CENTS / 100,
                )
            except BudgetExceeded:
                break
            self.end_call(attempt_id)
        self.ledger.close_envelope(cycle_id)

    def end_call(self, attempt_id):
        fate = self.chance.random()
        if fate < 0.15:  # refused for certain: the provider bills nothing
            self.ledger.settle(attempt_id, amount_usd=0.0, usage=None)
        elif fate < 0.25:  # billed, but the answer was lost
            self.call()
            self.ledger.settle(attempt_id, amount_usd=None, usage=None)
        elif fate < 0.35:  # billed, and then the process died
            self.call()
        else:
            self.ledger.settle(attempt_id, amount_usd=self.call() / 100, usage=None)

    def run_naively(self, cycle_id):
        """Look whether there is money left, then call, then write down what it cost."""
        spent = sa.select(sa.func.coalesce(sa.func.sum(budget_attempts.c.settled_nano_usd), 0))
        for number in range(CALLS_A_CYCLE):
            with self.database.engine.connect() as connection:
                spent_usd = int(connection.execute(spent).scalar_one()) / 1e9
            if spent_usd + WORST_CENTS / 100 > self.limits.daily_usd:
                return
            cents = self.call()
            row = {
                "attempt_id": f"{cycle_id}:{number}",
                "cycle_id": cycle_id,
                "operation_id": cycle_id,
                "model": "naive",
            }
            row |= {"day": NOON.date(), "reserved_at_ms": 0, "reserved_nano_usd": 0, "settled_nano_usd": cents * 10**7}
            with self.database.engine.begin() as connection:
                connection.execute(budget_attempts.insert().values(**row))

    def race(self, mode):
        run = self.run_with_the_ledger if mode == "ledger" else self.run_naively
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(run, [f"cycle_{self.number}_{number}" for number in range(self.n_cycles)]))
        self.database.close()


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    racer = Racer(request)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    racer.race(request["mode"])
