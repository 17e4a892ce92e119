"""What a besieged laboratory has come to: its rows, ledgers, files, logs and processes, and what its provider saw."""

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from ktrdr.agents.budget import BudgetLedger, BudgetLimits
from ktrdr.clock import utc_now
from ktrdr.config import load_settings
from ktrdr.database.engine import open_database
from ktrdr.database.tables import budget_attempts
from ktrdr.evaluation.trial_ledger import TrialLedger
from ktrdr.operations.step_records import read_steps
from ktrdr.operations.store import OperationStore


@dataclass(frozen=True)
class Charge:
    """A row of the budget ledger, in nano-dollars; `settled` None: nobody knows."""

    cycle_id: str
    reserved: int
    settled: int | None


class Evidence:
    """Reads one workspace. `disturbances`: how often a worker, a job or a call was interrupted on purpose.

    `worker_deaths` counts those of whole workers.
    """

    def __init__(self, environment, *, received, epoch_offset_s=0.0, disturbances=0, worker_deaths=0):
        self.settings = load_settings(environment)
        self.folder = Path(environment["KTRDR_WORKSPACE"])
        self.database = open_database(self.settings.database_url)
        self.store = OperationStore(self.database, utc_now)
        self.ledger = TrialLedger(self.database, utc_now)
        limits = self.settings.budget
        self.budget = BudgetLedger(self.database, utc_now, BudgetLimits(limits.daily_usd, limits.cycle_usd))
        self.received = received
        self.epoch_offset_s = epoch_offset_s
        self.disturbances = disturbances
        self.worker_deaths = worker_deaths

    def close(self):
        self.database.close()

    def steps(self, operation_ids):
        """Return what operations remember."""
        return read_steps(self.store, operation_ids)

    def operations(self, operation_type):
        """Return all operations of a type."""
        found, cursor = [], None
        while True:
            page = self.store.list(type=operation_type, limit=200, cursor=cursor)
            found += page.operations
            cursor = page.next_cursor
            if cursor is None:
                return found

    def cycles(self):
        return self.operations("agent_research")

    def charges(self):
        """Return the budget ledger."""
        table = budget_attempts.c
        with self.database.engine.connect() as connection:
            rows = connection.execute(sa.select(table.cycle_id, table.reserved_nano_usd, table.settled_nano_usd)).all()
        return [Charge(*row) for row in rows]

    def is_tidy(self):
        """Whether the chores that follow an end are done, once a second as they are."""
        is_explained = not self.ledger.unclosed() and not self.budget.open_cycles()
        totals = {cycle.operation_id: cycle.metadata["cost_usd"] for cycle in self.cycles()}
        return (
            is_explained
            and not any(self.settings.attempts_folder.glob("op_*"))
            and all(abs(self.budget.cycle_totals(cycle)[1] - shown) < 1e-9 for cycle, shown in totals.items())
        )
