"""Drives one research cycle through deaths of its workers and cancellations; says what was lost or done twice.

    cycle = DisturbedCycle(folder, environment={...})  # a workspace with data and nothing else
    cycle.trigger(seed=5)
    cycle.run_until_end(["training/publish/done/1", 0.8])     # points, or seconds to live, one worker each
    cycle.run_cancelled_at(["training/training/begun/1"])     # or: one worker; cancelled and resumed at each point
    cycle.points()                                            # every point passed so far, in order
    cycle.faults(undisturbed.outcome(), server.received)      # [] when all is as it should be

A point is `<operation type>/<step>/begun|done|recorded/<n-th time>` or `file/<name>/moved/<n-th time>`: `begun` before
a step does anything, `done` before the engine knows of it, `recorded` afterwards. A worker that does not reach its
point lives until the cycle ends. The engine gives an operation up after `MAX_TAKEOVERS` deaths: give no more.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ktrdr.agents.budget import BudgetLedger, BudgetLimits
from ktrdr.agents.choice import model_chooser
from ktrdr.agents.revival import OperationRevival
from ktrdr.agents.trigger import CycleRequest, CycleTrigger
from ktrdr.clock import utc_now
from ktrdr.config import load_settings
from ktrdr.database.engine import open_database
from ktrdr.database.lock import exclusive_lock
from ktrdr.errors import Conflict
from ktrdr.evaluation.exam_ledger import ExamLedger
from ktrdr.evaluation.trial_ledger import TrialLedger
from ktrdr.jobs.services import LaboratoryServices
from ktrdr.jobs.stores import open_stores
from ktrdr.market.store import BarStore
from ktrdr.operations.postgres_leases import worker_leases
from ktrdr.operations.store import OperationStore, migrate_database
from ktrdr.strategy.store import StrategyStore

KILL_WORKER = Path(__file__).parent / "kill_worker.py"
RESULTS = (
    "training.json",
    "backtest.json",
    "model.safetensors",
    "predictions.parquet",
    "fitted_predictions.parquet",
    "machine.json",
    "equity.parquet",
    "trades.parquet",
)
EXPECTED_FILES = {*RESULTS, "strategy.yaml", "design.json", "assessment.json", "report.html", "cycle.json"}


@dataclass(frozen=True)
class Cancellation:
    """Seconds from the request until it was answered, until no job was alive, until no attempt's files were left."""

    point: str
    had_job: bool
    answered_s: float
    dead_s: float
    tidy_s: float


@dataclass(frozen=True)
class CycleOutcome:
    """What must not depend on what disturbed the cycle: its results' bytes, its phases, what the ledger says of it."""

    status: str
    files: dict[str, bytes]
    phases: list[tuple[str, str]]
    trial: tuple[object, object]
    trial_events: list[str]


class DisturbedCycle:
    """One cycle in a workspace of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = {**environment, "KTRDR_WORKSPACE": str(folder)}
        self._trace = folder / "points.log"
        self._settings = load_settings(self.environment)
        self._database = open_database(self._settings.database_url)
        migrate_database(self._database)
        self._store = OperationStore(self._database, utc_now)
        self._ledger = TrialLedger(self._database, utc_now)
        budget = self._settings.budget
        self._budget = BudgetLedger(self._database, utc_now, BudgetLimits(budget.daily_usd, budget.cycle_usd))
        self.cycle_id = ""
        self.n_deaths = 0
        self.n_cancellations = 0

    def trigger(self, **request: object) -> None:
        """Enqueue the cycle."""
        settings = self._settings
        strategies = StrategyStore(settings.strategies_folder)
        bars, chooser = BarStore(settings.data_folder), model_chooser(settings.agent)
        trigger = CycleTrigger(self._store, settings, strategies, bars, self._budget, chooser)
        self.cycle_id = trigger.trigger(CycleRequest(bypass_gates=True, **request)).operation_id

    def run_until_end(self, deaths: list[str | float] | None = None, timeout_s: float = 120.0) -> str:
        """Run one worker after the other until the cycle has ended; return its status."""
        deadline = time.monotonic() + timeout_s
        for death in [*(deaths or []), None]:
            if self._live(death, deadline):
                break
        return self._store.get(self.cycle_id).status.value

    def run_cancelled_at(self, points: list[str], timeout_s: float = 120.0) -> list[Cancellation]:
        """Run one worker; cancel the cycle once it has passed each of the points, and resume it.

        Returns what was seen of each cancellation that came before the cycle's end.
        """
        settings = self._settings
        services = LaboratoryServices(
            settings,
            utc_now,
            self._store,
            open_stores(settings, partial(exclusive_lock, self._database)),
            self._ledger,
            ExamLedger(self._database, utc_now),
        )
        leases = worker_leases(self._database, settings.state_folder, grace_s=settings.worker_grace_s)
        revival = OperationRevival(services, self._budget, model_chooser(settings.agent), leases)
        deadline = time.monotonic() + timeout_s
        seen = []
        with self._worker(None) as worker:
            for point in [*points, None]:
                while not self._store.has_ended(self.cycle_id) and (point is None or point not in self.points()):
                    assert worker.poll() is None
                    assert time.monotonic() < deadline, self.points()[-3:]
                    time.sleep(0.01)
                if self._store.has_ended(self.cycle_id):
                    break
                try:
                    seen.append(self._cancel(str(point)))
                except Conflict:
                    break  # it ended in the same moment
                revival.resume(self.cycle_id)
            assert self._has_ended()
        return seen

    def _cancel(self, point: str) -> Cancellation:
        jobs = self.job_pids()
        asked = time.monotonic()
        self._store.cancel(self.cycle_id)
        answered_s = time.monotonic() - asked
        self.n_cancellations += 1
        while time.monotonic() - asked < 5.0 and any(map(is_alive, jobs)):
            time.sleep(0.005)
        dead_s = time.monotonic() - asked
        while time.monotonic() - asked < 10.0 and any(self._settings.state_folder.glob("attempts/*")):
            time.sleep(0.01)
        tidy_s = time.monotonic() - asked
        return Cancellation(point, bool(jobs), answered_s, dead_s, tidy_s)

    def job_pids(self) -> list[int]:
        """Return the pids of this workspace's job processes."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                command, environment = (path / "cmdline").read_bytes(), (path / "environ").read_bytes()
            except OSError:
                continue
            if b"ktrdr.jobs." in command and f"KTRDR_WORKSPACE={self.folder}\0".encode() in environment:
                found.append(int(path.name))
        return found

    def points(self) -> list[str]:
        """Return every point passed so far, in order."""
        return self._trace.read_text().splitlines() if self._trace.exists() else []

    def outcome(self) -> CycleOutcome:
        """Return what came of the cycle."""
        cycle = self._store.get(self.cycle_id)
        outcome = self._ledger.outcome(str(cycle.metadata["training_op_id"])) or {}
        folder = self._settings.strategies_folder / str(cycle.metadata["strategy_name"])
        with self._database.engine.connect() as connection:
            events = (
                connection.exec_driver_sql("SELECT event FROM ktrdr_trial_events ORDER BY sequence").scalars().all()
            )
        return CycleOutcome(
            status=cycle.status.value,
            files={name: (folder / name).read_bytes() for name in RESULTS if (folder / name).exists()},
            trial=(outcome.get("outcome"), outcome.get("metrics")),
            phases=sorted((child.type, child.status.value) for child in self._store.children(self.cycle_id)),
            trial_events=list(events),
        )

    def faults(self, undisturbed: CycleOutcome, received: list | None = None) -> list[str]:
        """Return what is not as it would be had no worker died. `received`: the calls that a provider got."""
        found = self.outcome()
        faults = [f"{name} has other bytes" for name in RESULTS if found.files.get(name) != undisturbed.files[name]]
        faults += [
            f"{name}: {getattr(found, name)} instead of {getattr(undisturbed, name)}"
            for name in ("status", "phases", "trial", *([] if self.n_cancellations else ["trial_events"]))
            if getattr(found, name) != getattr(undisturbed, name)
        ]
        faults += [f"the trial ledger {fault}" for fault in self._ledger.verify()]
        if self._ledger.count() != 1:
            faults.append(f"{self._ledger.count()} trials are counted")
        faults += [f"left behind: {path.name}" for path in self._settings.state_folder.glob("attempts/*")]
        faults += [f"left behind: {path.name}" for path in self._settings.state_folder.glob("checkpoints/*")]
        folder = self._settings.strategies_folder
        strategies = [path.name for path in folder.iterdir()]
        if len(strategies) != 1 or {path.name for path in (folder / strategies[0]).iterdir()} != EXPECTED_FILES:
            faults.append(f"files: {sorted(str(path.relative_to(folder)) for path in folder.rglob('*'))}")
        return faults + (self._money_faults(received) if received is not None else [])

    def close(self) -> None:
        """Give back the database."""
        self._database.close()

    def _money_faults(self, received: list) -> list[str]:
        with self._database.engine.connect() as connection:
            rows = (
                connection.exec_driver_sql(
                    "SELECT coalesce(settled_nano_usd, reserved_nano_usd) FROM ktrdr_budget_attempts"
                )
                .scalars()
                .all()
            )
        faults = []
        disturbances = self.n_deaths + self.n_cancellations
        if not len(received) <= len(rows) <= len(received) + disturbances:
            faults.append(f"{len(rows)} rows in the budget ledger, {len(received)} calls")
        if sum(rows) / 1e9 < sum(each.billed_usd for each in received) - 1e-9:
            faults.append("less was charged than billed")
        questions = Counter(json.dumps(each.document["messages"]) for each in received)
        repeated = sum(count - 1 for count in questions.values())
        if repeated > disturbances:
            faults.append(f"{repeated} calls were made twice, with {disturbances} disturbances")
        return faults + [f"the envelope of {cycle_id} is open" for cycle_id in self._budget.open_cycles()]

    def _live(self, death: str | float | None, deadline: float) -> bool:
        """Run a worker until it dies, or the cycle ends and is tidied up; return whether it did end."""
        with self._worker(death if isinstance(death, str) else None) as worker:
            dies_at = time.monotonic() + death if isinstance(death, float) else float("inf")
            while worker.poll() is None:
                assert time.monotonic() < deadline, self.points()[-3:]
                if time.monotonic() > dies_at:
                    worker.kill()
                if self._has_ended():
                    return True
                time.sleep(0.02)
            self.n_deaths += 1
            return self._store.has_ended(self.cycle_id)

    @contextmanager
    def _worker(self, dies_at: str | None) -> Iterator[subprocess.Popen]:
        environment = {**os.environ, **self.environment, "KTRDR_TEST_KILL_TRACE": str(self._trace)}
        if dies_at is not None:
            environment["KTRDR_TEST_KILL_AT"] = dies_at
        with (self.folder / "worker.log").open("ab") as log:
            command = [sys.executable, str(KILL_WORKER)]
            worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment)
        try:
            worker.stdout.readline()  # its name, or nothing where it died before it could say it
            yield worker
        finally:
            worker.kill()
            worker.wait()
            worker.stdout.close()

    def _has_ended(self) -> bool:
        if not self._store.get(self.cycle_id).status.is_terminal:
            return False
        tidied = time.monotonic() + 5.0  # chores of the worker, once a second
        while time.monotonic() < tidied and (
            self._ledger.unclosed() or any(self._settings.state_folder.glob("attempts/*")) or self._budget.open_cycles()
        ):
            time.sleep(0.05)
        return True


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False
