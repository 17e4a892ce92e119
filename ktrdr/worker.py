"""A worker process: composition root of everything that runs operations.

`python -m ktrdr.worker [--queues cycles,compute] [--concurrency N] [--owned] [--no-schedules]`; all else comes from the
environment.
"""

import argparse
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import sqlalchemy as sa

from ktrdr import __version__
from ktrdr.agents.budget import BudgetLedger, BudgetLimits
from ktrdr.agents.choice import InvokerChoice, model_chooser
from ktrdr.agents.cycle import AGENT_ASSESSMENT, AGENT_DESIGN, AGENT_RESEARCH, research_cycle
from ktrdr.agents.envelopes import envelope_reconciler
from ktrdr.agents.phases import assessment_phase, design_phase
from ktrdr.agents.schedule_store import ScheduleStore
from ktrdr.agents.scheduler import CycleStarter
from ktrdr.agents.trace_export import TraceExport
from ktrdr.agents.trigger import CycleTrigger
from ktrdr.clock import utc_now
from ktrdr.config import Settings, TracingSettings, load_settings
from ktrdr.database.engine import Database, open_database
from ktrdr.database.lock import exclusive_lock
from ktrdr.errors import InvalidInput, KtrdrError, WorkspaceUnusable
from ktrdr.evaluation.exam_ledger import ExamLedger
from ktrdr.evaluation.trial_ledger import TrialLedger
from ktrdr.jobs.attempts import attempt_sweeper, page_sweeper
from ktrdr.jobs.data_load_operation import DATA_LOAD, data_load_operation
from ktrdr.jobs.evaluation_operations import BACKTESTING, TRAINING, backtest_operation, training_operation
from ktrdr.jobs.exam_operation import HOLDOUT_EXAM, exam_operation
from ktrdr.jobs.reproduction_operation import REPRODUCTION, reproduction_operation
from ktrdr.jobs.services import LaboratoryServices
from ktrdr.jobs.stores import open_stores
from ktrdr.jobs.trials import trial_reconciler
from ktrdr.operations.job_child import die_with_parent, exit_at_end_of_stdin
from ktrdr.operations.leases import WorkerLease, worker_name
from ktrdr.operations.ownership import Ownership
from ktrdr.operations.postgres_leases import worker_leases
from ktrdr.operations.runtime import COMPUTE_QUEUE, CYCLES_QUEUE, Membership, WorkerRuntime
from ktrdr.operations.store import OperationStore, migrate_database
from ktrdr.telemetry.logs import configure_logging, log_to_file
from ktrdr.telemetry.otlp import OtlpSender
from ktrdr.telemetry.worker_exporter import WorkerExporter

ALL_QUEUES = (CYCLES_QUEUE, COMPUTE_QUEUE)
JOB_MODULES = {"ktrdr.jobs.training": TRAINING, "ktrdr.jobs.backtest": BACKTESTING, "ktrdr.jobs.data_load": DATA_LOAD}
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker does: its queues, how many jobs at once, whether it starts what is scheduled.

    `is_owned`: another process started it and keeps its terminal's output.
    """

    queues: tuple[str, ...]
    concurrency: int
    starts_scheduled_cycles: bool
    is_owned: bool


def start_worker(
    settings: Settings, options: WorkerOptions, *, on_lost: Callable[[], None]
) -> tuple[WorkerRuntime, WorkerLease]:
    """Build everything, take a lease and begin to work. `on_lost` is called when others have taken the work over.

    It logs to `.ktrdr/logs/worker-<number>.log`; one that no other process owns also to its terminal.

    Raises:
        InvalidInput: KTRDR_ARTIFACTS_URL cannot be used.
        WorkspaceUnusable: The folder, the database or the shared store cannot be used.
    """
    exporter = None if settings.exporter is None else WorkerExporter(settings.exporter)
    database = open_database(settings.database_url)
    migrate_database(database)
    stores = open_stores(settings, partial(exclusive_lock, database))
    operations = OperationStore(database, utc_now)
    budget = BudgetLedger(database, utc_now, BudgetLimits(settings.budget.daily_usd, settings.budget.cycle_usd))
    services = LaboratoryServices(
        settings=settings,
        clock=utc_now,
        operations=operations,
        stores=stores,
        ledger=TrialLedger(database, utc_now),
        exams=ExamLedger(database, utc_now),
    )
    leases = worker_leases(database, settings.state_folder, grace_s=settings.worker_grace_s)
    lease = leases.lease(options.queues, on_lost=on_lost)
    _keep_log(settings.logs_folder / f"{worker_name(lease.executor_id)}.log", options.is_owned)
    if exporter is not None:
        _tell_metrics(exporter, lease, options.queues, Ownership(database))
    runtime = WorkerRuntime(
        database,
        operations,
        clock=utc_now,
        membership=Membership(leases, lease),
        job_environment=settings.job_environment(options.concurrency),
    )
    _register_operations(runtime, services, budget, InvokerChoice(settings.agent, budget, utc_now))
    _add_chores(runtime, services, budget)
    if options.starts_scheduled_cycles:
        chooser = model_chooser(settings.agent)
        trigger = CycleTrigger(operations, settings, services.strategies, services.bars, budget, chooser)
        runtime.add_chore(CycleStarter(ScheduleStore(database), operations, trigger, utc_now).start_due)
    if settings.tracing is not None:
        runtime.add_companion(_trace_export(settings.tracing, database, operations))
    runtime.launch(
        options.queues,
        max_concurrent_cycles=settings.max_concurrent_cycles,
        compute_concurrency=options.concurrency,
    )
    return runtime, lease


def _register_operations(
    runtime: WorkerRuntime, services: LaboratoryServices, budget: BudgetLedger, choice: InvokerChoice
) -> None:
    runtime.register(AGENT_RESEARCH, research_cycle(services, budget))
    runtime.register(AGENT_DESIGN, design_phase(services, choice))
    runtime.register(AGENT_ASSESSMENT, assessment_phase(services, choice))
    runtime.register(TRAINING, training_operation(services))
    runtime.register(BACKTESTING, backtest_operation(services))
    runtime.register(HOLDOUT_EXAM, exam_operation(services))
    runtime.register(REPRODUCTION, reproduction_operation(services))
    runtime.register(DATA_LOAD, data_load_operation(services))


def _add_chores(runtime: WorkerRuntime, services: LaboratoryServices, budget: BudgetLedger) -> None:
    operations, settings, checkpoints = services.operations, services.settings, services.stores.checkpoints
    runtime.add_chore(trial_reconciler(operations, services.ledger, services.stores.trials, settings))
    runtime.add_chore(envelope_reconciler(operations, budget))
    runtime.add_chore(attempt_sweeper(operations, settings.attempts_folder, settings.checkpoints_folder, checkpoints))
    runtime.add_chore(page_sweeper(operations, settings.attempts_folder, time.time))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run until told to stop. Exit code 1, with one line on stderr, if it cannot begin or was given up by others."""
    parser = argparse.ArgumentParser(prog="ktrdr worker", description="Run operations until told to stop.")
    parser.add_argument("--queues", default=",".join(ALL_QUEUES), help="which queues to serve (default: all)")
    parser.add_argument("--concurrency", type=int, default=1, help="trainings and backtests at once (default: 1)")
    parser.add_argument("--owned", action="store_true", help="die with the process that started this one")
    parser.add_argument("--no-schedules", action="store_true", help="start no scheduled cycles")
    options = parser.parse_args(arguments)
    if options.owned:
        die_with_parent()
        exit_at_end_of_stdin()
    configure_logging()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    try:
        queues = _parse_queues(options.queues)
        worker = WorkerOptions(
            queues,
            _parse_concurrency(options.concurrency),
            starts_scheduled_cycles=CYCLES_QUEUE in queues and not options.no_schedules,
            is_owned=options.owned,
        )
        runtime, lease = start_worker(load_settings(), worker, on_lost=stop.set)
    except KtrdrError as error:
        sys.stderr.write(f"the worker cannot start: {error.message}\n")
        sys.exit(1)
    sys.stdout.write(json.dumps({"worker": lease.executor_id}) + "\n")
    sys.stdout.flush()
    stop.wait()
    if lease.is_lost:
        _logger.error(
            "%s was silent for longer than the others wait (KTRDR_WORKER_GRACE_S) and was given up: paused, or cut off "
            "from the database. Its jobs are killed, others go on with its work; start it again",
            lease.executor_id,
        )
        os._exit(1)
    runtime.stop()
    os._exit(0)  # jobs die with this process; their operations are taken up by the next worker


def _tell_metrics(exporter: WorkerExporter, lease: WorkerLease, queues: Sequence[str], ownership: Ownership) -> None:
    def running() -> dict[str, int] | None:
        try:
            found = ownership.running_by_queue(lease.executor_id)
        except sa.exc.SQLAlchemyError:
            return None  # the database is away, which the API's metrics say
        by_queue: dict[str, int] = {}
        for queue, count in found.items():
            # A cycle's phases run in its own worker, and come from no queue, or from that of the taken over.
            shown = COMPUTE_QUEUE if queue == COMPUTE_QUEUE else CYCLES_QUEUE
            by_queue[shown] = by_queue.get(shown, 0) + count
        return by_queue

    exporter.tell(lease.executor_id, queues, running=running, type_of_module=JOB_MODULES)


def _trace_export(tracing: TracingSettings, database: Database, operations: OperationStore) -> TraceExport:
    sender = OtlpSender(tracing, __version__)
    return TraceExport(database, operations, sender, utc_now, shows_content=tracing.shows_content)


def _keep_log(path: Path, is_owned: bool) -> None:
    try:
        log_to_file(path, instead_of_stderr=is_owned)
    except OSError as error:
        raise WorkspaceUnusable(
            f"a worker cannot write {path}: {error.strerror}. Check who owns the folder and whether the disk is full, "
            "or name another workspace with --workspace."
        ) from error


def _parse_queues(text: str) -> tuple[str, ...]:
    queues = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in queues if name not in ALL_QUEUES]
    if unknown or not queues:
        raise InvalidInput(f"--queues: need some of {', '.join(ALL_QUEUES)}, was {text!r}")
    return queues


def _parse_concurrency(number: int) -> int:
    if number < 1:
        raise InvalidInput(f"--concurrency: need 1 or more, was {number}")
    return number


if __name__ == "__main__":
    main()
