"""Everything the endpoints need, built once and handed over."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import Depends, Request

from ktrdr.agents.budget import BudgetLedger, BudgetLimits
from ktrdr.agents.choice import model_chooser
from ktrdr.agents.designs import DesignIntake
from ktrdr.agents.memory import StrategyMemory
from ktrdr.agents.revival import OperationRevival
from ktrdr.agents.schedule_store import ScheduleStore
from ktrdr.agents.trigger import CycleTrigger
from ktrdr.api.services.agent_service import AgentService
from ktrdr.api.services.leaderboard_service import LeaderboardService
from ktrdr.api.services.markets_service import MarketsService
from ktrdr.api.services.metrics_service import MetricsService
from ktrdr.api.services.operations_service import OperationsService
from ktrdr.api.services.schedules_service import SchedulesService
from ktrdr.api.services.strategies_service import StrategiesService
from ktrdr.api.services.vault_service import VaultService
from ktrdr.api.services.workers_service import WorkersService
from ktrdr.clock import utc_now
from ktrdr.config import Settings
from ktrdr.database.engine import Database, open_database
from ktrdr.database.lock import exclusive_lock
from ktrdr.errors import KtrdrError
from ktrdr.evaluation.candidacy import has_been_looked_at
from ktrdr.evaluation.exam_ledger import ExamLedger
from ktrdr.evaluation.trial_ledger import TrialLedger
from ktrdr.jobs.services import LaboratoryServices
from ktrdr.jobs.stores import open_stores
from ktrdr.market.store import BarStore
from ktrdr.operations.ownership import Ownership
from ktrdr.operations.postgres_leases import worker_leases
from ktrdr.operations.pruning import OperationPruner
from ktrdr.operations.store import OperationStore, migrate_database
from ktrdr.strategy.store import StrategyStore


@dataclass(frozen=True, slots=True)
class Composition:
    """The stores and use-cases of one app."""

    settings: Settings
    database: Database
    operation_store: OperationStore
    strategy_store: StrategyStore
    bar_store: BarStore
    operations: OperationsService
    agent: AgentService
    schedules: SchedulesService
    strategies: StrategiesService
    markets: MarketsService
    workers: WorkersService
    metrics: MetricsService
    vault: VaultService
    leaderboard: LeaderboardService
    laboratory: LaboratoryServices

    def close(self) -> None:
        """Give back the database's connections and the thread of the metrics."""
        self.metrics.close()
        self.database.close()


def compose(settings: Settings) -> Composition:
    """Open the workspace, bring its database up to date and build every use-case.

    Raises:
        InvalidInput: KTRDR_ARTIFACTS_URL cannot be used.
        WorkspaceUnusable: The folder, the database or the shared store cannot be used.
    """
    database = open_database(settings.database_url)
    migrate_database(database)
    services = _open_laboratory(settings, database)
    operation_store, strategy_store, bar_store = services.operations, services.strategies, services.bars
    budget = BudgetLedger(database, utc_now, BudgetLimits(settings.budget.daily_usd, settings.budget.cycle_usd))
    chooser = model_chooser(settings.agent)
    leases = worker_leases(database, settings.state_folder, grace_s=settings.worker_grace_s)
    trigger = CycleTrigger(operation_store, settings, strategy_store, bar_store, budget, chooser)
    operations = OperationsService(
        operation_store,
        OperationRevival(services, budget, chooser, leases),
        OperationPruner(database, operation_store),
        checkpoints=services.stores.checkpoints,
        settings=settings,
        clock=utc_now,
    )
    memory = StrategyMemory(operation_store, strategy_store)
    vault = VaultService(services, operations)
    strategies = StrategiesService(
        strategy_store,
        bar_store,
        services.ledger,
        DesignIntake(
            bar_store, strategy_store, settings.attempts_folder, partial(has_been_looked_at, bar_store, services.exams)
        ),
        vault,
        attempts_folder=settings.attempts_folder,
        clock=utc_now,
    )
    schedule_store = ScheduleStore(database)
    return Composition(
        settings=settings,
        database=database,
        operation_store=operation_store,
        strategy_store=strategy_store,
        bar_store=bar_store,
        operations=operations,
        agent=AgentService(operation_store, operations, trigger, budget, memory, strategies.summary),
        strategies=strategies,
        schedules=SchedulesService(schedule_store, operation_store, trigger, budget, chooser, utc_now),
        markets=MarketsService(bar_store, utc_now),
        workers=WorkersService(leases, Ownership(database)),
        metrics=MetricsService(database, budget, schedule_store, leases, utc_now),
        vault=vault,
        leaderboard=LeaderboardService(services, vault),
        laboratory=services,
    )


def _open_laboratory(settings: Settings, database: Database) -> LaboratoryServices:
    try:
        stores = open_stores(settings, partial(exclusive_lock, database))
    except KtrdrError:
        database.close()
        raise
    return LaboratoryServices(
        settings,
        utc_now,
        OperationStore(database, utc_now),
        stores,
        TrialLedger(database, utc_now),
        ExamLedger(database, utc_now),
    )


def _composition_of(request: Request) -> Composition:
    composition = request.app.state.composition
    assert isinstance(composition, Composition)
    return composition


# What an endpoint declares to be given the composition.
Composed = Annotated[Composition, Depends(_composition_of)]
