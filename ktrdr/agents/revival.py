"""Set an operation going again after its end: resume what was cancelled, retry what failed."""

import logging
from collections.abc import Sequence
from typing import Literal

from ktrdr.agents.budget import BudgetLedger
from ktrdr.agents.choice import ModelChooser
from ktrdr.agents.cycle import AGENT_ASSESSMENT, AGENT_DESIGN, AGENT_RESEARCH
from ktrdr.agents.envelopes import close_abandoned_envelopes
from ktrdr.agents.trigger import refuse_active_cycle
from ktrdr.errors import Conflict
from ktrdr.jobs.basis import refuse_changed_basis
from ktrdr.jobs.data_load_operation import DATA_LOAD, refuse_busy_pages
from ktrdr.jobs.evaluation_operations import BACKTESTING, TRAINING
from ktrdr.jobs.exam_operation import HOLDOUT_EXAM
from ktrdr.jobs.launch import refuse_busy_strategy
from ktrdr.jobs.services import LaboratoryServices
from ktrdr.operations.history import attempt_record, note_attempt
from ktrdr.operations.leases import WorkerLeases, live_workers
from ktrdr.operations.lineage import log_subject
from ktrdr.operations.operation import Operation, OperationStatus
from ktrdr.operations.revival import FIRST_STEP, RevivalPlan, Reviver, first_failed_step
from ktrdr.operations.runtime import COMPUTE_QUEUE, CYCLES_QUEUE, PHASES_QUEUE
from ktrdr.operations.step_records import StepRecord
from ktrdr.operations.store import TRIGGER_LOCK
from ktrdr.telemetry.logs import logging_about

_QUEUES = {
    AGENT_RESEARCH: CYCLES_QUEUE,
    AGENT_DESIGN: PHASES_QUEUE,
    AGENT_ASSESSMENT: PHASES_QUEUE,
    TRAINING: COMPUTE_QUEUE,
    BACKTESTING: COMPUTE_QUEUE,
    DATA_LOAD: COMPUTE_QUEUE,
    HOLDOUT_EXAM: COMPUTE_QUEUE,
}
_LLM_CALL = "llm_call"
_GATE_FAILED = "gate_failed:"
# A conversation that has grown too long fails again at the same call; another one may not.
_HOPELESS_CALLS = ("context_window",)

_logger = logging.getLogger(__name__)

Verb = Literal["resume", "retry"]


class OperationRevival:
    """The use-case behind resume and retry. Of an operation's family, what is finished stays finished."""

    def __init__(
        self, services: LaboratoryServices, budget: BudgetLedger, choose_model: ModelChooser, leases: WorkerLeases
    ) -> None:
        self._services = services
        self._operations = services.operations
        self._budget = budget
        self._choose_model = choose_model
        self._leases = leases
        self._reviver = Reviver(services.operations, _QUEUES, first_step_to_repeat)

    def resume(self, operation_id: str) -> Operation:
        """Set a cancelled operation going again where it stood; one that lost its worker goes on by itself.

        Raises:
            NotFound: There is none of this id.
            Conflict: It was not cancelled (`not_resumable`), is a phase of another one (`part_of_cycle`), began with
                another strategy, other bars or another version (`strategy_changed`, `data_changed`,
                `version_changed`), or something is in its way, as for a trigger.
            InvalidInput: Its model is not available any more.
        """
        return self._revive(operation_id, "resume")

    def retry(self, operation_id: str) -> Operation:
        """Try a failed operation again from the phase that failed.

        Raises:
            NotFound: There is none of this id.
            Conflict: It has not failed (`not_failed`), a gate refused it (`gate_refused`), or as `resume`.
            InvalidInput: Its model is not available any more.
        """
        return self._revive(operation_id, "retry")

    def _revive(self, operation_id: str, verb: Verb) -> Operation:
        operation = self._checked(operation_id, verb)
        is_cycle = operation.type == AGENT_RESEARCH
        is_paid = is_cycle and self._choose_model(str(operation.metadata["model"])).is_paid
        with self._operations.exclusive_lock(TRIGGER_LOCK):
            operation = self._checked(operation_id, verb)
            if not operation.status.is_terminal:
                return operation
            if is_cycle:
                refuse_active_cycle(self._operations, self._services.settings.max_concurrent_cycles)
            strategy = operation.metadata.get("strategy_name")
            if isinstance(strategy, str):
                refuse_busy_strategy(self._operations, strategy)
                refuse_changed_basis(self._services, operation, strategy)
            if operation.type == DATA_LOAD:
                refuse_busy_pages(self._operations, str(operation.metadata["pages"]))
            if is_paid:
                close_abandoned_envelopes(self._operations, self._budget)
                self._budget.open_envelope(operation_id)
            plan = self._reviver.plan(operation)
            self._reopen_trial(operation, plan, verb)
            self._note(operation, verb)
            revived = self._reviver.carry_out(plan)
        with logging_about(log_subject(self._operations, revived)):
            _logger.info("operation %s was set going again: %s", operation_id, verb)
        return revived

    def _checked(self, operation_id: str, verb: Verb) -> Operation:
        operation = self._operations.get(operation_id)
        if operation.parent_id is not None:
            raise Conflict(
                f"{operation_id} is a phase of {operation.parent_id}, which starts its phases itself: "
                f"`ktrdr operations {verb} {operation.parent_id}`",
                reason="part_of_cycle",
                operation_id=operation.parent_id,
            )
        if verb == "resume":
            self._require_resumable(operation)
        else:
            _require_failed(operation)
        if not self._reviver.can_revive(operation):
            raise _refusal(operation, verb, f"is of the type {operation.type}, of which none goes on; start it again")
        if not self._reviver.is_of_this_version(operation_id):
            raise Conflict(
                f"{operation_id} was begun by another version of ktrdr, whose steps come in another order; start it "
                "again, or use that version",
                reason="version_changed",
            )
        return operation

    def _require_resumable(self, operation: Operation) -> None:
        watch = f"`ktrdr operations watch {operation.operation_id}`"
        match operation.status:
            case OperationStatus.COMPLETED:
                raise _refusal(operation, "resume", "has completed: nothing is left to do")
            case OperationStatus.FAILED if _was_refused(operation):
                raise _refusal(operation, "resume", "was refused by a gate: start another cycle")
            case OperationStatus.FAILED:
                again = f"`ktrdr operations retry {operation.operation_id}`"
                raise _refusal(operation, "resume", f"has failed: try it again with {again}")
            case OperationStatus.PENDING:
                raise _refusal(operation, "resume", f"waits for a worker already: {watch}")
            case OperationStatus.RUNNING if self._has_worker(operation):
                raise _refusal(operation, "resume", f"is running: {watch}")

    def _has_worker(self, operation: Operation) -> bool:
        living = {worker.executor_id for worker in live_workers(self._leases)}
        return self._operations.executor(operation.operation_id) in living

    def _reopen_trial(self, operation: Operation, plan: RevivalPlan, verb: Verb) -> None:
        if operation.type in (DATA_LOAD, HOLDOUT_EXAM):
            return  # no trial
        if plan.keeps("close_trial"):
            return  # its outcome is known, and what is repeated comes after it
        trial_id = operation.metadata.get("training_op_id") or operation.operation_id
        self._services.ledger.reopen_trials(str(trial_id), {"cause": verb})

    def _note(self, operation: Operation, verb: Verb) -> None:
        phase = str(operation.metadata.get("phase") or operation.type)
        reason = operation.error.reason if operation.error else operation.status.value
        record = attempt_record(phase, reason, self._services.clock(), verb)
        note_attempt(self._operations, operation.operation_id, record)


def first_step_to_repeat(operation: Operation, steps: Sequence[StepRecord]) -> int:
    """Return the step that a failed operation begins again with, where nothing that it started decides that.

    A conversation goes on with the call that failed: those before it are paid for. A job begins at its first step,
    a training finds its checkpoint, and a loading its pages.
    """
    if operation.type == AGENT_RESEARCH:
        return first_failed_step(steps)
    if operation.type in (TRAINING, BACKTESTING, DATA_LOAD, HOLDOUT_EXAM):
        return FIRST_STEP
    failed = [step.number for step in steps if step.failure is not None]
    return min(failed) if failed else _first_failed_call(steps)


def _first_failed_call(steps: Sequence[StepRecord]) -> int:
    calls = [step for step in steps if step.name == _LLM_CALL]
    first = FIRST_STEP
    for call in reversed(calls):  # the last call may have been tried several times
        failure = call.output.get("failure") if isinstance(call.output, dict) else None
        if failure is None or failure in _HOPELESS_CALLS:
            break
        first = call.number
    return first


def _was_refused(operation: Operation) -> bool:
    return operation.error is not None and operation.error.reason.startswith(_GATE_FAILED)


def _require_failed(operation: Operation) -> None:
    if _was_refused(operation):
        raise Conflict(
            f"{operation.operation_id} was refused by a gate, and the same strategy on the same bars will be again. "
            "Start another cycle; --bypass-gates goes on past a gate, and is recorded",
            reason="gate_refused",
        )
    if operation.status is OperationStatus.FAILED:
        return
    word = {
        OperationStatus.CANCELLED: f"was cancelled: `ktrdr operations resume {operation.operation_id}` goes on with it",
        OperationStatus.COMPLETED: "has completed: nothing is left to do",
    }.get(operation.status, f"is {operation.status.value}: `ktrdr operations watch {operation.operation_id}`")
    raise _refusal(operation, "retry", word)


def _refusal(operation: Operation, verb: Verb, word: str) -> Conflict:
    reason = "not_resumable" if verb == "resume" else "not_failed"
    wanted = (
        "a cancelled or interrupted operation can be resumed" if verb == "resume" else "a failed one can be retried"
    )
    return Conflict(f"{operation.operation_id} {word} (only {wanted})", reason=reason)
