"""Make, pause and remove schedules, and start their cycles when there is room."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ktrdr.agents.cadence import Cadence, Interval, parse_cron, parse_interval
from ktrdr.agents.choice import ModelChooser
from ktrdr.agents.cycle import AGENT_RESEARCH
from ktrdr.agents.schedule import (
    HISTORY,
    USER_PAUSE,
    Pause,
    Schedule,
    Standing,
    check_schedule_name,
    new_schedule_id,
    standing_of,
)
from ktrdr.agents.schedule_store import ScheduleStore
from ktrdr.agents.trigger import CycleRequest, CycleTrigger, ScheduledStart
from ktrdr.clock import Clock, epoch_ms, format_time, from_epoch_ms
from ktrdr.errors import Conflict, InvalidInput
from ktrdr.operations.operation import Operation
from ktrdr.operations.store import TRIGGER_LOCK, OperationStore

DEFAULT_TIMEZONE = "UTC"
# A day's budget comes back at midnight or when a cycle ends: asking costs a write lock, so not every second.
_BUDGET_PATIENCE = timedelta(seconds=15)
_SEEDS = 2**32


@dataclass(frozen=True, slots=True)
class ScheduleRequest:
    """What somebody asks of a schedule: exactly one of `every` ("30m") and `cron`, `timezone` only with the latter."""

    every: str | None = None
    cron: str | None = None
    timezone: str | None = None
    name: str | None = None
    brief: str | None = None
    model: str | None = None
    seed: int | None = None


class ScheduleDesk:
    """Where schedules are made, paused, resumed and removed. Once a call has returned, no start contradicts it."""

    def __init__(
        self, schedules: ScheduleStore, operations: OperationStore, choose_model: ModelChooser, clock: Clock
    ) -> None:
        self._schedules = schedules
        self._operations = operations
        self._choose_model = choose_model
        self._clock = clock

    def add(self, request: ScheduleRequest) -> Schedule:
        """Store a schedule: `every` is due at once, `cron` at its next time.

        Raises:
            InvalidInput: The interval, expression, time zone, name or model cannot be.
            Conflict: The name is taken.
        """
        if request.name is not None:
            check_schedule_name(request.name)
        self._choose_model(request.model)
        now = from_epoch_ms(epoch_ms(self._clock()))  # as the database will give it back
        schedule_id = new_schedule_id()
        cadence = _cadence(request, now)
        schedule = Schedule(
            schedule_id=schedule_id,
            name=request.name or schedule_id,
            cadence=cadence,
            brief=request.brief,
            model=request.model,
            seed=request.seed,
            created_at=now,
            counted_from=now,
            next_due_at=now if isinstance(cadence, Interval) else cadence.next_after(now),
            pause=None,
        )
        with self._operations.exclusive_lock(TRIGGER_LOCK):
            self._schedules.add(schedule)
        return schedule

    def pause(self, id_or_name: str) -> Schedule:
        """Keep a schedule from starting anything. Pausing twice is fine; raises NotFound."""
        with self._operations.exclusive_lock(TRIGGER_LOCK):
            schedule = self._schedules.get(id_or_name)
            if schedule.pause is None:
                pause = Pause(self._clock(), USER_PAUSE, "somebody paused it")
                schedule = replace(schedule, pause=pause)
                self._schedules.replace(schedule)
            return schedule

    def resume(self, id_or_name: str) -> Schedule:
        """Let a paused or backing off schedule start again at its next time, failures forgiven; raises NotFound."""
        with self._operations.exclusive_lock(TRIGGER_LOCK):
            schedule = self._schedules.get(id_or_name)
            failures = standing_of(schedule, scheduled_cycles(self._operations, schedule)).failures
            if schedule.pause is not None or failures:
                now = self._clock()
                next_due_at = schedule.cadence.next_after(now)
                schedule = replace(schedule, pause=None, counted_from=now, next_due_at=next_due_at)
                self._schedules.replace(schedule)
            return schedule

    def remove(self, id_or_name: str) -> Schedule:
        """Forget a schedule and return it as it was; its cycle, if one is active, goes on. Raises NotFound."""
        with self._operations.exclusive_lock(TRIGGER_LOCK):
            schedule = self._schedules.get(id_or_name)
            self._schedules.remove(schedule.schedule_id)
            return schedule


class CycleStarter:
    """Starts what is due: a chore of every worker. It remembers nothing that matters."""

    def __init__(
        self, schedules: ScheduleStore, operations: OperationStore, trigger: CycleTrigger, clock: Clock
    ) -> None:
        self._schedules = schedules
        self._operations = operations
        self._trigger = trigger
        self._clock = clock
        self._unaffordable_until: dict[str, datetime] = {}

    def start_due(self) -> None:
        """Start a cycle for every schedule that is due, as far as slots and budget go, the longest due first."""
        now = self._clock()
        for schedule in self._schedules.due(epoch_ms(now)):
            if self._unaffordable_until.get(schedule.schedule_id, now) > now:
                continue
            if not self._trigger.has_free_slot():
                return
            with self._operations.exclusive_lock(TRIGGER_LOCK):
                self._start(schedule.schedule_id)

    def _start(self, schedule_id: str) -> None:
        """Start a schedule's cycle, or write down why not. What was read before the lock may be stale."""
        now = self._clock()
        schedule = next((each for each in self._schedules.due(epoch_ms(now)) if each.schedule_id == schedule_id), None)
        if schedule is None:
            return
        cycles = scheduled_cycles(self._operations, schedule)
        standing = standing_of(schedule, cycles)
        started = _started_for(schedule, cycles)
        if started is not None:  # by somebody who died before the row moved on
            self._schedules.replace(
                replace(
                    schedule, next_due_at=schedule.cadence.next_after(max(started.created_at, schedule.next_due_at))
                )
            )
        elif standing.surrender is not None:
            self._schedules.replace(replace(schedule, pause=standing.surrender))
        elif standing.next_due_at > now:
            self._schedules.replace(replace(schedule, next_due_at=standing.next_due_at))
        elif standing.active is None:
            self._trigger_cycle(schedule, standing, now)

    def _trigger_cycle(self, schedule: Schedule, standing: Standing, now: datetime) -> None:
        request = CycleRequest(
            brief=schedule.brief,
            model=schedule.model,
            seed=_next_seed(schedule, standing.last),
            schedule=ScheduledStart(schedule.schedule_id, schedule.next_due_at),
        )
        try:
            self._trigger.trigger_locked(request)
        except Conflict as conflict:  # no room: it stays due
            if conflict.reason == "budget_exhausted":
                self._unaffordable_until[schedule.schedule_id] = now + _BUDGET_PATIENCE
            return
        except InvalidInput as error:
            self._schedules.replace(replace(schedule, pause=Pause(now, error.reason, error.message)))
            return
        self._schedules.replace(replace(schedule, next_due_at=schedule.cadence.next_after(now)))


def scheduled_cycles(operations: OperationStore, schedule: Schedule) -> list[Operation]:
    """Return the newest cycles of a schedule, newest first."""
    return operations.with_metadata(AGENT_RESEARCH, "schedule_id", schedule.schedule_id, limit=HISTORY)


def _cadence(request: ScheduleRequest, now: datetime) -> Cadence:
    if request.cron is not None and request.every is None:
        return parse_cron(request.cron, request.timezone or DEFAULT_TIMEZONE, now)
    if request.every is None or request.cron is not None:
        raise InvalidInput("need one of every (such as 30m) and cron (such as '0 22 * * 1-5')", reason="bad_cadence")
    if request.timezone is not None:
        raise InvalidInput("timezone: goes with cron only; every counts elapsed time", reason="bad_cadence")
    return Interval(parse_interval(request.every), now)


def _started_for(schedule: Schedule, cycles: list[Operation]) -> Operation | None:
    """Return the cycle that was started for the time at which the schedule is due, None where there is none."""
    due = format_time(schedule.next_due_at)
    return next((cycle for cycle in cycles if cycle.metadata.get("scheduled_for") == due), None)


def _next_seed(schedule: Schedule, last: Operation | None) -> int | None:
    if schedule.seed is None or last is None:
        return schedule.seed
    seed = last.metadata.get("seed")
    assert isinstance(seed, int)
    return (seed + 1) % _SEEDS
