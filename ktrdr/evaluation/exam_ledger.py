"""Every look at sealed bars, written down before it is taken: there is one for each specification with its weights.

The more looks a workspace has taken, the more likely one of them passes by luck; the bar that an exam must clear rises
with them. So a look is counted before anything is read, whatever becomes of it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import JsonValue

from ktrdr.clock import Clock, from_epoch_ms
from ktrdr.database.engine import Database
from ktrdr.database.tables import exam_events
from ktrdr.errors import Conflict
from ktrdr.evaluation.exam_report import ExamRecord, LookRecord
from ktrdr.evaluation.hash_chain import ChainFault, ChainHead, HashChain

OPENED, CLOSED = "opened", "closed"
_WRITERS_LOCK = 7242104


@dataclass(frozen=True, slots=True)
class LookSubject:
    """What is to be looked at: whose exam, on which instruments, by which operation."""

    identity: str
    operation_id: str
    strategy: str
    strategy_sha256: str
    instruments: tuple[str, ...]
    designer: str | None


class ExamLedger:
    """The hash-chained list of looks. One writer at a time, any number of processes."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._chain = HashChain(database, clock, exam_events, subject="identity", lock_key=_WRITERS_LOCK)

    def open_look(self, subject: LookSubject, *, trial_head: ChainHead | None) -> int:
        """Count a look before it is taken and return its number, from 1.

        The same operation that opens it again, after a crash, gets the same number.

        Args:
            subject: What is looked at.
            trial_head: The trial ledger's newest row, which is written down beside it.

        Raises:
            Conflict: Another operation has looked already (`already_examined`).
        """
        with self._chain.writing() as ledger:
            opened = [row for row in ledger.rows(None) if row.event == OPENED]
            mine = [row for row in opened if row.identity == subject.identity]
            if mine:
                look = _look(mine[0])
                if look.operation_id != subject.operation_id:
                    raise already_examined(subject.strategy, look, is_over=len(ledger.rows(subject.identity)) > 1)
                return look.number
            number = len(opened) + 1
            document: dict[str, JsonValue] = {
                "number": number,
                "operation_id": subject.operation_id,
                "strategy": subject.strategy,
                "strategy_sha256": subject.strategy_sha256,
                "instruments": list[JsonValue](subject.instruments),
                "designer": subject.designer,
                "trial_head": None if trial_head is None else [trial_head.sequence, trial_head.hash],
            }
            ledger.add([(subject.identity, OPENED, document)])
        return number

    def close_look(self, identity: str, outcome: Mapping[str, JsonValue]) -> None:
        """Record what a look came to. One that was never opened, or is closed, stays as it is."""
        with self._chain.writing() as ledger:
            if [row.event for row in ledger.rows(identity)] == [OPENED]:
                ledger.add([(identity, CLOSED, outcome)])

    def count(self) -> int:
        """Return how many looks this workspace has taken."""
        query = sa.select(sa.func.count()).where(exam_events.c.event == OPENED)
        with self._database.engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def exams(self) -> list[ExamRecord]:
        """Return all looks, oldest first, each with its outcome if it has one."""
        rows = self._chain.rows()
        closed = {row.identity: json.loads(row.payload) for row in rows if row.event == CLOSED}
        return [
            ExamRecord.model_validate({"look": _look(row), "outcome": closed.get(row.identity)})
            for row in rows
            if row.event == OPENED
        ]

    def find(self, identity: str) -> ExamRecord | None:
        """Return the look at one specification with its weights, None where there was none."""
        return next((exam for exam in self.exams() if exam.look.identity == identity), None)

    def verify(self) -> list[ChainFault]:
        """Recompute the chain and return every row changed, put in, or removed before another; empty when whole."""
        return self._chain.verify()

    def trial_heads(self) -> Sequence[ChainHead]:
        """Return the rows of the trial ledger that were the newest when a look was opened."""
        heads = [json.loads(row.payload)["trial_head"] for row in self._chain.rows() if row.event == OPENED]
        return [ChainHead(*head) for head in heads if head is not None]


def already_examined(strategy: str, look: LookRecord, *, is_over: bool) -> Conflict:
    """Return the refusal of a second look."""
    name = "" if look.strategy == strategy else f" under the name {look.strategy!r}"
    rest = (
        "`ktrdr vault list` shows the outcome"
        if is_over
        else f"It has not ended: `ktrdr operations show {look.operation_id}`; if it failed or was cancelled, retry or "
        "resume goes on with the same look"
    )
    return Conflict(
        f"{strategy} has had its one exam{name} (look {look.number}, {look.operation_id}): the sealed bars are not "
        f"asked twice. {rest}",
        reason="already_examined",
        operation_id=look.operation_id,
    )


def _look(row: sa.Row[Any]) -> LookRecord:
    opened_at = from_epoch_ms(row.recorded_at_ms)
    return LookRecord.model_validate({**json.loads(row.payload), "identity": row.identity, "opened_at": opened_at})
