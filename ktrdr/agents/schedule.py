"""Schedules: what to research again and again, and where that stands."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ktrdr.agents.cadence import Cadence, next_after_failures
from ktrdr.errors import InvalidInput
from ktrdr.operations.operation import Operation, OperationError, OperationStatus

# What another try cannot mend: somebody has to do something first.
DEFINITE_FAILURES = frozenset({"auth", "quota_exceeded", "model_not_found", "pricing_unknown", "model_unavailable"})
MAX_DEFINITE_FAILURES = 3
# Enough to see a run of failures that the backoff can still tell apart, with cancelled cycles in between.
HISTORY = 50
USER_PAUSE = "paused_by_user"
_NAME = re.compile(r"[a-z][a-z0-9_-]{1,63}")
_ID_PREFIX = "sch_"


@dataclass(frozen=True, slots=True)
class Pause:
    """Since when a schedule starts nothing, and why. `reason` is a stable slug."""

    at: datetime
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Schedule:
    """What somebody wants to be researched again and again.

    `seed` is that of the first cycle, and each later one takes the next; failures before `counted_from` are forgiven.
    """

    schedule_id: str
    name: str
    cadence: Cadence
    brief: str | None
    model: str | None
    seed: int | None
    created_at: datetime
    counted_from: datetime
    next_due_at: datetime
    pause: Pause | None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a schedule fares, as its cycles tell.

    Attributes:
        active: Its cycle that has not ended.
        last: Its newest cycle.
        failures: How many failed in a row; `failure` is the last one's.
        next_due_at: Not before this does it start another, backoff included.
        surrender: How it is to be paused, its failures being such that another try cannot mend them.
    """

    active: Operation | None
    last: Operation | None
    failures: int
    failure: OperationError | None
    next_due_at: datetime
    surrender: Pause | None


def standing_of(schedule: Schedule, cycles: Sequence[Operation]) -> Standing:
    """Judge a schedule by its cycles, newest first. Pure."""
    failed = _failures_in_a_row(schedule, cycles)
    next_due_at = schedule.next_due_at
    if failed:
        next_due_at = max(next_due_at, next_after_failures(schedule.cadence, failed[0].created_at, len(failed)))
    return Standing(
        active=next((cycle for cycle in cycles if not cycle.status.is_terminal), None),
        last=cycles[0] if cycles else None,
        failures=len(failed),
        failure=failed[0].error if failed else None,
        next_due_at=next_due_at,
        surrender=_surrender(failed),
    )


def new_schedule_id() -> str:
    """Return an id that no schedule has."""
    return _ID_PREFIX + secrets.token_hex(4)


def check_schedule_name(name: str) -> None:
    """Return if a schedule may have this name.

    Raises:
        InvalidInput: It may not.
    """
    if not _NAME.fullmatch(name) or name.startswith(_ID_PREFIX):
        raise InvalidInput(
            f"name: need 2 to 64 of a-z, 0-9, _ and -, a letter first and not {_ID_PREFIX!r}, was {name!r}",
            reason="invalid_name",
        )


def _failures_in_a_row(schedule: Schedule, cycles: Sequence[Operation]) -> list[Operation]:
    """Return the newest failed cycles, down to one that came to an end of its own: completed or refused by a gate."""
    failed: list[Operation] = []
    for cycle in cycles:
        if cycle.status is OperationStatus.COMPLETED or cycle.created_at < schedule.counted_from:
            break
        if cycle.error is not None:
            if cycle.error.reason.startswith("gate_failed:"):
                break
            failed.append(cycle)
    return failed


def _surrender(failed: Sequence[Operation]) -> Pause | None:
    newest = failed[:MAX_DEFINITE_FAILURES]
    errors = [cycle.error for cycle in newest if cycle.error is not None]
    definite = [error for error in errors if error.reason.rpartition(":")[2] in DEFINITE_FAILURES]
    if len(definite) < MAX_DEFINITE_FAILURES:
        return None
    return Pause(
        newest[0].completed_at or newest[0].created_at,
        definite[0].reason,
        f"{len(failed)} failures in a row that another try cannot mend, the last: {definite[0].message}",
    )
