"""A worker process: composition root of everything that runs operations.

`python -m ktrdr.worker [--queues cycles,compute] [--owned]`, workspace and settings from the environment.
"""

import argparse
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from ktrdr import __version__
from ktrdr.agents.budget import BudgetLedger, BudgetLimits
from ktrdr.agents.choice import InvokerChoice
from ktrdr.agents.cycle import AGENT_ASSESSMENT, AGENT_DESIGN, AGENT_RESEARCH, research_cycle
from ktrdr.agents.envelopes import envelope_reconciler
from ktrdr.agents.phases import assessment_phase, design_phase
from ktrdr.agents.trace_export import TraceExport
from ktrdr.clock import utc_now
from ktrdr.config import Settings, load_settings
from ktrdr.database.engine import open_database
from ktrdr.errors import InvalidInput, KtrdrError
from ktrdr.evaluation.trial_ledger import TrialLedger
from ktrdr.jobs.attempts import attempt_sweeper
from ktrdr.jobs.evaluation_operations import BACKTESTING, TRAINING, backtest_operation, training_operation
from ktrdr.jobs.services import LaboratoryServices
from ktrdr.jobs.trials import trial_reconciler
from ktrdr.market.store import BarStore
from ktrdr.operations.job_child import die_with_parent, exit_at_end_of_stdin
from ktrdr.operations.leases import lease_worker_number
from ktrdr.operations.runtime import COMPUTE_QUEUE, CYCLES_QUEUE, WorkerRuntime
from ktrdr.operations.store import OperationStore, migrate_database
from ktrdr.strategy.store import StrategyStore
from ktrdr.telemetry.logs import configure_logging
from ktrdr.telemetry.otlp import OtlpSender

ALL_QUEUES = (CYCLES_QUEUE, COMPUTE_QUEUE)
_logger = logging.getLogger(__name__)


def start_worker(settings: Settings, queues: Sequence[str]) -> tuple[WorkerRuntime, str]:
    """Build everything, take a lease and begin to work. Returns the runtime and the worker's name.

    Raises:
        WorkspaceUnusable: The folder or the database cannot be used.
    """
    database = open_database(settings.database_url)
    migrate_database(database)
    operations = OperationStore(database, utc_now)
    ledger = TrialLedger(database, utc_now)
    budget = BudgetLedger(database, utc_now, BudgetLimits(settings.budget.daily_usd, settings.budget.cycle_usd))
    services = LaboratoryServices(
        settings=settings,
        clock=utc_now,
        operations=operations,
        strategies=StrategyStore(settings.strategies_folder),
        bars=BarStore(settings.data_folder),
        ledger=ledger,
    )
    choice = InvokerChoice(settings.agent, budget, utc_now)
    lease = lease_worker_number(settings.state_folder, queues)
    runtime = WorkerRuntime(database, operations, clock=utc_now, lease=lease, state_folder=settings.state_folder)
    runtime.register(AGENT_RESEARCH, research_cycle(services, budget))
    runtime.register(AGENT_DESIGN, design_phase(services, choice))
    runtime.register(AGENT_ASSESSMENT, assessment_phase(services, choice))
    runtime.register(TRAINING, training_operation(services))
    runtime.register(BACKTESTING, backtest_operation(services))
    runtime.add_chore(trial_reconciler(operations, ledger, settings))
    runtime.add_chore(envelope_reconciler(operations, budget))
    runtime.add_chore(attempt_sweeper(operations, settings.attempts_folder))
    if settings.tracing is not None:
        tracing = settings.tracing
        runtime.add_companion(
            TraceExport(
                database,
                operations,
                lambda: OtlpSender(tracing, __version__),
                utc_now,
                shows_content=tracing.shows_content,
            )
        )
    runtime.launch(queues, max_concurrent_cycles=settings.max_concurrent_cycles)
    return runtime, lease.executor_id


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run until told to stop. Exit code 1, with one line on stderr, if it cannot begin."""
    parser = argparse.ArgumentParser(prog="ktrdr worker", description="Run operations until told to stop.")
    parser.add_argument("--queues", default=",".join(ALL_QUEUES), help="which queues to serve (default: all)")
    parser.add_argument("--owned", action="store_true", help="die with the process that started this one")
    options = parser.parse_args(arguments)
    if options.owned:
        die_with_parent()
        exit_at_end_of_stdin()
    configure_logging()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    try:
        runtime, name = start_worker(load_settings(), _parse_queues(options.queues))
    except KtrdrError as error:
        sys.stderr.write(f"the worker cannot start: {error.message}\n")
        sys.exit(1)
    sys.stdout.write(json.dumps({"worker": name}) + "\n")
    sys.stdout.flush()
    stop.wait()
    runtime.stop()
    os._exit(0)  # jobs die with this process; their operations are taken up by the next worker


def _parse_queues(text: str) -> list[str]:
    queues = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in queues if name not in ALL_QUEUES]
    if unknown or not queues:
        raise InvalidInput(f"--queues: need some of {', '.join(ALL_QUEUES)}, was {text!r}")
    return queues


if __name__ == "__main__":
    main()
