"""What the operations of this floor and of the research cycle are built with."""

from dataclasses import dataclass

from ktrdr.clock import Clock
from ktrdr.config import Settings
from ktrdr.evaluation.exam_ledger import ExamLedger
from ktrdr.evaluation.trial_ledger import TrialLedger
from ktrdr.jobs.stores import WorkspaceStores
from ktrdr.market.store import BarStore
from ktrdr.operations.store import OperationStore
from ktrdr.strategy.store import StrategyStore


@dataclass(frozen=True, slots=True)
class LaboratoryServices:
    """Everything a worker's operations need, built once by the composition root."""

    settings: Settings
    clock: Clock
    operations: OperationStore
    stores: WorkspaceStores
    ledger: TrialLedger
    exams: ExamLedger

    @property
    def strategies(self) -> StrategyStore:
        """Return the stored strategies."""
        return self.stores.strategies

    @property
    def bars(self) -> BarStore:
        """Return the stored bars."""
        return self.stores.bars
