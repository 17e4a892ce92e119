"""What `ktrdr agent schedule` does."""

from datetime import datetime
from typing import Literal

from ktrdr.cli.exit_codes import ExitCode
from ktrdr.cli.output import MISSING, print_document, print_lines, say, shorten
from ktrdr.cli.session import run_action
from ktrdr.connect.connection import Connection
from ktrdr.schemas.schedules import NewSchedule, ScheduleDocument

_BRIEF_WIDTH = 100


def add_schedule(request: NewSchedule, as_json: bool) -> None:
    """Make a schedule and say what it needs."""

    async def action(connection: Connection) -> int:
        _show(await connection.client.add_schedule(request), as_json)
        await _hint_at_missing_worker(connection)
        return ExitCode.OK

    run_action(action)


def list_schedules(as_json: bool) -> None:
    """Show all schedules."""

    async def action(connection: Connection) -> int:
        found = await connection.client.schedules()
        if as_json:
            print_document(found)
        elif not found.schedules:
            print_lines(["there is no schedule; `ktrdr agent schedule --every 2h` makes one"])
        else:
            for schedule in found.schedules:
                print_lines(schedule_lines(schedule))
        if found.schedules:
            await _hint_at_missing_worker(connection)
        return ExitCode.OK

    run_action(action)


def change_schedule(change: Literal["pause", "resume", "remove"], name: str, as_json: bool) -> None:
    """Pause, resume or remove a schedule and show it."""

    async def action(connection: Connection) -> int:
        client = connection.client
        calls = {"pause": client.pause_schedule, "resume": client.resume_schedule, "remove": client.remove_schedule}
        schedule = await calls[change](name)
        if change == "remove" and not as_json:
            print_lines([f"{schedule.name} removed"])
        else:
            _show(schedule, as_json)
        if change != "resume" and schedule.last_cycle is not None and schedule.last_cycle.completed_at is None:
            cycle_id = schedule.last_cycle.operation_id
            say(f"Its cycle {cycle_id} goes on; `ktrdr agent cancel {cycle_id}` ends it")
        return ExitCode.OK

    run_action(action)


def schedule_lines(schedule: ScheduleDocument) -> list[str]:
    """Return a schedule and where it stands, in words for a person."""
    name = schedule.name if schedule.name == schedule.schedule_id else f"{schedule.name} ({schedule.schedule_id})"
    when = f"every {schedule.every}" if schedule.every else f"cron {schedule.cron!r} in {schedule.timezone}"
    lines = [f"{name}  {when}  {schedule.state.replace('_', ' ')}"]
    asked = {"brief": schedule.brief, "model": schedule.model, "seed": schedule.seed}
    lines += [f"  {key}: {shorten(str(value), _BRIEF_WIDTH)}" for key, value in asked.items() if value is not None]
    if schedule.reason is not None:
        lines.append(f"  {schedule.reason}: {schedule.message}")
    if schedule.consecutive_failures:
        lines.append(f"  failures in a row: {schedule.consecutive_failures}")
    if schedule.next_due_at is not None:
        lines.append(f"  next due: {_both_times(schedule.next_due_at)}")
    elif schedule.paused_at is not None:
        lines.append(f"  paused since: {_both_times(schedule.paused_at)}")
    return [*lines, f"  last cycle: {_last_cycle_words(schedule)}"]


def _show(schedule: ScheduleDocument, as_json: bool) -> None:
    if as_json:
        print_document(schedule)
    else:
        print_lines(schedule_lines(schedule))


def _both_times(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S %Z} ({moment:%Y-%m-%d %H:%M:%S} UTC)"


def _last_cycle_words(schedule: ScheduleDocument) -> str:
    cycle = schedule.last_cycle
    if cycle is None:
        return MISSING
    ended = "" if cycle.completed_at is None else f" at {_both_times(cycle.completed_at)}"
    return f"{cycle.operation_id} {cycle.status.value}{ended}" + (f": {cycle.reason}" if cycle.reason else "")


async def _hint_at_missing_worker(connection: Connection) -> None:
    if (await connection.client.readiness()).workers == 0:
        say("No worker is alive, and only a worker starts cycles: keep `ktrdr serve` (or `ktrdr worker`) running")
