"""Close the envelopes that no cycle will close itself: of those cancelled, lost, or never begun."""

from collections.abc import Callable

from pydantic import JsonValue

from ktrdr.agents.budget import BudgetLedger
from ktrdr.errors import NotFound
from ktrdr.operations.store import TRIGGER_LOCK, OperationStore


def spending_metadata(budget: BudgetLedger, cycle_id: str) -> dict[str, JsonValue]:
    """Return what a cycle's calls came to, as its operation shows it."""
    usage, cost_usd = budget.cycle_totals(cycle_id)
    return {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, "cost_usd": cost_usd}


def close_abandoned_envelopes(operations: OperationStore, budget: BudgetLedger) -> None:
    """Close the envelopes of cycles that have ended, or that do not exist. Hold the trigger's lock meanwhile.

    With the lock held, an envelope without a cycle is that of a trigger which died between the two.
    """
    for cycle_id in budget.open_cycles():
        try:
            has_ended = operations.get(cycle_id).status.is_terminal
        except NotFound:
            budget.close_envelope(cycle_id)
            continue
        if has_ended:
            budget.close_envelope(cycle_id)
            operations.write_metadata(cycle_id, spending_metadata(budget, cycle_id))


def show_late_settlements(operations: OperationStore, budget: BudgetLedger) -> None:
    """Correct what ended cycles show, where a call that was under way at their end has been settled since."""
    for cycle_id in budget.settled_late():
        spent = spending_metadata(budget, cycle_id)
        try:
            shown = operations.get(cycle_id).metadata
        except NotFound:
            continue
        if any(shown.get(name) != value for name, value in spent.items()):
            operations.write_metadata(cycle_id, spent)


def envelope_reconciler(operations: OperationStore, budget: BudgetLedger) -> Callable[[], None]:
    """Return a chore that gives back what ended cycles have not spent, and shows what they have."""

    def reconcile_envelopes() -> None:
        if budget.open_cycles():
            with operations.exclusive_lock(TRIGGER_LOCK):
                close_abandoned_envelopes(operations, budget)
        show_late_settlements(operations, budget)

    return reconcile_envelopes
