"""The two phases of a cycle that an agent does: design and assessment, each an operation of its own."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from pydantic import BaseModel, JsonValue

from ktrdr.agents.choice import InvokerChoice
from ktrdr.agents.executor import ToolExecutor
from ktrdr.agents.invoker import AgentInvoker
from ktrdr.agents.memory import StrategyMemory
from ktrdr.agents.task import AgentResult, AgentRun, AgentTask, AssessmentContext, Role
from ktrdr.backtest.report import read_backtest_report
from ktrdr.errors import OperationFailed
from ktrdr.jobs.services import LaboratoryServices
from ktrdr.operations.runtime import Body
from ktrdr.operations.work import Payload, Work
from ktrdr.training.report import read_training_report


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
    """What an agent's phase returns: where to look, and what it cost."""

    strategy_name: str
    strategy_path: str
    input_tokens: int
    output_tokens: int
    cost_usd: float


class _PhaseSteps:
    """An agent's steps as those of its operation, stopped as soon as the operation is no longer this worker's."""

    def __init__(self, work: Work, label: str) -> None:
        self._work = work
        self._label = label

    async def once(self, name: str, coroutine: Callable[[], Coroutine[Any, Any, JsonValue]]) -> JsonValue:
        return await self._work.owned_step(name, coroutine)

    async def report(self, percentage: float, current_step: str) -> None:
        await self._work.report(percentage, f"{self._label}, {current_step}")


def design_phase(services: LaboratoryServices, choice: InvokerChoice) -> Body:
    """Return the body of `agent_design`: ends with a stored strategy, or fails with the agent's reason."""

    async def body(work: Work, document: Payload) -> JsonValue:
        payload = DesignPayload.model_validate(document)
        invoker = choice.invoker(payload.model)
        if not await work.step("has_markets", lambda: bool(services.bars.list_for_research())):
            raise OperationFailed(
                "this workspace has no bars to design for: `ktrdr data samples` installs some, "
                "`ktrdr data import FILE` takes yours, `ktrdr data check` shows those with serious findings",
                reason="no_strategy",
            )
        tools = _tools(services, invoker, work.operation_id, "designer", None)
        task = AgentTask(role="designer", brief=payload.brief, seed=payload.seed)
        run = AgentRun(work.operation_id, payload.cycle_id, _PhaseSteps(work, f"designing ({invoker.model})"))
        result = await invoker.run(task=task, tools=tools, run=run)
        if not result.ok or tools.saved_strategy is None:
            raise OperationFailed(
                f"the designer ({invoker.model}) ended after {result.turns} turns without a valid new strategy: "
                f"{result.message or 'try another brief or seed, or import other markets'}",
                reason="no_strategy" if result.ok else result.reason,
            )
        await work.step("record", lambda: tools.record_result(result))
        return _phase_result(services, tools.saved_strategy, result)

    return body


def assessment_phase(services: LaboratoryServices, choice: InvokerChoice) -> Body:
    """Return the body of `agent_assessment`: ends with assessment.json beside the strategy."""

    async def body(work: Work, document: Payload) -> JsonValue:
        payload = AssessmentPayload.model_validate(document)
        invoker = choice.invoker(payload.model)
        subject = _subject(services, payload.strategy, payload.gates)
        tools = _tools(services, invoker, work.operation_id, "assessor", subject)
        task = AgentTask(role="assessor", brief=None, seed=payload.seed, context=subject)
        steps = _PhaseSteps(work, f"assessing ({invoker.model})")
        run = AgentRun(work.operation_id, payload.cycle_id, steps, spent_usd=payload.spent_usd)
        result = await invoker.run(task=task, tools=tools, run=run)
        if not result.ok:
            raise OperationFailed(
                f"the assessor ({invoker.model}) ended after {result.turns} turns without an assessment: "
                f"{result.message or result.reason}",
                reason=result.reason,
            )
        return _phase_result(services, payload.strategy, result)

    return body


def _tools(
    services: LaboratoryServices,
    invoker: AgentInvoker,
    operation_id: str,
    role: Role,
    subject: AssessmentContext | None,
) -> ToolExecutor:
    return ToolExecutor(
        operation_id=operation_id,
        role=role,
        model=invoker.model,
        prompt_version=invoker.prompt_version,
        bars=services.bars,
        strategies=services.strategies,
        recent=StrategyMemory(services.operations, services.strategies).recent,
        attempts_folder=services.settings.attempts_folder,
        clock=services.clock,
        subject=subject,
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
        strategy_path=str(services.strategies.folder(strategy)),
        input_tokens=result.input_tokens,
        output_tokens=result.output_tokens,
        cost_usd=result.cost_usd,
    ).model_dump()
