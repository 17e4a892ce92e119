"""Reading the budget ledger: what a day has promised, what was spent on what."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any, Self

import sqlalchemy as sa

from ktrdr.database.tables import budget_attempts, budget_envelopes

NANOS_PER_USD = 1_000_000_000
MAX_OPERATIONS = 100


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call or of many. `input_tokens` includes the cached ones."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int


@dataclass(frozen=True, slots=True)
class Spending:
    """What the calls of one day, model or operation came to; `charged_usd` includes reservations not settled yet."""

    key: str
    charged_usd: float
    calls: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class BudgetStanding:
    """Where today's budget stands. Dollars; `spent_usd + reserved_usd + remaining_usd` is the daily limit.

    `reserved_usd` is what open cycles may still cost.
    """

    day: date
    daily_limit_usd: float
    cycle_limit_usd: float
    spent_usd: float
    reserved_usd: float
    remaining_usd: float


@dataclass(frozen=True, slots=True)
class BudgetReport(BudgetStanding):
    """The standing and what was spent on what.

    `days`, `models` and `operations` (the last hundred) cover the days asked for, newest or dearest first.
    """

    open_cycles: list[str]
    days: list[Spending]
    models: list[Spending]
    operations: list[Spending]


@dataclass(frozen=True, slots=True)
class _CycleBook:
    """One cycle's charges as one day sees them, nano-dollars. `limit` is that of an open envelope, else None."""

    limit: int | None
    charged: int  # on the day
    pending: int  # of that, reserved and not settled
    settled_before: int  # on other days, for good

    @property
    def promised(self) -> int:
        """What the day must keep for the cycle.

        A call of another day that is under way frees nothing yet: settled for less, it gives its rest back.
        """
        return self.charged if self.limit is None else max(self.charged, self.limit - self.settled_before)

    @property
    def spent(self) -> int:
        """What is charged for good. What the calls of a closed cycle left unsettled is: nobody will say otherwise."""
        return self.charged if self.limit is None else self.charged - self.pending


@dataclass(frozen=True, slots=True)
class DayBook:
    """What one day has spent and promised, nano-dollars; `promised` includes what is spent."""

    spent: int
    promised: int

    @classmethod
    def read(cls, connection: sa.Connection, day: date) -> Self:
        """Add up a day."""
        envelopes = sa.select(budget_envelopes.c.cycle_id, budget_envelopes.c.limit_nano_usd).where(
            budget_envelopes.c.closed_at_ms.is_(None),
            budget_envelopes.c.opened_on <= day,  # one of a clock ahead of ours is never charged to an earlier day
        )
        limits: dict[str, int] = {row.cycle_id: row.limit_nano_usd for row in connection.execute(envelopes)}
        is_of_day = budget_attempts.c.day == day
        is_settled = budget_attempts.c.settled_at_ms.is_not(None)
        sums = (
            sa.select(
                budget_attempts.c.cycle_id,
                _sum_where(is_of_day),
                _sum_where(is_of_day & ~is_settled),
                _sum_where(~is_of_day & is_settled),
            )
            .where(is_of_day | budget_attempts.c.cycle_id.in_(limits))
            .group_by(budget_attempts.c.cycle_id)
        )
        books = {
            cycle_id: _CycleBook(limits.get(cycle_id), int(charged), int(pending), int(before))
            for cycle_id, charged, pending, before in connection.execute(sums)
        }
        untouched = [_CycleBook(limit, 0, 0, 0) for cycle_id, limit in limits.items() if cycle_id not in books]
        every = [*books.values(), *untouched]
        return cls(sum(book.spent for book in every), sum(book.promised for book in every))


def charge() -> sa.ColumnElement[int]:
    """Return what an attempt is charged: what it cost, or its whole reservation as long as nobody knows."""
    return sa.func.coalesce(budget_attempts.c.settled_nano_usd, budget_attempts.c.reserved_nano_usd)


def to_usd(nano: int) -> float:
    """Return nano-dollars as dollars."""
    return nano / NANOS_PER_USD


def read_standing(connection: sa.Connection, *, today: date, daily_nano: int, cycle_nano: int) -> BudgetStanding:
    """Read where today stands in the transaction of `connection`: its own rows and those of open cycles, no others."""
    book = DayBook.read(connection, today)
    return BudgetStanding(
        day=today,
        daily_limit_usd=to_usd(daily_nano),
        cycle_limit_usd=to_usd(cycle_nano),
        spent_usd=to_usd(book.spent),
        reserved_usd=to_usd(book.promised - book.spent),
        remaining_usd=to_usd(max(0, daily_nano - book.promised)),
    )


def read_report(connection: sa.Connection, *, today: date, days: int, daily_nano: int, cycle_nano: int) -> BudgetReport:
    """Read the whole report in the transaction of `connection`."""
    standing = read_standing(connection, today=today, daily_nano=daily_nano, cycle_nano=cycle_nano)
    since = today - timedelta(days=days - 1)
    open_cycles = (
        sa.select(budget_envelopes.c.cycle_id)
        .where(budget_envelopes.c.closed_at_ms.is_(None))
        .order_by(budget_envelopes.c.opened_at_ms)
    )
    newest = sa.func.max(budget_attempts.c.reserved_at_ms).desc()
    return BudgetReport(
        **asdict(standing),
        open_cycles=list(connection.execute(open_cycles).scalars()),
        days=_spending(connection, budget_attempts.c.day, since, order=[budget_attempts.c.day.desc()]),
        models=_spending(connection, budget_attempts.c.model, since, order=[sa.func.sum(charge()).desc()]),
        operations=_spending(connection, budget_attempts.c.operation_id, since, order=[newest])[:MAX_OPERATIONS],
    )


def _sum_where(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(sa.case((condition, charge()), else_=0)), 0)


def _spending(
    connection: sa.Connection, key: sa.Column[object], since: date, *, order: Sequence[sa.ColumnElement[Any]]
) -> list[Spending]:
    tokens = [sa.func.coalesce(sa.func.sum(budget_attempts.c[name]), 0) for name in Usage.__slots__]
    query = (
        sa.select(key, sa.func.sum(charge()), sa.func.count(), *tokens)
        .where(budget_attempts.c.day >= since)
        .group_by(key)
        .order_by(*order, key)
    )
    return [
        Spending(str(found), to_usd(int(charged)), int(calls), Usage(*map(int, counts)))
        for found, charged, calls, *counts in connection.execute(query)
    ]
