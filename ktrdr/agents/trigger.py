"""Start a research cycle, unless as many as allowed are under way."""

from dataclasses import dataclass

from ktrdr.agents.budget import BudgetLedger
from ktrdr.agents.choice import ChosenModel, ModelChooser
from ktrdr.agents.cycle import AGENT_RESEARCH, CyclePayload
from ktrdr.agents.envelopes import TRIGGER_LOCK, close_abandoned_envelopes
from ktrdr.config import Settings
from ktrdr.errors import Conflict
from ktrdr.jobs.launch import refuse_busy_strategy
from ktrdr.operations.operation import Operation
from ktrdr.operations.runtime import CYCLES_QUEUE
from ktrdr.operations.store import OperationStore
from ktrdr.strategy.store import StrategyStore

# The first cycle of a workspace takes this seed and each later one the next, so that no two design the same. On the
# bundled samples gates refuse the first two designs and the third completes: a fair introduction.
FIRST_SEED = 17


@dataclass(frozen=True, slots=True)
class CycleRequest:
    """What somebody asks of a cycle; everything may be left to the laboratory."""

    brief: str | None = None
    model: str | None = None
    strategy: str | None = None
    seed: int | None = None
    bypass_gates: bool = False


class CycleTrigger:
    """The one way in which cycles begin."""

    def __init__(
        self,
        operations: OperationStore,
        settings: Settings,
        strategies: StrategyStore,
        budget: BudgetLedger,
        choose_model: ModelChooser,
    ) -> None:
        self._operations = operations
        self._strategies = strategies
        self._settings = settings
        self._budget = budget
        self._choose_model = choose_model

    def trigger(self, request: CycleRequest) -> Operation:
        """Enqueue a cycle and return it.

        Raises:
            Conflict: As many cycles as allowed are active (`active_cycle_exists`), the strategy is in use, or the
                model is paid and a whole cycle does not fit into what is left of the day (`budget_exhausted`).
            NotFound: `strategy` names none.
            InvalidInput: `model` is not available here (`model_unavailable`) or has no known price.
        """
        model = self._choose_model(request.model)
        if request.strategy is not None:
            self._strategies.read(request.strategy)
        # Counting and enqueueing must be one: without the lock, twenty triggers at once all count none.
        with self._operations.exclusive_lock(TRIGGER_LOCK):
            active = self._operations.active(AGENT_RESEARCH)
            if len(active) >= self._settings.max_concurrent_cycles:
                raise Conflict(
                    f"{active[0].operation_id} is active and at most {self._settings.max_concurrent_cycles} cycle(s) "
                    "may be; wait for it (`ktrdr operations watch`) or cancel it (`ktrdr agent cancel`)",
                    reason="active_cycle_exists",
                    operation_id=active[0].operation_id,
                )
            if request.strategy is not None:
                refuse_busy_strategy(self._operations, request.strategy)
            return self._enqueue(request, model)

    def _enqueue(self, request: CycleRequest, model: ChosenModel) -> Operation:
        operation_id = self._operations.new_id(AGENT_RESEARCH)
        if model.is_paid:
            # First the money, then the cycle: what dies in between leaves an envelope that is closed as abandoned.
            close_abandoned_envelopes(self._operations, self._budget)
            self._budget.open_envelope(operation_id)
        seed = request.seed
        if seed is None:
            seed = FIRST_SEED + self._operations.count(AGENT_RESEARCH)
        payload = CyclePayload(
            brief=request.brief,
            model=model.name,
            strategy=request.strategy,
            seed=seed,
            bypass_gates=request.bypass_gates,
        )
        return self._operations.enqueue(
            AGENT_RESEARCH,
            queue=CYCLES_QUEUE,
            payload=payload.model_dump(),
            metadata=payload.initial_metadata(operation_id),
            operation_id=operation_id,
        )
