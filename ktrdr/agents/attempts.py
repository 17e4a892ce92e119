"""Single attempts at calling a language model, as the budget ledger has them."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from ktrdr.agents.budget_report import Usage, charge, to_usd
from ktrdr.database.engine import Database
from ktrdr.database.tables import budget_attempts


@dataclass(frozen=True, slots=True)
class Attempt:
    """One HTTP attempt. `usage` is None where the provider named none, `charged_usd` then the whole reservation."""

    attempt_id: str
    operation_id: str
    model: str
    reserved_at_ms: int
    settled_at_ms: int | None
    charged_usd: float
    usage: Usage | None


def read_attempts(database: Database, cycle_ids: Sequence[str]) -> list[Attempt]:
    """Return every attempt that some cycles paid for, oldest first."""
    columns = budget_attempts.c
    query = (
        sa.select(
            columns.attempt_id,
            columns.operation_id,
            columns.model,
            columns.reserved_at_ms,
            columns.settled_at_ms,
            charge(),
            *(columns[name] for name in Usage.__slots__),
        )
        .where(columns.cycle_id.in_(cycle_ids))
        .order_by(columns.reserved_at_ms, columns.attempt_id)
    )
    with database.engine.connect() as connection:
        rows = connection.execute(query).all()
    return [
        Attempt(
            attempt_id=row[0],
            operation_id=row[1],
            model=row[2],
            reserved_at_ms=row[3],
            settled_at_ms=row[4],
            charged_usd=to_usd(int(row[5])),
            usage=None if row[6] is None else Usage(*row[6:]),
        )
        for row in rows
    ]
