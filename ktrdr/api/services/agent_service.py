"""Starting research cycles, and what the agent is doing."""

from ktrdr.agents.budget import BudgetLedger
from ktrdr.agents.cycle import AGENT_RESEARCH
from ktrdr.agents.memory import StrategyMemory
from ktrdr.agents.trigger import CycleRequest, CycleTrigger
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

_PAGE = 50


class AgentService:
    """The use-cases behind `/agent`."""

    def __init__(
        self,
        operations: OperationStore,
        documents: OperationsService,
        trigger: CycleTrigger,
        budget: BudgetLedger,
        memory: StrategyMemory,
    ) -> None:
        self._operations = operations
        self._documents = documents
        self._trigger = trigger
        self._budget = budget
        self._memory = memory

    def trigger(self, request: TriggerRequest) -> TriggerAccepted:
        """Start a cycle.

        Raises:
            Conflict: One is active already, or the budget of the day does not hold another.
            NotFound: The strategy does not exist.
            InvalidInput: The model cannot be used.
        """
        operation = self._trigger.trigger(CycleRequest(**request.model_dump()))
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

    def memory(self, limit: int) -> TriedStrategies:
        """Return the strategies stored last and how they ended, newest first."""
        return TriedStrategies(
            strategies=[TriedStrategyDocument.model_validate(each) for each in self._memory.recent(limit)]
        )

    def _last_ended_cycle(self) -> Operation | None:
        cursor: str | None = None
        while True:
            page = self._operations.list(type=AGENT_RESEARCH, limit=_PAGE, cursor=cursor)
            ended = [cycle for cycle in page.operations if cycle.status.is_terminal]
            if ended or page.next_cursor is None:
                return ended[0] if ended else None
            cursor = page.next_cursor
