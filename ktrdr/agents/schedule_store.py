"""Schedules as rows. They hold no status of any cycle."""

from datetime import timedelta

import sqlalchemy as sa

from ktrdr.agents.cadence import Cadence, Cron, Interval
from ktrdr.agents.schedule import Pause, Schedule
from ktrdr.clock import epoch_ms, from_epoch_ms
from ktrdr.database.engine import Database
from ktrdr.database.tables import schedules
from ktrdr.errors import Conflict, NotFound

# The store has a method named `list`, which hides the type in its annotations.
Schedules = list[Schedule]


class ScheduleStore:
    """Reads and writes schedules. Hold the trigger's lock for whatever writes: so no start falls in between."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine

    def add(self, schedule: Schedule) -> None:
        """Store a new schedule.

        Raises:
            Conflict: Another one has its name (`schedule_exists`).
        """
        query = sa.select(schedules.c.schedule_id).where(schedules.c.name == schedule.name)
        with self._engine.begin() as connection:
            if connection.execute(query).first() is not None:
                raise Conflict(
                    f"there is a schedule {schedule.name!r} already; choose another --name, or remove that one first "
                    f"(`ktrdr agent schedule remove {schedule.name}`)",
                    reason="schedule_exists",
                )
            connection.execute(schedules.insert().values(_row(schedule)))

    def get(self, id_or_name: str) -> Schedule:
        """Return one schedule.

        Raises:
            NotFound: There is none of this id or name.
        """
        found = self._select(sa.or_(schedules.c.schedule_id == id_or_name, schedules.c.name == id_or_name))
        if not found:
            raise NotFound(
                f"no schedule {id_or_name!r}; `ktrdr agent schedule list` shows those that exist",
                reason="schedule_not_found",
            )
        return found[0]

    def list(self) -> Schedules:
        """Return all schedules, oldest first."""
        return self._select(sa.true())

    def due(self, now_ms: int) -> Schedules:
        """Return those that are not paused and due, the longest due first."""
        found = self._select(schedules.c.paused_at_ms.is_(None), schedules.c.next_due_ms <= now_ms)
        return sorted(found, key=lambda schedule: schedule.next_due_at)

    def replace(self, schedule: Schedule) -> None:
        """Write a schedule that exists anew."""
        with self._engine.begin() as connection:
            connection.execute(
                schedules.update().where(schedules.c.schedule_id == schedule.schedule_id).values(_row(schedule))
            )

    def remove(self, schedule_id: str) -> None:
        """Forget a schedule. Its cycles are what they are."""
        with self._engine.begin() as connection:
            connection.execute(schedules.delete().where(schedules.c.schedule_id == schedule_id))

    def _select(self, *conditions: sa.ColumnElement[bool]) -> Schedules:
        query = sa.select(schedules).where(*conditions).order_by(schedules.c.created_at_ms, schedules.c.schedule_id)
        with self._engine.connect() as connection:
            return [_schedule(row) for row in connection.execute(query).mappings()]


def _row(schedule: Schedule) -> dict[str, object]:
    cadence, pause = schedule.cadence, schedule.pause
    interval = cadence if isinstance(cadence, Interval) else None
    cron = cadence if isinstance(cadence, Cron) else None
    return {
        "schedule_id": schedule.schedule_id,
        "name": schedule.name,
        "every_s": interval and int(interval.every.total_seconds()),
        "cron": cron and cron.expression,
        "timezone": cron and cron.timezone,
        "brief": schedule.brief,
        "model": schedule.model,
        "seed": schedule.seed,
        "created_at_ms": epoch_ms(schedule.created_at),
        "counted_from_ms": epoch_ms(schedule.counted_from),
        "next_due_ms": epoch_ms(schedule.next_due_at),
        "paused_at_ms": pause and epoch_ms(pause.at),
        "pause_reason": pause and pause.reason,
        "pause_message": pause and pause.message,
    }


def _schedule(row: sa.RowMapping) -> Schedule:
    created_at = from_epoch_ms(row["created_at_ms"])
    cadence: Cadence
    if row["every_s"] is not None:
        cadence = Interval(timedelta(seconds=row["every_s"]), created_at)
    else:
        cadence = Cron(row["cron"], row["timezone"])
    paused_at = row["paused_at_ms"]
    return Schedule(
        schedule_id=row["schedule_id"],
        name=row["name"],
        cadence=cadence,
        brief=row["brief"],
        model=row["model"],
        seed=row["seed"],
        created_at=created_at,
        counted_from=from_epoch_ms(row["counted_from_ms"]),
        next_due_at=from_epoch_ms(row["next_due_ms"]),
        pause=None if paused_at is None else Pause(from_epoch_ms(paused_at), row["pause_reason"], row["pause_message"]),
    )
