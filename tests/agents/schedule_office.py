"""A workspace in which schedules start cycles and nobody works on them: the test says when and how one ends."""

import sqlalchemy as sa
from dbos._schemas.system_database import SystemSchema

from ktrdr.agents.budget import BudgetLedger, BudgetLimits
from ktrdr.agents.choice import ChosenModel
from ktrdr.agents.schedule_store import ScheduleStore
from ktrdr.agents.scheduler import CycleStarter, ScheduleDesk
from ktrdr.agents.trigger import CycleTrigger
from ktrdr.api.services.schedules_service import SchedulesService
from ktrdr.config import load_settings
from ktrdr.errors import InvalidInput, OperationFailed
from ktrdr.market.store import BarStore
from ktrdr.operations.serializer import JsonSerializer
from ktrdr.operations.store import OperationStore
from ktrdr.strategy.store import StrategyStore

DAILY_USD, CYCLE_USD = 1.0, 0.4
WORKFLOWS = SystemSchema.workflow_status


def choose(asked):
    if asked == "gone":
        raise InvalidInput("model: 'gone' is not to be had", reason="model_unavailable")
    return ChosenModel(asked or "offline", is_paid=asked is not None)


class Office:
    """One process's view of a workspace. `now` is its clock; several may share a database."""

    def __init__(self, database, folder, now, *, slots=1):
        self.now = now
        settings = load_settings({"KTRDR_WORKSPACE": str(folder), "KTRDR_AGENT_MAX_CONCURRENT_CYCLES": str(slots)})
        self.operations = OperationStore(database, self.clock)
        self.budget = BudgetLedger(database, self.clock, BudgetLimits(DAILY_USD, CYCLE_USD))
        strategies = StrategyStore(settings.strategies_folder)
        bars = BarStore(settings.data_folder)
        self.trigger = CycleTrigger(self.operations, settings, strategies, bars, self.budget, choose)
        self.schedules = ScheduleStore(database)
        self.desk = ScheduleDesk(self.schedules, self.operations, choose, self.clock)
        self.service = SchedulesService(self.schedules, self.operations, self.trigger, self.budget, choose, self.clock)
        self.starter = self.new_starter()
        self._engine = database.engine.execution_options(
            schema_translate_map={SystemSchema.metadata_obj.schema: None if database.is_sqlite else "dbos"}
        )

    def clock(self):
        return self.now

    def new_starter(self):
        return CycleStarter(self.schedules, self.operations, self.trigger, self.clock)

    def cycles(self, schedule_id):
        """Return a schedule's cycles, oldest first."""
        return self.operations.with_metadata("agent_research", "schedule_id", schedule_id, limit=200)[::-1]

    def end(self, cycle, outcome, *, spent_usd=0.0):
        """Write what the engine writes when a cycle ends: outcome is "completed", "cancelled" or an error's reason."""
        if outcome == "cancelled":
            self.operations.cancel(cycle.operation_id)
            return
        if spent_usd:
            self.budget.reserve(
                attempt_id=cycle.operation_id,
                cycle_id=cycle.operation_id,
                operation_id=cycle.operation_id,
                model="dear",
                amount_usd=spent_usd,
            )
        self.budget.close_envelope(cycle.operation_id)
        self.operations.mark(cycle.operation_id, "completed_at")
        serialize = JsonSerializer().serialize
        values = {"status": "SUCCESS", "output": serialize({})}
        if outcome != "completed":
            values = {"status": "ERROR", "error": serialize(OperationFailed("it went wrong", reason=outcome))}
        with self._engine.begin() as connection:
            connection.execute(
                sa.update(WORKFLOWS).where(WORKFLOWS.c.workflow_uuid == cycle.operation_id).values(values)
            )

    def end_all(self, outcome):
        for cycle in self.operations.active("agent_research"):
            self.end(cycle, outcome)

    def forget_everything(self, *tables):
        with self._engine.begin() as connection:
            for table in (WORKFLOWS, *tables):
                connection.execute(table.delete())
