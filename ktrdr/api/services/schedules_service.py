"""Research that starts by itself: making schedules, and saying where they stand."""

from ktrdr.agents.budget import BudgetLedger
from ktrdr.agents.cadence import Interval, format_interval
from ktrdr.agents.choice import ModelChooser, model_of_designer
from ktrdr.agents.schedule import Schedule, Standing, standing_of
from ktrdr.agents.schedule_store import ScheduleStore
from ktrdr.agents.scheduler import ScheduleDesk, ScheduleRequest, scheduled_cycles
from ktrdr.agents.trigger import CycleTrigger
from ktrdr.clock import Clock
from ktrdr.errors import InvalidInput
from ktrdr.operations.operation import Operation
from ktrdr.operations.store import OperationStore
from ktrdr.schemas.schedules import NewSchedule, ScheduledCycle, ScheduleDocument, ScheduleList, ScheduleState


class SchedulesService:
    """The use-cases behind `/agent/schedules`."""

    def __init__(
        self,
        schedules: ScheduleStore,
        operations: OperationStore,
        trigger: CycleTrigger,
        budget: BudgetLedger,
        choose_model: ModelChooser,
        clock: Clock,
    ) -> None:
        self._schedules = schedules
        self._operations = operations
        self._trigger = trigger
        self._budget = budget
        self._choose_model = choose_model
        self._clock = clock
        self._desk = ScheduleDesk(schedules, operations, choose_model, clock)

    def add(self, request: NewSchedule) -> ScheduleDocument:
        """Make a schedule.

        Raises:
            InvalidInput: Its interval, expression, time zone, name or model cannot be.
            Conflict: The name is taken.
        """
        asked = request.model_dump(exclude={"designer", "model"})
        model = model_of_designer(request.designer, request.model)
        return self._document(self._desk.add(ScheduleRequest(**asked, model=model)))

    def list(self) -> ScheduleList:
        """Return all schedules, oldest first."""
        return ScheduleList(schedules=[self._document(schedule) for schedule in self._schedules.list()])

    def pause(self, schedule: str) -> ScheduleDocument:
        """Pause the schedule of this id or name; raises NotFound."""
        return self._document(self._desk.pause(schedule))

    def resume(self, schedule: str) -> ScheduleDocument:
        """Resume the schedule of this id or name, its failures forgiven; raises NotFound."""
        return self._document(self._desk.resume(schedule))

    def remove(self, schedule: str) -> ScheduleDocument:
        """Remove the schedule of this id or name and return it as it was; raises NotFound."""
        return self._document(self._desk.remove(schedule))

    def _document(self, schedule: Schedule) -> ScheduleDocument:
        standing = standing_of(schedule, scheduled_cycles(self._operations, schedule))
        pause = schedule.pause or standing.surrender
        cadence = schedule.cadence
        state, reason, message = self._state(schedule, standing)
        every = format_interval(cadence.every) if isinstance(cadence, Interval) else None
        return ScheduleDocument(
            schedule_id=schedule.schedule_id,
            name=schedule.name,
            every=every,
            cron=None if isinstance(cadence, Interval) else cadence.expression,
            timezone=None if isinstance(cadence, Interval) else cadence.timezone,
            brief=schedule.brief,
            model=schedule.model,
            seed=schedule.seed,
            created_at=schedule.created_at,
            state=state,
            reason=reason,
            message=message,
            next_due_at=standing.next_due_at if pause is None else None,
            paused_at=None if pause is None else pause.at,
            consecutive_failures=standing.failures,
            last_cycle=None if standing.last is None else _cycle(standing.last),
        )

    def _state(self, schedule: Schedule, standing: Standing) -> tuple[ScheduleState, str | None, str | None]:
        pause = schedule.pause or standing.surrender
        if pause is not None:
            return "paused", pause.reason, pause.message
        if standing.active is not None:
            return "running", None, None
        if standing.next_due_at <= self._clock():
            return "waiting", *self._obstacle(schedule)
        if standing.failure is not None:
            return "backing_off", standing.failure.reason, standing.failure.message
        return "scheduled", None, None

    def _obstacle(self, schedule: Schedule) -> tuple[str | None, str | None]:
        """Return what keeps a schedule that is due from starting, as far as can be seen from here."""
        if not self._trigger.has_free_slot():
            return "active_cycle_exists", "as many cycles as may be are active"
        try:
            is_paid = self._choose_model(schedule.model).is_paid
        except InvalidInput as error:
            return error.reason, error.message
        budget = self._budget.report(days=1)
        if is_paid and budget.remaining_usd < budget.cycle_limit_usd:
            return "budget_exhausted", f"${budget.remaining_usd:.4f} are left of the day (UTC) for a whole cycle"
        return None, None


def _cycle(operation: Operation) -> ScheduledCycle:
    return ScheduledCycle(
        operation_id=operation.operation_id,
        status=operation.status,
        reason=None if operation.error is None else operation.error.reason,
        created_at=operation.created_at,
        completed_at=operation.completed_at,
    )
