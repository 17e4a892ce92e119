"""Rows that are only ever added, each with the hash of the one before: what was written cannot be changed unseen."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import JsonValue

from ktrdr.clock import Clock, epoch_ms
from ktrdr.database.engine import Database

_GENESIS = "0" * 64
_SUBJECTS_AT_ONCE = 1_000  # what one question to a database may hold

Event = tuple[str, str, Mapping[str, JsonValue]]
"""Subject, event and payload of a row to be."""


@dataclass(frozen=True, slots=True)
class ChainFault:
    """A row of a ledger that is not as it was written."""

    sequence: int
    what: str


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The last row of a ledger, by which a later reader finds out that rows were cut off at its end."""

    sequence: int
    hash: str


class HashChain:
    """The rows of one ledger. One writer at a time, any number of processes.

    Args:
        table: Has the columns sequence, event, recorded_at_ms, payload, previous_hash and hash.
        subject: The column that says what an event is about.
        lock_key: PostgreSQL's number of the writers' lock.
    """

    def __init__(self, database: Database, clock: Clock, table: sa.Table, *, subject: str, lock_key: int) -> None:
        self._database = database
        self._clock = clock
        self._table = table
        self._subject = table.c[subject]
        self._lock_key = lock_key

    def rows(self, subject: str | None = None) -> Sequence[sa.Row[Any]]:
        """Return the rows about a subject, or all, in their order."""
        with self._database.engine.connect() as connection:
            return self._rows(connection, subject)

    def head(self) -> ChainHead | None:
        """Return the last row, None of an empty ledger."""
        with self._database.engine.connect() as connection:
            return self._head(connection)

    @contextmanager
    def writing(self) -> Iterator["ChainWriter"]:
        """Hold the one right to add rows. What is added appears together, at the end."""
        with self._database.engine.begin() as connection:
            if self._database.is_sqlite:
                connection.execute(sa.text("BEGIN IMMEDIATE"))  # reads below must see the last writer's row
            else:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": self._lock_key})
            yield ChainWriter(
                lambda subject: self._rows(connection, subject),
                lambda subjects: self._count_events(connection, subjects),
                lambda events: self._add(connection, events),
            )

    def verify(self, known: Sequence[ChainHead] = ()) -> list[ChainFault]:
        """Recompute the chain and return every row changed, put in, or removed; empty when whole.

        Args:
            known: Rows that were written down elsewhere. The chain alone cannot show that rows are missing at its end.
        """
        faults = []
        previous, expected_sequence = _GENESIS, 1
        hashes: dict[int, str] = {}
        for row in self.rows():
            if row.sequence != expected_sequence:
                faults.append(ChainFault(expected_sequence, "is missing"))
            if row.previous_hash != previous:
                faults.append(ChainFault(row.sequence, "does not follow the row before it"))
            subject = row._mapping[self._subject.name]
            content = _row_hash(row.sequence, subject, row.event, row.recorded_at_ms, row.payload, row.previous_hash)
            if content != row.hash:
                faults.append(ChainFault(row.sequence, "was changed after it was written"))
            previous, expected_sequence = row.hash, row.sequence + 1
            hashes[row.sequence] = row.hash
        for head in known:
            if head.sequence not in hashes:
                faults.append(ChainFault(head.sequence, "was cut off: it is known from elsewhere"))
            elif hashes[head.sequence] != head.hash:
                faults.append(ChainFault(head.sequence, "is another one than is known from elsewhere"))
        return faults

    def _rows(self, connection: sa.Connection, subject: str | None) -> Sequence[sa.Row[Any]]:
        query = sa.select(self._table).order_by(self._table.c.sequence)
        return connection.execute(query if subject is None else query.where(self._subject == subject)).all()

    def _head(self, connection: sa.Connection) -> ChainHead | None:
        columns = (self._table.c.sequence, self._table.c.hash)
        last = connection.execute(sa.select(*columns).order_by(self._table.c.sequence.desc()).limit(1)).first()
        return None if last is None else ChainHead(last.sequence, last.hash)

    def _count_events(self, connection: sa.Connection, subjects: Sequence[str]) -> dict[str, int]:
        counts = dict.fromkeys(subjects, 0)
        query = sa.select(self._subject, sa.func.count()).group_by(self._subject)
        for first in range(0, len(subjects), _SUBJECTS_AT_ONCE):
            some = subjects[first : first + _SUBJECTS_AT_ONCE]
            counts.update((subject, n) for subject, n in connection.execute(query.where(self._subject.in_(some))))
        return counts

    def _add(self, connection: sa.Connection, events: Iterable[Event]) -> None:
        head = self._head(connection) or ChainHead(0, _GENESIS)
        recorded_at_ms = epoch_ms(self._clock())
        rows = []
        for subject, event, payload in events:
            sequence = head.sequence + 1
            # Compact: a row of a sweep is one of thousands.
            text = json.dumps(dict(payload), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            row_hash = _row_hash(sequence, subject, event, recorded_at_ms, text, head.hash)
            rows.append(
                {
                    "sequence": sequence,
                    self._subject.name: subject,
                    "event": event,
                    "recorded_at_ms": recorded_at_ms,
                    "payload": text,
                    "previous_hash": head.hash,
                    "hash": row_hash,
                }
            )
            head = ChainHead(sequence, row_hash)
        if rows:
            connection.execute(self._table.insert(), rows)


@dataclass(frozen=True, slots=True)
class ChainWriter:
    """What a writer may do: read the rows about a subject (None: all), count those about some, and add events once."""

    rows: Callable[[str | None], Sequence[sa.Row[Any]]]
    count_events: Callable[[Sequence[str]], dict[str, int]]
    add: Callable[[Iterable[Event]], None]


def _row_hash(sequence: int, subject: str, event: str, recorded_at_ms: int, payload: str, previous_hash: str) -> str:
    fields = [sequence, subject, event, recorded_at_ms, payload, previous_hash]
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()
