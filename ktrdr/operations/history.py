"""What an operation went through before its present attempt, kept in its metadata."""

from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from ktrdr.clock import epoch_ms, from_epoch_ms
from ktrdr.operations.store import OperationStore

ATTEMPTS, ATTEMPTS_DROPPED = "attempts", "attempts_dropped"
# A schedule's cycle may be resumed for months, and every list of operations reads the metadata.
ATTEMPTS_KEPT = 20

Repeater = Literal["worker", "resume", "retry"]


def attempt_record(phase: str, reason: str, at: datetime, by: Repeater) -> dict[str, JsonValue]:
    """Return what is kept of an attempt that ended: in which phase, why, when, and who set it going again."""
    moment = from_epoch_ms(epoch_ms(at))  # whole milliseconds, as all times of operations
    return {"phase": phase, "reason": reason, "at": moment.isoformat(timespec="milliseconds"), "by": by}


def note_attempt(store: OperationStore, operation_id: str, record: dict[str, JsonValue]) -> None:
    """Add a record to an operation's attempts, of which the last 20 are kept and the others counted.

    Adding the last one again changes nothing. One writer at a time: the worker that holds the operation, or whoever
    holds the trigger's lock.
    """
    metadata = store.get(operation_id).metadata
    noted, dropped = metadata.get(ATTEMPTS), metadata.get(ATTEMPTS_DROPPED)
    attempts = noted if isinstance(noted, list) else []
    if record in attempts:
        return
    attempts = [*attempts, record]
    more: dict[str, JsonValue] = {ATTEMPTS: attempts[-ATTEMPTS_KEPT:]}
    if len(attempts) > ATTEMPTS_KEPT:
        more[ATTEMPTS_DROPPED] = (dropped if isinstance(dropped, int) else 0) + len(attempts) - ATTEMPTS_KEPT
    store.write_metadata(operation_id, more)
