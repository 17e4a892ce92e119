"""Starting research cycles, what the agent is doing, and what it did."""

from collections.abc import Callable

from ktrdr.agents.budget import BudgetLedger
from ktrdr.agents.choice import model_of_designer
from ktrdr.agents.cycle import AGENT_RESEARCH
from ktrdr.agents.memory import StrategyMemory
from ktrdr.agents.trigger import CycleRequest, CycleTrigger
from ktrdr.api.paging import PageOptions
from ktrdr.api.services.operations_service import OperationsService
from ktrdr.operations.operation import Operation
from ktrdr.operations.store import OperationStore
from ktrdr.schemas.agent import (
    AgentStatus,
    BudgetDocument,
    BudgetStanding,
    TriedStrategies,
    TriedStrategyDocument,
    TriggerAccepted,
    TriggerRequest,
)
from ktrdr.schemas.history import CycleHistory, EndedCycle
from ktrdr.schemas.strategies import StrategySummary

_PAGE = 50
_FIGURES = ("timeframe", "verdict", "accuracy", "sharpe_ratio", "max_drawdown", "n_trades", "judgement")


class AgentService:
    """The use-cases behind `/agent`."""

    def __init__(
        self,
        operations: OperationStore,
        documents: OperationsService,
        trigger: CycleTrigger,
        budget: BudgetLedger,
        memory: StrategyMemory,
        summary_of: Callable[[str], StrategySummary | None],
    ) -> None:
        self._operations = operations
        self._documents = documents
        self._trigger = trigger
        self._budget = budget
        self._memory = memory
        self._summary_of = summary_of

    def trigger(self, request: TriggerRequest) -> TriggerAccepted:
        """Start a cycle.

        Raises:
            Conflict: One is active already, or the budget of the day does not hold another.
            NotFound: The strategy does not exist.
            InvalidInput: The model cannot be used, or is not of the designer named.
        """
        asked = request.model_dump(exclude={"designer", "model"})
        model = model_of_designer(request.designer, request.model)
        operation = self._trigger.trigger(CycleRequest(**asked, model=model))
        return TriggerAccepted(operation_id=operation.operation_id)

    def status(self) -> AgentStatus:
        """Return the active cycles, oldest first, the newest that has ended, and what may be spent."""
        last = self._last_ended_cycle()
        active = self._documents.documents(self._operations.active(AGENT_RESEARCH))
        return AgentStatus(
            status="active" if active else "idle",
            operation=active[0] if active else None,
            active=active,
            last_cycle=None if last is None else self._documents.document(last),
            budget=BudgetStanding.model_validate(self._budget.standing()),
        )

    def budget(self, days: int) -> BudgetDocument:
        """Return what was spent in the last `days` days, today included, and what is left of today."""
        return BudgetDocument.model_validate(self._budget.report(days))

    def history(self, page: PageOptions) -> CycleHistory:
        """Return a page of cycles that have ended, newest first; active ones are left out of it.

        Raises:
            InvalidInput: The cursor is none that a page gave.
        """
        found = self._operations.list(type=AGENT_RESEARCH, limit=page.limit, cursor=page.cursor)
        ended = [self._ended_cycle(cycle) for cycle in found.operations if cycle.status.is_terminal]
        return CycleHistory(cycles=ended, next_cursor=found.next_cursor)

    def memory(self, limit: int) -> TriedStrategies:
        """Return the strategies stored last and how they ended, newest first."""
        return TriedStrategies(
            strategies=[TriedStrategyDocument.model_validate(each) for each in self._memory.recent(limit)]
        )

    def _ended_cycle(self, cycle: Operation) -> EndedCycle:
        name = cycle.metadata.get("strategy_name")
        summary = self._summary_of(name) if isinstance(name, str) else None
        document = self._documents.document(cycle)
        asked = {key: cycle.metadata.get(key) for key in ("brief", "model", "seed", "cost_usd", "strategy_name")}
        figures = dict.fromkeys(_FIGURES) if summary is None else {key: getattr(summary, key) for key in _FIGURES}
        return EndedCycle.model_validate(
            {
                **asked,
                **figures,
                "operation_id": cycle.operation_id,
                "status": cycle.status,
                "reason": None if cycle.error is None else cycle.error.reason,
                "created_at": document.created_at,
                "completed_at": document.completed_at,
                "duration_seconds": document.duration_seconds,
                "symbols": [] if summary is None else summary.symbols,
            }
        )

    def _last_ended_cycle(self) -> Operation | None:
        cursor: str | None = None
        while True:
            page = self._operations.list(type=AGENT_RESEARCH, limit=_PAGE, cursor=cursor)
            ended = [cycle for cycle in page.operations if cycle.status.is_terminal]
            if ended or page.next_cursor is None:
                return ended[0] if ended else None
            cursor = page.next_cursor
