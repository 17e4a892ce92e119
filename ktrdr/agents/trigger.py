"""Start a research cycle, unless as many as allowed are under way."""

from dataclasses import dataclass

from ktrdr.agents.cycle import AGENT_RESEARCH, CyclePayload
from ktrdr.agents.offline import OFFLINE_MODEL
from ktrdr.config import Settings
from ktrdr.errors import Conflict, InvalidInput
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

    def __init__(self, operations: OperationStore, settings: Settings, strategies: StrategyStore) -> None:
        self._operations = operations
        self._strategies = strategies
        self._settings = settings

    def trigger(self, request: CycleRequest) -> Operation:
        """Enqueue a cycle and return it.

        Raises:
            Conflict: As many cycles as allowed are active (`active_cycle_exists`), or the strategy is in use.
            NotFound: `strategy` names none.
            InvalidInput: `model` is not available here (`model_unavailable`).
        """
        if request.model not in (None, OFFLINE_MODEL):
            raise InvalidInput(
                f"model: this version designs with {OFFLINE_MODEL!r} only, was {request.model!r}",
                reason="model_unavailable",
            )
        if request.strategy is not None:
            self._strategies.read(request.strategy)
        # Counting and enqueueing must be one: without the lock, twenty triggers at once all count none.
        with self._operations.exclusive_lock("trigger"):
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
            return self._enqueue(request)

    def _enqueue(self, request: CycleRequest) -> Operation:
        seed = request.seed
        if seed is None:
            seed = FIRST_SEED + self._operations.count(AGENT_RESEARCH)
        payload = CyclePayload(
            brief=request.brief,
            model=OFFLINE_MODEL,
            strategy=request.strategy,
            seed=seed,
            bypass_gates=request.bypass_gates,
        )
        return self._operations.enqueue(
            AGENT_RESEARCH, queue=CYCLES_QUEUE, payload=payload.model_dump(), metadata=payload.initial_metadata()
        )
