"""What every invoker of a language model needs."""

from dataclasses import dataclass

from ktrdr.agents.budget import BudgetLedger
from ktrdr.agents.task import AgentLimits
from ktrdr.clock import Clock


@dataclass(frozen=True, slots=True)
class InvokerServices:
    """On whose account it spends, and within which bounds."""

    ledger: BudgetLedger
    clock: Clock
    limits: AgentLimits
