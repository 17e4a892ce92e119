"""Schedules on the wire: cycles that start by themselves."""

from typing import Literal

from pydantic import Field

from ktrdr.operations.operation import OperationStatus
from ktrdr.schemas.agent import MAX_BRIEF_CHARACTERS, MAX_SEED
from ktrdr.schemas.document import Document, RequestBody, Timestamp

ScheduleState = Literal["scheduled", "waiting", "running", "backing_off", "paused"]


class NewSchedule(RequestBody):
    """What is to be researched again and again, and when: `every` or `cron`."""

    every: str | None = Field(default=None, max_length=20, description="elapsed time, such as 30m, 2h or 1d; >= 1m")
    cron: str | None = Field(default=None, max_length=200, description="five fields, such as 0 22 * * 1-5")
    timezone: str | None = Field(default=None, max_length=64, description="whose clocks cron means; none: UTC")
    name: str | None = Field(default=None, max_length=64, description="none: the schedule's id")
    brief: str | None = Field(default=None, max_length=MAX_BRIEF_CHARACTERS, description="what to look for, in words")
    model: str | None = Field(default=None, max_length=200, description="which LLM designs; none: the default")
    designer: Literal["claude", "offline"] | None = Field(default=None, description="as when a cycle is triggered")
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED, description="of the first cycle; later ones count up")


class ScheduledCycle(Document):
    """A cycle that a schedule started, and how it ended; `reason` is its error's."""

    operation_id: str
    status: OperationStatus
    reason: str | None
    created_at: Timestamp
    completed_at: Timestamp | None


class ScheduleDocument(Document):
    """A schedule and where it stands.

    `waiting`: due, with `reason` what stands in the way (none: the next worker starts it). `backing_off`: `reason`
    is that of the last of the failures in a row. `paused`: starts nothing until it is resumed.
    """

    schedule_id: str
    name: str
    every: str | None
    cron: str | None
    timezone: str | None
    brief: str | None
    model: str | None
    seed: int | None
    created_at: Timestamp
    state: ScheduleState
    reason: str | None
    message: str | None = Field(description="the reason in words")
    next_due_at: Timestamp | None = Field(description="none while it is paused")
    paused_at: Timestamp | None
    consecutive_failures: int = Field(description="refusals at a gate are none")
    last_cycle: ScheduledCycle | None


class ScheduleList(Document):
    """All schedules, oldest first."""

    schedules: list[ScheduleDocument]
