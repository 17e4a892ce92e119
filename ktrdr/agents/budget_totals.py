"""What language models were asked and what that came to, since the ledger began."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal

import sqlalchemy as sa

from ktrdr.agents.budget_report import Usage, charge, to_usd
from ktrdr.clock import Clock, epoch_ms
from ktrdr.database.engine import Database
from ktrdr.database.tables import budget_attempts

CallOutcome = Literal["answered", "failed", "unknown"]
# A call that nobody has settled by now never will be: its reservation is what it is charged.
_SETTLED_BY_MS = 3_600_000
# Days so far back do not change any more.
_OPEN_DAYS = 2


@dataclass(slots=True)
class ModelTotals:
    """What one model was asked. `failed` calls were charged nothing; of `unknown` ones nobody knows the outcome."""

    calls: dict[CallOutcome, int] = field(default_factory=lambda: {"answered": 0, "failed": 0, "unknown": 0})
    usage: Usage = field(default_factory=lambda: Usage(0, 0, 0, 0))
    charged_nano_usd: int = 0

    @property
    def charged_usd(self) -> float:
        """Return the dollars charged."""
        return to_usd(self.charged_nano_usd)

    def add(self, outcome: CallOutcome, calls: int, charged_nano_usd: int, usage: Usage) -> None:
        """Count some calls."""
        self.calls[outcome] += calls
        self.charged_nano_usd += charged_nano_usd
        self.usage = Usage(*(getattr(self.usage, name) + getattr(usage, name) for name in Usage.__slots__))


class BudgetTotals:
    """Adds up the ledger's calls by model. Days that cannot change any more are added up once. Not thread-safe."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._engine = database.engine
        self._clock = clock
        self._closed: dict[str, ModelTotals] = {}
        self._closed_before = date.min

    def read(self) -> dict[str, ModelTotals]:
        """Return the totals of every model that was ever asked; calls that are under way are in none."""
        open_from = self._clock().date() - timedelta(days=_OPEN_DAYS)
        day = budget_attempts.c.day
        with self._engine.connect() as connection:
            if open_from > self._closed_before:
                closing = self._read(connection, self._closed, day >= self._closed_before, day < open_from)
                self._closed, self._closed_before = closing, open_from
            return self._read(connection, self._closed, day >= self._closed_before)

    def _read(
        self, connection: sa.Connection, before: dict[str, ModelTotals], *days: sa.ColumnElement[bool]
    ) -> dict[str, ModelTotals]:
        """Return `before` and the calls of some days on top of it."""
        columns = budget_attempts.c
        settled_by = epoch_ms(self._clock()) - _SETTLED_BY_MS
        outcome = sa.case(
            (columns.output_tokens.is_not(None), "answered"),
            (columns.settled_nano_usd == 0, "failed"),
            else_="unknown",
        )
        query = (
            sa.select(
                columns.model,
                outcome,
                sa.func.count(),
                sa.func.sum(charge()),
                *(sa.func.coalesce(sa.func.sum(columns[name]), 0) for name in Usage.__slots__),
            )
            .where(*days, sa.or_(columns.settled_at_ms.is_not(None), columns.reserved_at_ms < settled_by))
            .group_by(columns.model, outcome)
        )
        totals: dict[str, ModelTotals] = defaultdict(ModelTotals)
        for model, known in before.items():
            totals[model] = ModelTotals({**known.calls}, known.usage, known.charged_nano_usd)
        for model, ended, calls, charged, *tokens in connection.execute(query):
            totals[model].add(ended, int(calls), int(charged), Usage(*map(int, tokens)))
        return dict(totals)
