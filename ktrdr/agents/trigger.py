"""Start a research cycle, unless as many as allowed are under way."""

import logging
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from ktrdr.agents.budget import BudgetLedger
from ktrdr.agents.choice import ChosenModel, ModelChooser
from ktrdr.agents.cycle import AGENT_RESEARCH, CyclePayload
from ktrdr.agents.envelopes import close_abandoned_envelopes
from ktrdr.clock import format_time
from ktrdr.config import Settings
from ktrdr.errors import Conflict
from ktrdr.jobs.launch import refuse_busy_strategy
from ktrdr.jobs.leak_check import refuse_leaking_strategy
from ktrdr.market.store import BarStore
from ktrdr.operations.lineage import log_subject
from ktrdr.operations.operation import Operation
from ktrdr.operations.runtime import CYCLES_QUEUE
from ktrdr.operations.store import TRIGGER_LOCK, OperationStore
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.strategy.store import StrategyStore
from ktrdr.telemetry.logs import logging_about

# The first cycle of a workspace takes this seed and each later one the next, so that no two design the same. On the
# bundled samples a gate refuses the first design and the second completes, a fair introduction: found by
# `ktrdr agent trigger --designer offline --seed N --until-completed 5` in fresh workspaces with `ktrdr data samples`.
FIRST_SEED, N_SEEDS = 17, 2**32
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ScheduledStart:
    """Which schedule asks for a cycle, and for which of its due times: that is how the two are told to belong."""

    schedule_id: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class CycleRequest:
    """What somebody asks of a cycle; everything may be left to the laboratory."""

    brief: str | None = None
    model: str | None = None
    strategy: str | None = None
    seed: int | None = None
    bypass_gates: bool = False
    schedule: ScheduledStart | None = None


class CycleTrigger:
    """The one way in which cycles begin."""

    def __init__(
        self,
        operations: OperationStore,
        settings: Settings,
        strategies: StrategyStore,
        bars: BarStore,
        budget: BudgetLedger,
        choose_model: ModelChooser,
    ) -> None:
        self._operations = operations
        self._strategies = strategies
        self._bars = bars
        self._settings = settings
        self._budget = budget
        self._choose_model = choose_model

    def trigger(self, request: CycleRequest) -> Operation:
        """Enqueue a cycle and return it.

        Raises:
            Conflict: As many cycles as allowed are active (`active_cycle_exists`), the strategy is in use, its bars
                have serious findings (`market_findings`), or the model is paid and a whole cycle does not fit into what
                is left of the day (`budget_exhausted`).
            NotFound: `strategy` names none, or there are no bars for it.
            InvalidInput: `model` is not available here (`model_unavailable`) or has no known price; something in the
                strategy would know the future (`leak_found`).
        """
        if request.strategy is not None:  # before the lock: it takes a while
            refuse_leaking_strategy(self._researchable(request.strategy), self._bars)
        # Counting and enqueueing must be one: without the lock, twenty triggers at once all count none.
        with self._operations.exclusive_lock(TRIGGER_LOCK):
            return self.trigger_locked(request)

    def has_free_slot(self) -> bool:
        """Whether fewer cycles are active than may be; by itself this promises nothing."""
        return len(self._operations.active(AGENT_RESEARCH)) < self._settings.max_concurrent_cycles

    def trigger_locked(self, request: CycleRequest) -> Operation:
        """Do what `trigger` does for who holds the trigger's lock already; raises the same."""
        model = self._choose_model(request.model)
        sha256 = None if request.strategy is None else self._researchable(request.strategy).sha256()
        refuse_active_cycle(self._operations, self._settings.max_concurrent_cycles)
        if request.strategy is not None:
            refuse_busy_strategy(self._operations, request.strategy)
        return self._enqueue(request, model, sha256)

    def _researchable(self, strategy: str) -> StrategySpecification:
        specification = self._strategies.read(strategy)
        for symbol in specification.symbols:
            self._bars.research_series(symbol, specification.timeframe)
        return specification

    def _next_seed(self) -> int:
        newest = self._operations.list(type=AGENT_RESEARCH, limit=1).operations
        last = newest[0].metadata["seed"] if newest else FIRST_SEED - 1
        assert isinstance(last, int)
        return (last + 1) % N_SEEDS

    def _enqueue(self, request: CycleRequest, model: ChosenModel, strategy_sha256: str | None) -> Operation:
        operation_id = self._operations.new_id(AGENT_RESEARCH)
        if model.is_paid:
            # First the money, then the cycle: what dies in between leaves an envelope that is closed as abandoned.
            close_abandoned_envelopes(self._operations, self._budget)
            self._budget.open_envelope(operation_id)
        seed = request.seed
        if seed is None:
            seed = self._next_seed()
        payload = CyclePayload(
            brief=request.brief,
            model=model.name,
            strategy=request.strategy,
            strategy_sha256=strategy_sha256,
            seed=seed,
            bypass_gates=request.bypass_gates,
        )
        cycle = self._operations.enqueue(
            AGENT_RESEARCH,
            queue=CYCLES_QUEUE,
            payload=payload.model_dump(),
            metadata={**payload.initial_metadata(operation_id), **_schedule_metadata(request.schedule)},
            operation_id=operation_id,
        )
        with logging_about(log_subject(self._operations, cycle)):
            _logger.info("operation %s was asked for: model %s, seed %d", operation_id, model.name, seed)
        return cycle


def _schedule_metadata(start: ScheduledStart | None) -> dict[str, JsonValue]:
    if start is None:
        return {"schedule_id": None, "scheduled_for": None}
    return {"schedule_id": start.schedule_id, "scheduled_for": format_time(start.due_at)}


def refuse_active_cycle(operations: OperationStore, max_concurrent_cycles: int) -> None:
    """Return if one more cycle may be active. Hold the trigger's lock from here until it is.

    Raises:
        Conflict: As many as allowed are (`active_cycle_exists`).
    """
    active = operations.active(AGENT_RESEARCH)
    if len(active) >= max_concurrent_cycles:
        raise Conflict(
            f"{active[0].operation_id} is active and at most {max_concurrent_cycles} cycle(s) may be; wait for it "
            "(`ktrdr operations watch`) or cancel it (`ktrdr agent cancel`)",
            reason="active_cycle_exists",
            operation_id=active[0].operation_id,
        )
