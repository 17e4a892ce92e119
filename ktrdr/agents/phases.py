"""The two phases of a cycle that an agent does: design and assessment, each an operation of its own."""

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel, JsonValue

from ktrdr.agents.choice import InvokerChoice
from ktrdr.agents.cycle_report import keep_report
from ktrdr.agents.executor import ToolExecutor
from ktrdr.agents.invoker import AgentInvoker
from ktrdr.agents.memory import StrategyMemory
from ktrdr.agents.records import DESIGN_FILE
from ktrdr.agents.task import AgentResult, AgentRun, AgentTask, AssessmentContext, Role
from ktrdr.backtest.report import read_backtest_report
from ktrdr.database.patience import patiently
from ktrdr.errors import OperationFailed
from ktrdr.evaluation.candidacy import has_been_looked_at
from ktrdr.jobs.services import LaboratoryServices
from ktrdr.operations.runtime import Body
from ktrdr.operations.work import Payload, Repetition, Work
from ktrdr.training.report import read_training_report

# The provider's or the network's trouble, and over in a while. Each was tried several times before it came to this.
_PASSING_REASONS = frozenset({"overloaded", "rate_limited", "connection"})


class DesignPayload(BaseModel):
    """What an `agent_design` operation is asked."""

    cycle_id: str
    model: str
    brief: str | None
    seed: int


class AssessmentPayload(BaseModel):
    """What an `agent_assessment` operation is asked."""

    cycle_id: str
    model: str
    strategy: str
    seed: int
    gates: list[dict[str, JsonValue]]
    spent_usd: float


class PhaseResult(BaseModel):
    """What an agent's phase returns: where to look, what it cost, and whether the design came after an exam."""

    strategy_name: str
    strategy_path: str
    strategy_sha256: str
    input_tokens: int
    output_tokens: int
    cost_usd: float
    after_exam: bool = False


class _PhaseSteps:
    """An agent's steps as those of its operation, stopped as soon as the operation is no longer this worker's.

    A call that failed for a passing reason is made again after a pause, as a step of its own: the conversation knows
    nothing of it and goes on with what it has paid for.
    """

    def __init__(self, work: Work, phase: str, label: str, repetition: Repetition) -> None:
        self._work = work
        self._phase = phase
        self._label = label
        self._repetition = repetition
        self._repeated = 0

    async def once(self, name: str, coroutine: Callable[[], Coroutine[Any, Any, JsonValue]]) -> JsonValue:
        while True:
            outcome = await self._work.owned_step(name, coroutine)
            reason = str(outcome.get("failure")) if isinstance(outcome, dict) else ""
            if reason not in self._repetition.reasons or self._repeated >= self._repetition.times:
                return outcome
            pause_s = self._repetition.pause_s(self._repeated)
            self._repeated += 1  # over the whole phase: a provider that is down again and again shall end it
            await self._work.back_off(self._phase, reason, pause_s)

    async def report(self, percentage: float, current_step: str) -> None:
        await self._work.report(percentage, f"{self._label}, {current_step}")


def design_phase(services: LaboratoryServices, choice: InvokerChoice) -> Body:
    """Return the body of `agent_design`: ends with a stored strategy, or fails with the agent's reason."""
    again = _repetition(services)

    async def body(work: Work, document: Payload) -> JsonValue:
        payload = DesignPayload.model_validate(document)
        invoker = choice.invoker(payload.model)
        if not await work.step("has_markets", lambda: bool(services.bars.list_for_research())):
            raise OperationFailed(
                "this workspace has no bars to design for: `ktrdr data samples` installs some, "
                "`ktrdr data import FILE` takes yours, `ktrdr data check` shows those with serious findings",
                reason="no_strategy",
            )
        tools = await patiently(lambda: _tools(services, invoker, work, "designer", None))
        task = AgentTask(role="designer", brief=payload.brief, seed=payload.seed)
        steps = _PhaseSteps(work, "designing", f"designing ({invoker.model})", again)
        run = AgentRun(work.operation_id, payload.cycle_id, steps)
        result = await invoker.run(task=task, tools=tools, run=run)
        if not result.ok or tools.saved_strategy is None:
            raise OperationFailed(
                f"the designer ({invoker.model}) ended after {result.turns} turns without a valid new strategy: "
                f"{result.message or 'try another brief or seed, or import other markets'}",
                reason="no_strategy" if result.ok else result.reason,
            )
        await work.publish("record", lambda: tools.record_result(result))
        return await work.step("result", lambda: _phase_result(services, str(tools.saved_strategy), result))

    return body


def assessment_phase(services: LaboratoryServices, choice: InvokerChoice) -> Body:
    """Return the body of `agent_assessment`: ends with assessment.json and report.html beside the strategy."""
    again = _repetition(services)

    async def body(work: Work, document: Payload) -> JsonValue:
        payload = AssessmentPayload.model_validate(document)
        invoker = choice.invoker(payload.model)
        subject = await patiently(lambda: _subject(services, payload.strategy, payload.gates))
        tools = await patiently(lambda: _tools(services, invoker, work, "assessor", subject))
        task = AgentTask(role="assessor", brief=None, seed=payload.seed, context=subject)
        steps = _PhaseSteps(work, "assessing", f"assessing ({invoker.model})", again)
        run = AgentRun(work.operation_id, payload.cycle_id, steps, spent_usd=payload.spent_usd)
        result = await invoker.run(task=task, tools=tools, run=run)
        if not result.ok:
            raise OperationFailed(
                f"the assessor ({invoker.model}) ended after {result.turns} turns without an assessment: "
                f"{result.message or result.reason}",
                reason=result.reason,
            )

        def record() -> None:
            tools.record_result(result)
            keep_report(services, payload.strategy)

        await work.publish("report", record)
        return await work.step("result", lambda: _phase_result(services, payload.strategy, result))

    return body


def _repetition(services: LaboratoryServices) -> Repetition:
    return Repetition(_PASSING_REASONS, services.settings.repeat.times, services.settings.repeat.backoff_s)


def _tools(
    services: LaboratoryServices,
    invoker: AgentInvoker,
    work: Work,
    role: Role,
    subject: AssessmentContext | None,
) -> ToolExecutor:
    return ToolExecutor(
        operation_id=work.operation_id,
        role=role,
        model=invoker.model,
        prompt_version=invoker.prompt_version,
        bars=services.bars,
        strategies=services.strategies,
        recent=StrategyMemory(services.operations, services.strategies).recent,
        attempts_folder=services.settings.attempts_folder,
        clock=services.clock,
        subject=subject,
        held=work.held,
        is_examined=partial(has_been_looked_at, services.bars, services.exams),
    )


def _subject(services: LaboratoryServices, strategy: str, gates: list[dict[str, JsonValue]]) -> AssessmentContext:
    folder = services.strategies.folder(strategy)
    checked: tuple[Mapping[str, JsonValue], ...] = tuple(gates)
    return AssessmentContext(
        specification=services.strategies.read(strategy),
        training=read_training_report(folder / "training.json"),
        backtest=read_backtest_report(folder / "backtest.json"),
        gates=checked,
        n_trials=services.ledger.count(),
    )


def _phase_result(services: LaboratoryServices, strategy: str, result: AgentResult) -> JsonValue:
    return PhaseResult(
        strategy_name=strategy,
        strategy_path=str(services.strategies.path(strategy)),
        strategy_sha256=services.strategies.read(strategy).sha256(),
        input_tokens=result.input_tokens,
        output_tokens=result.output_tokens,
        cost_usd=result.cost_usd,
        after_exam=(services.strategies.read_json(strategy, DESIGN_FILE) or {}).get("after_exam") is True,
    ).model_dump()
