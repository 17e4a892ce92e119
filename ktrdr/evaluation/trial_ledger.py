"""Every configuration that was ever tried, counted whether it did well or not.

A selection among many tries looks better than it is; only a complete count can correct for that. So a trial is opened
before its training starts and closed with its outcome, refusals included; rows are only ever added, and each holds
the hash of the one before.
"""

import json
import math
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from pydantic import JsonValue

from ktrdr.backtest.report import TrialHistory, TrialSharpes
from ktrdr.clock import Clock
from ktrdr.database.engine import Database
from ktrdr.database.tables import trial_events
from ktrdr.evaluation.hash_chain import ChainFault, ChainHead, HashChain

OPENED, CLOSED, REOPENED = "opened", "closed", "reopened"
# A trial that goes on after its end is closed again: each such event has a number, and is still written once.
_NUMBERED = "{event}#{number}"
_VARIANT = "#"  # stands in no operation's id
_WRITERS_LOCK = 7242102


def variant_trial(operation_id: str, number: int) -> str:
    """Return the id of the trial that is one variant of a sweep: the same one whenever the sweep runs again."""
    return f"{operation_id}{_VARIANT}{number}"


def operation_of(trial_id: str) -> str:
    """Return the operation that a trial belongs to; only those of a sweep share theirs."""
    return trial_id.partition(_VARIANT)[0]


class TrialLedger:
    """The hash-chained list of trials. One writer at a time, any number of processes."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._chain = HashChain(database, clock, trial_events, subject="trial_id", lock_key=_WRITERS_LOCK)

    def open_trial(self, trial_id: str, configuration: Mapping[str, JsonValue]) -> None:
        """Count a trial before it starts. Opening it again (a replay after a crash) changes nothing.

        Args:
            trial_id: Id of the training, or of the backtest that has no training of its own.
            configuration: What is tried: strategy, its hash, snapshot, seed.
        """
        self.open_trials({trial_id: configuration})

    def open_trials(self, configurations: Mapping[str, Mapping[str, JsonValue]]) -> None:
        """Count many trials by their ids, all at once; those that are counted stay as they are."""
        self._append(OPENED, configurations)

    def close_trial(self, trial_id: str, outcome: Mapping[str, JsonValue]) -> None:
        """Record how a trial ended. One that was never opened, or is closed, stays as it is.

        Args:
            trial_id: Usually an opened trial.
            outcome: Its reason slug and, where it got so far, metrics and the path of its daily returns.
        """
        self.close_trials({trial_id: outcome})

    def close_trials(self, outcomes: Mapping[str, Mapping[str, JsonValue]]) -> None:
        """Record how many trials ended, all at once; each as by `close_trial`."""
        self._append(CLOSED, outcomes)

    def reopen_trials(self, operation_id: str, cause: Mapping[str, JsonValue]) -> None:
        """Record that an operation's closed trials go on: they are counted once, and their last outcome holds.

        Args:
            operation_id: Any operation; what it has of trials that are not closed stays as it is.
            cause: Who set it going again.
        """
        self._append(REOPENED, dict.fromkeys(self.trials_of(operation_id), cause))

    def trials_of(self, operation_id: str) -> list[str]:
        """Return the ids of an operation's trials, in the order of their openings: several of a sweep, else one."""
        of_sweep = trial_events.c.trial_id.startswith(f"{operation_id}{_VARIANT}", autoescape=True)
        query = sa.select(trial_events.c.trial_id).where(
            trial_events.c.event == OPENED, sa.or_(trial_events.c.trial_id == operation_id, of_sweep)
        )
        with self._database.engine.connect() as connection:
            return list(connection.execute(query.order_by(trial_events.c.sequence)).scalars())

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
        events = self._chain.rows(trial_id)
        if not events or not events[-1].event.startswith(CLOSED):
            return None
        return dict(json.loads(events[-1].payload))

    def count(self) -> int:
        """Return how many trials were started in this workspace."""
        query = sa.select(sa.func.count()).where(trial_events.c.event == OPENED)
        with self._database.engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def history(self, trial_id: str) -> TrialHistory:
        """Return what a verdict on this trial needs to know of all started so far; of a sweep's, on any of its own."""
        own = operation_of(trial_id)
        others = [json.loads(text) for trial, text in self._closings().items() if operation_of(trial) != own]
        daily = [ratio for outcome in others if (ratio := _daily_sharpe(outcome)) is not None]
        return TrialHistory(n_trials=self.count(), other_sharpes=_spread(daily))

    def returns_beside(self, trial_id: str) -> list[str]:
        """Return the files of the daily returns of all other trials of the same snapshot, relative to the workspace.

        The trials of a sweep share one file, and do not stand beside one another.
        """
        own = operation_of(trial_id)
        snapshots = {trial: json.loads(text).get("snapshot") for trial, text in self._configurations().items()}
        found = (
            json.loads(text).get("daily_returns")
            for trial, text in self._closings().items()
            if operation_of(trial) != own and snapshots[trial] == snapshots.get(trial_id)
        )
        return list(dict.fromkeys(path for path in found if isinstance(path, str)))

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

    def has_verdict(self, strategy_sha256: str, verdict: JsonValue) -> bool:
        """Return whether a trial of this strategy ended with exactly this verdict."""
        closings = self._closings()
        return any(
            json.loads(closings[trial]).get("verdict") == verdict
            for trial, text in self._configurations(strategy_sha256).items()
            if trial in closings and json.loads(text).get("strategy_sha256") == strategy_sha256
        )

    def head(self) -> ChainHead | None:
        """Return the newest row, by which rows cut off later are found out; None of an empty ledger."""
        return self._chain.head()

    def verify(self, known: Sequence[ChainHead] = ()) -> list[ChainFault]:
        """Recompute the chain and return every row changed, put in, or removed before another; empty when whole.

        Rows cut off at the end show only against `known` ones: the exam ledger writes the newest one down at each look.
        """
        return self._chain.verify(known)

    def _configurations(self, containing: str = "") -> dict[str, str]:
        """Return the JSON that each trial was opened with, of those that hold a text somewhere."""
        query = sa.select(trial_events.c.trial_id, trial_events.c.payload).where(
            trial_events.c.event == OPENED, trial_events.c.payload.contains(containing, autoescape=True)
        )
        with self._database.engine.connect() as connection:
            return {trial: text for trial, text in connection.execute(query)}

    def _closings(self) -> dict[str, str]:
        """Return the JSON of the outcome that holds of every trial that has one, in the order of the openings."""
        is_opening = trial_events.c.event == OPENED
        payload = sa.case((is_opening, ""), else_=trial_events.c.payload)  # an opening's is long and not asked for
        query = sa.select(trial_events.c.trial_id, trial_events.c.event, payload)
        closings: dict[str, str | None] = {}
        with self._database.engine.connect() as connection:
            for trial, event, text in connection.execute(query.order_by(trial_events.c.sequence)):
                closings[trial] = text if event.startswith(CLOSED) else None
        return {trial: text for trial, text in closings.items() if text is not None}

    def _append(self, event: str, payloads: Mapping[str, Mapping[str, JsonValue]]) -> None:
        with self._chain.writing() as ledger:
            counts = ledger.count_events([*payloads])
            names = {trial: _next_event(event, n_events=n_events) for trial, n_events in counts.items()}
            ledger.add((trial, name, payloads[trial]) for trial, name in names.items() if name is not None)


def _daily_sharpe(outcome: Mapping[str, JsonValue]) -> float | None:
    """Return the Sharpe ratio per session day of a closed trial, None where it did not get that far."""
    metrics = outcome.get("metrics")
    if not isinstance(metrics, dict):
        return None
    annual, days = metrics.get("sharpe_ratio"), metrics.get("days_per_year")
    return annual / math.sqrt(days) if isinstance(annual, float | int) and isinstance(days, float | int) else None


def _spread(ratios: Sequence[float]) -> TrialSharpes:
    if not ratios:
        return TrialSharpes()
    mean = math.fsum(ratios) / len(ratios)
    return TrialSharpes(count=len(ratios), mean=mean, squares=math.fsum((each - mean) ** 2 for each in ratios))


def _next_event(event: str, *, n_events: int) -> str | None:
    """Return the name of the row that an event adds to a trial with so many; None where it adds nothing.

    A trial's rows are opened, closed, reopened#2, closed#2, reopened#3 and so on. What comes out of turn (a replay
    after a crash, the end of a trial that was given up before it began) changes nothing.
    """
    is_in_turn = {OPENED: n_events == 0, CLOSED: n_events % 2 == 1, REOPENED: n_events > 0 and n_events % 2 == 0}
    if not is_in_turn[event]:
        return None
    return event if n_events < 2 else _NUMBERED.format(event=event, number=n_events // 2 + 1)
