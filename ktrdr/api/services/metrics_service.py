"""What `/metrics` answers: one reading of the store at a time, in a thread of its own."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

import sqlalchemy as sa
from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import Metric

from ktrdr import __version__
from ktrdr.agents.budget import BudgetLedger
from ktrdr.agents.budget_totals import BudgetTotals
from ktrdr.agents.schedule_store import ScheduleStore
from ktrdr.api.instruments import GATES, JOB_TYPES, LaboratoryInstruments, Observation
from ktrdr.clock import Clock, epoch_ms
from ktrdr.database.engine import Database
from ktrdr.operations.leases import WorkerLeases
from ktrdr.operations.stalls import StallWatch
from ktrdr.operations.tallies import EndFeed

MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_LOST_WITHIN = timedelta(hours=1)
_logger = logging.getLogger(__name__)


class MetricsService:
    """The use-case behind `/metrics`.

    The first scrape adds up all that is stored, each later one what happened in between. Scrapes that come while one is
    answered share its answer. Where the database does not answer, what is read from it is left out: a figure that
    stands still would be taken for the present one.
    """

    def __init__(
        self,
        database: Database,
        budget: BudgetLedger,
        schedules: ScheduleStore,
        leases: WorkerLeases,
        clock: Clock,
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each, which nobody asks for
        self._clock = clock
        self._budget = budget
        self._schedules = schedules
        self._leases = leases
        self._feed = EndFeed(database, clock, metadata_keys=[GATES], measured_types=JOB_TYPES)
        self._totals = BudgetTotals(database, clock)
        self._stalls = StallWatch()
        self._store_registry = CollectorRegistry()
        self._instruments = LaboratoryInstruments(self._store_registry)
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        build = Gauge("ktrdr_build_info", "The version that runs, always 1.", ["version"], registry=self.registry)
        build.labels(__version__).set(1)
        self._is_up = Gauge(
            "ktrdr_database_up", "Whether the database answered; 0 leaves out what it holds.", registry=self.registry
        )
        self._errors = Counter(
            "ktrdr_scrape_errors_total", "Scrapes that found the database away.", registry=self.registry
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ktrdr-metrics")
        self._lock = threading.Lock()
        self._under_way: Future[bytes] | None = None

    async def scrape(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        with self._lock:
            if self._under_way is None or self._under_way.done():
                self._under_way = self._thread.submit(self._answer)
            under_way = self._under_way
        return await asyncio.shield(asyncio.wrap_future(under_way))

    def close(self) -> None:
        """Give the thread back."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _answer(self) -> bytes:
        shown = [self.registry]
        try:
            seen = self._observe()
        except sa.exc.SQLAlchemyError as error:
            _logger.warning("a scrape found the database away: %s", error)
            self._errors.inc()
            self._is_up.set(0)
        else:
            self._instruments.apply(seen)
            self._is_up.set(1)
            shown.append(self._store_registry)
        return generate_latest(_Together(shown))

    def _observe(self) -> Observation:
        models, budget, schedules = self._totals.read(), self._budget.standing(), self._schedules.list()
        workers, lost = self._leases.workers(), self._leases.count_lost(_LOST_WITHIN)
        operations = self._feed.read()  # last: what it has told it does not tell again
        live = {worker.executor_id for worker in workers if worker.is_alive}
        paused = sum(schedule.pause is not None for schedule in schedules)
        return Observation(
            operations=operations,
            now_ms=epoch_ms(self._clock()),
            models=models,
            budget=budget,
            workers=workers,
            lost_workers=lost,
            stalled=self._stalls.stalled(operations.active, live, time.monotonic()),
            active_schedules=len(schedules) - paused,
            paused_schedules=paused,
        )


class _Together(CollectorRegistry):
    """Several registries as one answer."""

    def __init__(self, registries: list[CollectorRegistry]) -> None:
        super().__init__()
        self._registries = registries

    def collect(self) -> Iterator[Metric]:
        for registry in self._registries:
            yield from registry.collect()
