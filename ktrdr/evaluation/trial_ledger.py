"""Every configuration that was ever tried, counted whether it did well or not.

A selection among many tries looks better than it is; only a complete count can correct for that. So a trial is opened
before its training starts and closed with its outcome, refusals included; rows are only ever added, and each holds
the hash of the one before.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import JsonValue

from ktrdr.artifacts.files import canonical_json
from ktrdr.clock import Clock, epoch_ms
from ktrdr.database.engine import Database
from ktrdr.database.tables import trial_events

OPENED, CLOSED, REOPENED = "opened", "closed", "reopened"
# A trial that goes on after its end is closed again: each such event has a number, and is still written once.
_NUMBERED = "{event}#{number}"
_GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class TrialFault:
    """A row of the ledger that is not as it was written."""

    sequence: int
    what: str


class TrialLedger:
    """The hash-chained list of trials. One writer at a time, any number of processes."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def open_trial(self, trial_id: str, configuration: Mapping[str, JsonValue]) -> None:
        """Count a trial before it starts. Opening it again (a replay after a crash) changes nothing.

        Args:
            trial_id: Id of the training, or of the backtest that has no training of its own.
            configuration: What is tried: strategy, its hash, snapshot, seed.
        """
        self._append(trial_id, OPENED, configuration)

    def close_trial(self, trial_id: str, outcome: Mapping[str, JsonValue]) -> None:
        """Record how a trial ended. One that was never opened, or is closed, stays as it is.

        Args:
            trial_id: Usually an opened trial.
            outcome: Its reason slug and, where it got so far, metrics and the path of its daily returns.
        """
        self._append(trial_id, CLOSED, outcome)

    def reopen_trial(self, trial_id: str, cause: Mapping[str, JsonValue]) -> None:
        """Record that a closed trial goes on: it is counted once, and its last outcome is the one that holds.

        Args:
            trial_id: Any trial; one that is not closed stays as it is.
            cause: Who set it going again.
        """
        self._append(trial_id, REOPENED, cause)

    def configuration(self, trial_id: str) -> dict[str, JsonValue] | None:
        """Return what a trial was opened with, None where it was not."""
        query = sa.select(trial_events.c.payload).where(
            trial_events.c.trial_id == trial_id, trial_events.c.event == OPENED
        )
        with self._database.engine.connect() as connection:
            payload = connection.execute(query).scalar_one_or_none()
        return None if payload is None else dict(json.loads(payload))

    def outcome(self, trial_id: str) -> dict[str, JsonValue] | None:
        """Return how a trial ended, None as long as it has not."""
        with self._database.engine.connect() as connection:
            events = _events(connection, trial_id)
        if not events or not events[-1].event.startswith(CLOSED):
            return None
        return dict(json.loads(events[-1].payload))

    def count(self) -> int:
        """Return how many trials were started in this workspace."""
        query = sa.select(sa.func.count()).where(trial_events.c.event == OPENED)
        with self._database.engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def unclosed(self) -> list[str]:
        """Return the ids of trials that have no outcome yet, oldest first."""
        # Openings and closings alternate, so an open trial is one with an odd number of them.
        query = (
            sa.select(trial_events.c.trial_id)
            .group_by(trial_events.c.trial_id)
            .having(sa.func.count() % 2 == 1)
            .order_by(sa.func.min(trial_events.c.sequence))
        )
        with self._database.engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def verify(self) -> list[TrialFault]:
        """Recompute the chain and return every row changed, put in, or removed before another; empty when whole.

        Rows cut off at the end cannot be seen from the chain alone.
        """
        with self._database.engine.connect() as connection:
            rows = connection.execute(sa.select(trial_events).order_by(trial_events.c.sequence)).all()
        faults = []
        previous, expected_sequence = _GENESIS, 1
        for row in rows:
            if row.sequence != expected_sequence:
                faults.append(TrialFault(expected_sequence, "is missing"))
            if row.previous_hash != previous:
                faults.append(TrialFault(row.sequence, "does not follow the row before it"))
            content = _row_hash(
                row.sequence, row.trial_id, row.event, row.recorded_at_ms, row.payload, row.previous_hash
            )
            if content != row.hash:
                faults.append(TrialFault(row.sequence, "was changed after it was written"))
            previous, expected_sequence = row.hash, row.sequence + 1
        return faults

    def _append(self, trial_id: str, event: str, payload: Mapping[str, JsonValue]) -> None:
        text = canonical_json(dict(payload)).decode()
        with self._database.engine.begin() as connection:
            if self._database.is_sqlite:
                connection.execute(sa.text("BEGIN IMMEDIATE"))  # reads below must see the last writer's row
            else:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(7242102)"))
            name = _next_event(event, n_events=len(_events(connection, trial_id)))
            if name is None:
                return
            last = connection.execute(
                sa.select(trial_events.c.sequence, trial_events.c.hash)
                .order_by(trial_events.c.sequence.desc())
                .limit(1)
            ).first()
            sequence, previous = (1, _GENESIS) if last is None else (last.sequence + 1, last.hash)
            recorded_at_ms = epoch_ms(self._clock())
            connection.execute(
                trial_events.insert().values(
                    sequence=sequence,
                    trial_id=trial_id,
                    event=name,
                    recorded_at_ms=recorded_at_ms,
                    payload=text,
                    previous_hash=previous,
                    hash=_row_hash(sequence, trial_id, name, recorded_at_ms, text, previous),
                )
            )


def _events(connection: sa.Connection, trial_id: str) -> Sequence[sa.Row[Any]]:
    query = sa.select(trial_events).where(trial_events.c.trial_id == trial_id).order_by(trial_events.c.sequence)
    return connection.execute(query).all()


def _next_event(event: str, *, n_events: int) -> str | None:
    """Return the name of the row that an event adds to a trial with so many; None where it adds nothing.

    A trial's rows are opened, closed, reopened#2, closed#2, reopened#3 and so on. What comes out of turn (a replay
    after a crash, the end of a trial that was given up before it began) changes nothing.
    """
    is_in_turn = {OPENED: n_events == 0, CLOSED: n_events % 2 == 1, REOPENED: n_events > 0 and n_events % 2 == 0}
    if not is_in_turn[event]:
        return None
    return event if n_events < 2 else _NUMBERED.format(event=event, number=n_events // 2 + 1)


def _row_hash(sequence: int, trial_id: str, event: str, recorded_at_ms: int, payload: str, previous_hash: str) -> str:
    fields = [sequence, trial_id, event, recorded_at_ms, payload, previous_hash]
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()
