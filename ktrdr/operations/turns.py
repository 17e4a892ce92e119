"""Whose turn it is in a queue: cycles take turns among themselves and with the line of what was asked for by itself.

First come, first served would let fifty trainings that somebody asked for at once hold up the next phase of every
cycle; cycles first would never let those fifty begin while cycles run. So each cycle counts as one party, and all that
was asked for by itself as another, in which it stands in line. A turn is a number that rises by one with every round
(start-time fair queueing, Goyal, Vin and Cheng 1996, all jobs of one length); the queue takes the lowest first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from dbos._schemas.system_database import SystemSchema

from ktrdr.operations.engine_tables import IN_FLIGHT


@dataclass(frozen=True, slots=True)
class Turn:
    """The turn of an operation that waits or runs; `is_child`: a cycle, or another operation, waits for it."""

    number: int
    is_child: bool


def next_turn(present: Sequence[Turn], *, is_child: bool) -> int:
    """Return the turn of a newcomer beside those that wait or run; >= 1.

    A child comes in the next round: its parent has no other. What was asked for by itself comes a round after the
    last of its line.
    """
    now = min((turn.number for turn in present), default=0)
    if is_child:
        return now + 1
    return max([now, *(turn.number for turn in present if not turn.is_child)]) + 1


def read_turns(engine: sa.Engine, queue: str) -> list[Turn]:
    """Return the turns of all that wait or run in a queue; `engine` is one for DBOS's tables."""
    table = SystemSchema.workflow_status
    query = sa.select(table.c.priority, table.c.parent_workflow_id.is_not(None)).where(
        IN_FLIGHT, table.c.queue_name == queue
    )
    with engine.connect() as connection:
        return [Turn(number or 0, bool(is_child)) for number, is_child in connection.execute(query)]
