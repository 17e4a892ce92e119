"""Real workers, forked from one process that has imported everything: six times two seconds of imports are too many.

`python race_workers.py '[{"environment": {...}, "is_naive": false}, ...]'` prints the workers' pids; they die with it,
and it ends when its stdin does.
"""

import json
import os
import sys
import threading

import sqlalchemy as sa

import ktrdr.agents.llm.connect
from ktrdr import worker
from ktrdr.agents.budget import BudgetLedger
from ktrdr.clock import epoch_ms
from ktrdr.config import load_settings
from ktrdr.database.tables import budget_attempts, budget_envelopes
from ktrdr.errors import BudgetExceeded, Conflict
from ktrdr.operations.job_child import die_with_parent
from ktrdr.telemetry.logs import configure_logging

assert ktrdr.agents.llm.connect  # what a worker otherwise imports with its first call


class NaiveLedger(BudgetLedger):
    """The control: looks whether there is money for a call, then lets it be made, and holds nothing back meanwhile."""

    def open_envelope(self, cycle_id):
        with self._writing() as (connection, today):
            if self._spent(connection, today) >= self._daily_nano:
                raise Conflict("the day is spent", reason="budget_exhausted")
            connection.execute(
                budget_envelopes.insert().values(
                    cycle_id=cycle_id, opened_on=today, opened_at_ms=epoch_ms(self._clock()), limit_nano_usd=0
                )
            )

    def reserve(self, *, attempt_id, cycle_id, operation_id, model, amount_usd):
        with self._writing() as (connection, today):
            spent = self._spent(connection, today)
            if spent + int(amount_usd * 1e9) > self._daily_nano:
                raise BudgetExceeded(
                    "day", needed_usd=amount_usd, spent_usd=spent / 1e9, limit_usd=self._daily_nano / 1e9
                )
            row = {"attempt_id": attempt_id, "cycle_id": cycle_id, "operation_id": operation_id, "model": model}
            now = epoch_ms(self._clock())
            connection.execute(
                budget_attempts.insert().values(**row, day=today, reserved_at_ms=now, reserved_nano_usd=0)
            )

    @staticmethod
    def _spent(connection, day):
        spent = sa.func.coalesce(sa.func.sum(budget_attempts.c.settled_nano_usd), 0)
        return int(connection.execute(sa.select(spent).where(budget_attempts.c.day == day)).scalar_one())


def work(request):
    die_with_parent()
    os.environ.update(request["environment"])
    log = os.open(os.path.join(os.environ["KTRDR_WORKSPACE"], "worker.log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 2)
    configure_logging()
    if request["is_naive"]:
        worker.BudgetLedger = NaiveLedger
    options = worker.WorkerOptions(worker.ALL_QUEUES, concurrency=1, starts_scheduled_cycles=False, is_owned=True)
    stop = threading.Event()
    worker.start_worker(load_settings(), options, on_lost=stop.set)
    stop.wait()


def main():
    pids = []
    for request in json.loads(sys.argv[1]):
        pid = os.fork()
        if pid == 0:
            try:
                work(request)
            finally:
                os._exit(1)
        pids.append(pid)
    sys.stdout.write(json.dumps(pids) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
