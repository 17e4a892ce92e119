"""How far a research cycle is, computed when it is read: nobody writes it."""

from dataclasses import replace

from ktrdr.operations.operation import Operation, OperationStatus, Progress

# Where each phase begins, percent of the cycle; it ends where the next begins.
PHASE_STARTS = {"designing": 5.0, "training": 20.0, "backtesting": 65.0, "assessing": 90.0, "done": 100.0}
CHILD_KEYS = {
    "designing": "design_op_id",
    "training": "training_op_id",
    "backtesting": "backtest_op_id",
    "assessing": "assessment_op_id",
}


def running_child_id(cycle: Operation) -> str | None:
    """Return the id of the child that works for the cycle's present phase, None between phases."""
    key = CHILD_KEYS.get(str(cycle.metadata.get("phase")))
    child_id = cycle.metadata.get(key) if key else None
    return child_id if isinstance(child_id, str) else None


def with_cycle_progress(cycle: Operation, running_child: Operation | None) -> Operation:
    """Return the cycle with its progress: the phase's start plus its width times the child's own percentage."""
    if cycle.status in (OperationStatus.PENDING, OperationStatus.COMPLETED):
        return cycle
    phase = str(cycle.metadata.get("phase") or "designing")
    start = PHASE_STARTS[phase]
    end = next((begin for begin in PHASE_STARTS.values() if begin > start), 100.0)
    share = running_child.progress.percentage / 100 if running_child else 0.0
    step = f"{phase}: {running_child.progress.current_step}" if running_child else phase
    return replace(cycle, progress=Progress(round(start + (end - start) * share, 1), step))
