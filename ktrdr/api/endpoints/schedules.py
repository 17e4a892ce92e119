"""`/agent/schedules`: research that starts by itself."""

from typing import Any

from fastapi import APIRouter

from ktrdr.api.composition import Composed
from ktrdr.schemas.problem import Problem
from ktrdr.schemas.schedules import NewSchedule, ScheduleDocument, ScheduleList

router = APIRouter(prefix="/agent/schedules", tags=["agent"])
_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "No schedule of this id or name"}}


@router.post("", status_code=201, responses={409: {"model": Problem, "description": "The name is taken"}})
def add(composition: Composed, request: NewSchedule) -> ScheduleDocument:
    """Make a schedule: `every` is due at once, `cron` at its next time."""
    return composition.schedules.add(request)


@router.get("")
def list_all(composition: Composed) -> ScheduleList:
    """Say when each is due next, how its last cycle ended, and what it waits for."""
    return composition.schedules.list()


@router.post("/{schedule}/pause", responses=_UNKNOWN)
def pause(composition: Composed, schedule: str) -> ScheduleDocument:
    """Keep it from starting anything. A cycle that is active goes on."""
    return composition.schedules.pause(schedule)


@router.post("/{schedule}/resume", responses=_UNKNOWN)
def resume(composition: Composed, schedule: str) -> ScheduleDocument:
    """Let it start again at its next time, its failures forgiven."""
    return composition.schedules.resume(schedule)


@router.delete("/{schedule}", responses=_UNKNOWN)
def remove(composition: Composed, schedule: str) -> ScheduleDocument:
    """Forget it; the answer is what it was. A cycle that is active goes on."""
    return composition.schedules.remove(schedule)
