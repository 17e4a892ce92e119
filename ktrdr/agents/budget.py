"""Money is reserved before it is spent: no day and no cycle can cost more than its limit.

A paid cycle opens an *envelope* when it is triggered: the most that it may ever spend. Before each HTTP attempt the
worst that it can cost is reserved; afterwards the reservation is settled with what it did cost. A reservation that is
never settled, because a process died or nobody knows what the provider did, stays charged.

What a day has promised is what is charged on it plus, for every open envelope, what that may still spend. A new
envelope must fit into that, so a cycle that has begun can use all of its own, also after midnight: an open envelope is
carried over with whatever calls of earlier days have not surely used up, and counts first on the new day. Days are
UTC. Each call is charged to the day on which it was reserved.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import sqlalchemy as sa

from ktrdr.agents.budget_report import (
    NANOS_PER_USD,
    BudgetReport,
    BudgetStanding,
    DayBook,
    Usage,
    charge,
    read_report,
    read_standing,
    to_usd,
)
from ktrdr.clock import Clock, epoch_ms
from ktrdr.database.engine import Database
from ktrdr.database.tables import budget_attempts, budget_envelopes, llm_answers
from ktrdr.errors import BudgetExceeded, Conflict, NotFound

__all__ = ["BudgetLedger", "BudgetLimits", "PaidAnswer", "Usage"]

_ADVISORY_LOCK = 7242103
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """Dollars that a UTC day and a cycle may cost."""

    daily_usd: float
    cycle_usd: float


@dataclass(frozen=True, slots=True)
class PaidAnswer:
    """A whole answer of a provider: the JSON text of its body, and which call of its operation it answers, from 1."""

    call_number: int
    body: str


class BudgetLedger:
    """Envelopes and reservations. One writer at a time, any number of threads, processes and machines."""

    def __init__(self, database: Database, clock: Clock, limits: BudgetLimits) -> None:
        self._database = database
        self._clock = clock
        self._daily_nano = _nano_limit(limits.daily_usd)
        self._cycle_nano = _nano_limit(limits.cycle_usd)

    def open_envelope(self, cycle_id: str) -> None:
        """Promise a cycle its whole limit; one that goes on after its end, what is left of it.

        Opening an envelope that is open changes nothing. One that was closed is opened again under the limit of today:
        what was spent from it stays spent, so that the limit holds over all attempts at the cycle.

        Raises:
            Conflict: It does not fit into what is left of the day, or nothing is left of it (`budget_exhausted`).
        """
        with self._writing() as (connection, today):
            present = _envelope(connection, cycle_id)
            if present is not None and present.closed_at_ms is None:
                return
            before = self._promised_from(connection, today)
            if present is None:
                connection.execute(
                    budget_envelopes.insert().values(
                        cycle_id=cycle_id,
                        opened_on=today,
                        opened_at_ms=epoch_ms(self._clock()),
                        limit_nano_usd=self._cycle_nano,
                    )
                )
            else:
                self._reopen(connection, cycle_id)
            promised = self._promised_from(connection, today)
            if promised > self._daily_nano:
                raise Conflict(  # the transaction is given up
                    f"a cycle may cost ${to_usd(promised - before):.2f}, and ${to_usd(before):.4f} of the day's "
                    f"${to_usd(self._daily_nano):.2f} are spent or promised; wait for midnight UTC, or change "
                    "KTRDR_AGENT_DAILY_BUDGET_USD or KTRDR_AGENT_CYCLE_BUDGET_USD",
                    reason="budget_exhausted",
                )

    def _reopen(self, connection: sa.Connection, cycle_id: str) -> None:
        charged = int(
            connection.execute(sa.select(_charged()).where(budget_attempts.c.cycle_id == cycle_id)).scalar_one()
        )
        if charged >= self._cycle_nano > 0:
            raise Conflict(
                f"{cycle_id} has spent ${to_usd(charged):.4f} of the ${to_usd(self._cycle_nano):.2f} that a cycle may "
                "cost over all its attempts; change KTRDR_AGENT_CYCLE_BUDGET_USD, or start a new cycle",
                reason="budget_exhausted",
            )
        connection.execute(
            budget_envelopes.update()
            .where(budget_envelopes.c.cycle_id == cycle_id)
            .values(closed_at_ms=None, limit_nano_usd=self._cycle_nano)
        )

    def close_envelope(self, cycle_id: str) -> None:
        """Free what a cycle has not spent; it can make no paid call any more. Closing twice, or none, is fine."""
        with self._writing() as (connection, _):
            connection.execute(
                budget_envelopes.update()
                .where(budget_envelopes.c.cycle_id == cycle_id, budget_envelopes.c.closed_at_ms.is_(None))
                .values(closed_at_ms=epoch_ms(self._clock()))
            )

    def open_cycles(self) -> list[str]:
        """Return the cycles whose envelopes are open, oldest first."""
        query = (
            sa.select(budget_envelopes.c.cycle_id)
            .where(budget_envelopes.c.closed_at_ms.is_(None))
            .order_by(budget_envelopes.c.opened_at_ms, budget_envelopes.c.cycle_id)
        )
        with self._database.engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def reserve(self, *, attempt_id: str, cycle_id: str, operation_id: str, model: str, amount_usd: float) -> None:
        """Charge the worst that an HTTP attempt can cost, before it is made. A free one needs no envelope.

        Args:
            attempt_id: Unique to this attempt; a retry is another attempt.
            cycle_id: Whose envelope pays.
            operation_id: The phase that makes the call.
            model: Name of the LLM.
            amount_usd: >= 0.

        Raises:
            BudgetExceeded: More than is left of the cycle or of the day; the call must not be made.
            Conflict: This attempt has a reservation already (`attempt_exists`), which pays for one call only.
        """
        amount = _nano_amount(amount_usd)
        with self._writing() as (connection, today):
            if _attempt(connection, attempt_id) is not None:
                raise Conflict(f"the attempt {attempt_id!r} has a reservation already", reason="attempt_exists")
            envelope = _envelope(connection, cycle_id)
            # A clock that runs behind must not charge a day on which the envelope was not promised yet.
            day = today if envelope is None else max(today, envelope.opened_on)
            if amount > 0:
                limit = 0 if envelope is None or envelope.closed_at_ms is not None else envelope.limit_nano_usd
                _refuse_beyond(limit, amount, "cycle", connection, budget_attempts.c.cycle_id == cycle_id)
                # Implied by the envelopes unless a provider charged more than was reserved, or the limit was lowered.
                _refuse_beyond(self._daily_nano, amount, "day", connection, budget_attempts.c.day == day)
            connection.execute(
                budget_attempts.insert().values(
                    attempt_id=attempt_id,
                    cycle_id=cycle_id,
                    operation_id=operation_id,
                    model=model,
                    day=day,
                    reserved_at_ms=epoch_ms(self._clock()),
                    reserved_nano_usd=amount,
                )
            )

    def settle(
        self, attempt_id: str, *, amount_usd: float | None, usage: Usage | None, answer: PaidAnswer | None = None
    ) -> None:
        """Record what an attempt did cost, and keep its answer. Only the first settlement counts.

        Args:
            attempt_id: A reserved attempt.
            amount_usd: What the provider charges, 0.0 where it surely charges nothing; None where nobody knows: then
                the whole reservation stays charged.
            usage: Tokens, where they are known.
            answer: What was paid for. It replaces the one kept for the operation's call before: that is a recorded
                step by now.

        Raises:
            NotFound: Nothing was reserved for it.
        """
        amount = None if amount_usd is None else _nano_amount(amount_usd)
        tokens = {} if usage is None else {name: getattr(usage, name) for name in Usage.__slots__}
        with self._writing() as (connection, _):
            attempt = _attempt(connection, attempt_id)
            if attempt is None:
                raise NotFound(f"nothing was reserved for the attempt {attempt_id!r}", reason="attempt_not_found")
            if attempt.settled_at_ms is not None:
                return
            connection.execute(
                budget_attempts.update()
                .where(budget_attempts.c.attempt_id == attempt_id)
                .values(settled_at_ms=epoch_ms(self._clock()), settled_nano_usd=amount, **tokens)
            )
            if answer is not None:
                _keep(connection, attempt.operation_id, attempt.cycle_id, answer)
        if amount is not None and amount > attempt.reserved_nano_usd:
            _logger.error(
                "the attempt %s of %s cost $%.6f, more than the $%.6f reserved for it: the price list or the estimate "
                "of %s is wrong, and the limits may be overrun by the difference",
                attempt_id,
                attempt.operation_id,
                to_usd(amount),
                to_usd(attempt.reserved_nano_usd),
                attempt.model,
            )

    def paid_answer(self, operation_id: str, call_number: int) -> str | None:
        """Return the body of an answer that was paid for, None if this call has none (any more)."""
        query = sa.select(llm_answers.c.body).where(
            llm_answers.c.operation_id == operation_id, llm_answers.c.call_number == call_number
        )
        with self._database.engine.connect() as connection:
            return connection.execute(query).scalar_one_or_none()

    def forget_answers(self, cycle_id: str) -> None:
        """Remove the answers kept for a cycle: all its calls are recorded steps."""
        with self._writing() as (connection, _):
            connection.execute(llm_answers.delete().where(llm_answers.c.cycle_id == cycle_id))

    def cycle_totals(self, cycle_id: str) -> tuple[Usage, float]:
        """Return the tokens of a cycle's settled calls, and the dollars charged for it so far, reservations too."""
        counts = [sa.func.coalesce(sa.func.sum(budget_attempts.c[name]), 0) for name in Usage.__slots__]
        query = sa.select(*counts, _charged()).where(budget_attempts.c.cycle_id == cycle_id)
        with self._database.engine.connect() as connection:
            *tokens, charged = connection.execute(query).one()
        return Usage(*map(int, tokens)), to_usd(int(charged))

    def report(self, days: int) -> BudgetReport:
        """Return what was spent in the last `days` days (>= 1), today included, and what is left of today."""
        with self._reading() as (connection, today):
            return read_report(
                connection, today=today, days=days, daily_nano=self._daily_nano, cycle_nano=self._cycle_nano
            )

    def standing(self) -> BudgetStanding:
        """Return where today's budget stands; much cheaper than a report."""
        with self._reading() as (connection, today):
            return read_standing(connection, today=today, daily_nano=self._daily_nano, cycle_nano=self._cycle_nano)

    def settled_late(self) -> list[str]:
        """Return the cycles with a call of today or yesterday that was settled after their envelope was closed."""
        with self._reading() as (connection, today):
            query = (
                sa.select(budget_attempts.c.cycle_id)
                .distinct()
                .join(budget_envelopes, budget_envelopes.c.cycle_id == budget_attempts.c.cycle_id)
                .where(
                    budget_attempts.c.day >= today - timedelta(days=1),
                    budget_attempts.c.settled_at_ms >= budget_envelopes.c.closed_at_ms,
                )
            )
            return list(connection.execute(query).scalars())

    def _promised_from(self, connection: sa.Connection, today: date) -> int:
        """Return the most that today, or a later day that a clock ahead of ours has begun, has promised."""
        charged = sa.select(budget_attempts.c.day).where(budget_attempts.c.day > today)
        opened = sa.select(budget_envelopes.c.opened_on).where(
            budget_envelopes.c.opened_on > today, budget_envelopes.c.closed_at_ms.is_(None)
        )
        days = [today, *connection.execute(charged.union(opened)).scalars()]
        return max(DayBook.read(connection, day).promised for day in days)

    @contextmanager
    def _reading(self) -> Iterator[tuple[sa.Connection, date]]:
        """Begin a transaction whose sums are of one moment."""
        with self._database.engine.connect() as connection:
            if self._database.is_sqlite:
                connection.execute(sa.text("BEGIN"))
            else:
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection, self._clock().date()

    @contextmanager
    def _writing(self) -> Iterator[tuple[sa.Connection, date]]:
        """Begin a transaction that no other writer's can overlap; the day is read when the wait is over."""
        with self._database.engine.connect() as connection:
            if self._database.is_sqlite:
                connection.execute(sa.text("BEGIN IMMEDIATE"))
            else:
                # Under a stricter level the snapshot would be older than the lock, and miss the last writer's rows.
                connection.execution_options(isolation_level="READ COMMITTED")
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            yield connection, self._clock().date()
            connection.commit()


def _envelope(connection: sa.Connection, cycle_id: str) -> sa.Row[tuple[object, ...]] | None:
    return connection.execute(sa.select(budget_envelopes).where(budget_envelopes.c.cycle_id == cycle_id)).one_or_none()


def _attempt(connection: sa.Connection, attempt_id: str) -> sa.Row[tuple[object, ...]] | None:
    return connection.execute(
        sa.select(budget_attempts).where(budget_attempts.c.attempt_id == attempt_id)
    ).one_or_none()


def _keep(connection: sa.Connection, operation_id: str, cycle_id: str, answer: PaidAnswer) -> None:
    connection.execute(llm_answers.delete().where(llm_answers.c.operation_id == operation_id))
    connection.execute(
        llm_answers.insert().values(
            operation_id=operation_id, cycle_id=cycle_id, call_number=answer.call_number, body=answer.body
        )
    )


def _charged() -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(charge()), 0)


def _refuse_beyond(
    limit: int, amount: int, scope: str, connection: sa.Connection, condition: sa.ColumnElement[bool]
) -> None:
    charged = int(connection.execute(sa.select(_charged()).where(condition)).scalar_one())
    if charged + amount > limit:
        raise BudgetExceeded(scope, needed_usd=to_usd(amount), spent_usd=to_usd(charged), limit_usd=to_usd(limit))


def _nano_limit(usd: float) -> int:
    return int((Decimal(repr(usd)) * NANOS_PER_USD).to_integral_value(ROUND_FLOOR))


def _nano_amount(usd: float) -> int:
    if not 0 <= usd < float("inf"):
        raise ValueError(f"need a finite amount of dollars >= 0, was {usd!r}")
    return int((Decimal(repr(float(usd))) * NANOS_PER_USD).to_integral_value(ROUND_CEILING))
