"""The research cycle: one idea through design, training, backtest and assessment, as one durable operation."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict

from pydantic import BaseModel, JsonValue

from ktrdr.agents.budget import BudgetLedger
from ktrdr.agents.cycle_report import keep_story
from ktrdr.agents.envelopes import spending_metadata
from ktrdr.agents.gates import (
    REMEDIES,
    BacktestGateMetrics,
    BacktestLimits,
    GateVerdict,
    TrainingLimits,
    TrainingMetrics,
    check_backtest_gate,
    check_training_gate,
)
from ktrdr.agents.offline import OFFLINE_MODEL
from ktrdr.agents.phases import AssessmentPayload, DesignPayload, PhaseResult
from ktrdr.agents.records import CycleRecord
from ktrdr.config import GateSettings
from ktrdr.errors import OperationFailed
from ktrdr.jobs.evaluation_operations import (
    BACKTESTING,
    TRAINING,
    BacktestPayload,
    TrainingPayload,
    backtest_outcome,
)
from ktrdr.jobs.services import LaboratoryServices
from ktrdr.operations.runtime import COMPUTE_QUEUE, Body
from ktrdr.operations.work import Payload, Work
from ktrdr.telemetry.spans import trace_id_of

AGENT_RESEARCH, AGENT_DESIGN, AGENT_ASSESSMENT = "agent_research", "agent_design", "agent_assessment"


class CyclePayload(BaseModel):
    """What an `agent_research` operation is asked."""

    brief: str | None
    model: str
    strategy: str | None
    strategy_sha256: str | None
    seed: int
    bypass_gates: bool

    def initial_metadata(self, operation_id: str) -> Payload:
        """Return the metadata of a cycle that has not begun: every key is there from the start."""
        return {
            "phase": "designing",
            "strategy_name": self.strategy,
            "strategy_path": None,
            "strategy_sha256": self.strategy_sha256,
            "design_op_id": None,
            "training_op_id": None,
            "backtest_op_id": None,
            "assessment_op_id": None,
            "gates": [],
            "brief": self.brief,
            "model": self.model,
            "seed": self.seed,
            "input_tokens": 0,
            "output_tokens": 0,
            "cost_usd": 0.0,
            "trace_id": trace_id_of(operation_id),
            "bypass_gates": self.bypass_gates,
            "after_exam": False,
        }


class _Cycle:
    """One execution of a cycle's body. All it remembers comes from its payload and from finished steps."""

    def __init__(self, work: Work, payload: CyclePayload, services: LaboratoryServices, budget: BudgetLedger) -> None:
        self._work = work
        self._payload = payload
        self._services = services
        self._budget = budget
        self._gates: list[dict[str, JsonValue]] = []
        self._backtested: Payload | None = None  # its metrics and verdict
        self._strategy_sha256 = payload.strategy_sha256
        self._tokens_in = 0
        self._tokens_out = 0
        self._cost_usd = 0.0

    async def run(self) -> JsonValue:
        """Take the idea through all phases, and give back what was not spent on it, however it ends."""
        try:
            result = await self._run_phases()
        except OperationFailed:
            await self._close_envelope()
            raise
        await self._close_envelope()
        return result

    async def _run_phases(self) -> JsonValue:
        strategy = await self._design()
        trial_id = await self._work.new_child_id(TRAINING)
        try:
            metrics = await self._train_and_backtest(strategy, trial_id)
        except OperationFailed as error:
            await self._close_trial(strategy, trial_id, error.reason, error.message)
            raise
        bypassed = any(_field(gate, "bypassed") for gate in self._gates)
        await self._close_trial(strategy, trial_id, "gates_bypassed" if bypassed else "passed_gates", None)
        await self._assess(strategy)
        await self._work.annotate({"phase": "done"})
        return {
            "strategy_name": strategy,
            "strategy_path": str(self._services.strategies.path(strategy)),
            "metrics": metrics,
        }

    async def _design(self) -> str:
        if self._payload.strategy is not None:
            name = self._payload.strategy
            await self._work.annotate({"strategy_path": str(self._services.strategies.path(name))})
            return name
        child_id = await self._work.new_child_id(AGENT_DESIGN)
        await self._work.annotate({"design_op_id": child_id})
        request = DesignPayload(
            cycle_id=self._work.operation_id,
            model=self._payload.model,
            brief=self._payload.brief,
            seed=self._payload.seed,
        ).model_dump()
        result = await _named("design", lambda: self._work.run_child(AGENT_DESIGN, child_id, request))
        design = PhaseResult.model_validate(result)
        self._strategy_sha256 = design.strategy_sha256
        await self._account(
            design,
            {
                "strategy_name": design.strategy_name,
                "strategy_path": design.strategy_path,
                "strategy_sha256": design.strategy_sha256,
                "after_exam": design.after_exam,
            },
        )
        return design.strategy_name

    async def _train_and_backtest(self, strategy: str, trial_id: str) -> JsonValue:
        limits = self._services.settings.gates
        await self._work.annotate({"phase": "training", "training_op_id": trial_id})
        assert self._strategy_sha256 is not None
        training = TrainingPayload(
            strategy=strategy,
            strategy_sha256=self._strategy_sha256,
            seed=self._payload.seed,
            part_of_cycle=True,
        )
        trained = await self._compute("training", TRAINING, trial_id, training)
        await self._gate("training", lambda: _judge_training(trained, limits))

        backtest_id = await self._work.new_child_id(BACKTESTING)
        await self._work.annotate({"phase": "backtesting", "backtest_op_id": backtest_id})
        backtest = BacktestPayload(strategy=strategy, trial_id=trial_id)
        traded = await self._compute("backtest", BACKTESTING, backtest_id, backtest)
        metrics = _field(traded, "metrics")
        self._backtested = {"metrics": metrics, "verdict": _field(traded, "verdict")}
        await self._gate("backtest", lambda: _judge_backtest(metrics, limits))
        return metrics

    async def _compute(self, phase: str, operation_type: str, operation_id: str, payload: BaseModel) -> JsonValue:
        start_timeout_s = self._services.settings.training_start_timeout_s
        return await _named(
            phase,
            lambda: self._work.run_queued_child(
                operation_type,
                operation_id,
                payload.model_dump(),
                queue=COMPUTE_QUEUE,
                start_timeout_s=start_timeout_s,
            ),
        )

    async def _assess(self, strategy: str) -> None:
        child_id = await self._work.new_child_id(AGENT_ASSESSMENT)
        await self._work.annotate({"phase": "assessing", "assessment_op_id": child_id})
        request = AssessmentPayload(
            cycle_id=self._work.operation_id,
            model=self._payload.model,
            strategy=strategy,
            seed=self._payload.seed,
            gates=self._gates,
            spent_usd=self._cost_usd,
        ).model_dump()
        result = await _named("assessment", lambda: self._work.run_child(AGENT_ASSESSMENT, child_id, request))
        await self._account(PhaseResult.model_validate(result), {})

    async def _gate(self, gate: str, judge: Callable[[], GateVerdict]) -> None:
        profile = self._services.settings.gates.profile

        def judge_once() -> JsonValue:  # a step: limits that change between two runs must not change the verdict
            return {"gate": gate, "profile": profile, **asdict(judge()), "bypassed": False}

        try:
            result = await self._work.step(f"{gate}_gate", judge_once)
        except OperationFailed as error:
            raise OperationFailed(error.message, reason=f"{gate}_failed:{error.reason}") from error
        passed, reason = bool(_field(result, "passed")), _field(result, "reason")
        bypassed = self._payload.bypass_gates and not passed
        assert isinstance(result, dict)
        self._gates = [*self._gates, {**result, "bypassed": bypassed}]
        await self._work.annotate({"gates": list[JsonValue](self._gates)})
        if not passed and not bypassed:
            raise OperationFailed(
                f"the {gate} gate refuses {reason}: observed {_field(result, 'observed'):.4g}, "
                f"limit {_field(result, 'threshold'):.4g} (profile {profile}); {REMEDIES[str(reason)]}",
                reason=f"gate_failed:{gate}:{reason}",
            )

    async def _account(self, spent: PhaseResult, metadata: Payload) -> None:
        self._tokens_in += spent.input_tokens
        self._tokens_out += spent.output_tokens
        self._cost_usd += spent.cost_usd
        totals: Payload = {
            "input_tokens": self._tokens_in,
            "output_tokens": self._tokens_out,
            "cost_usd": self._cost_usd,
        }
        await self._work.annotate({**metadata, **totals})

    async def _close_envelope(self) -> None:
        """Close the cycle's envelope and show what it came to, calls of phases that failed included.

        A cycle that is cancelled does not come here: a chore does it.
        """
        if self._payload.model == OFFLINE_MODEL:
            return
        operation_id, budget = self._work.operation_id, self._budget

        def close() -> None:
            budget.close_envelope(operation_id)
            budget.forget_answers(operation_id)

        await self._work.step("close_envelope", close)
        await self._work.annotate(await self._work.step("spending", lambda: spending_metadata(budget, operation_id)))

    async def _close_trial(self, strategy: str, trial_id: str, outcome: str, message: str | None) -> None:
        """Close the trial with its outcome and tell of it beside the strategy; `message`: of a failure or refusal."""
        record: Payload = {"outcome": outcome}
        if self._backtested is not None:
            record = backtest_outcome(self._services, trial_id, outcome, self._backtested)
        story = CycleRecord(
            operation_id=self._work.operation_id,
            reason=None if message is None else outcome,
            message=message,
            gates=self._gates,
        )

        def close() -> None:
            self._services.ledger.close_trial(trial_id, record)
            with self._work.held():
                keep_story(self._services, strategy, story)

        await self._work.step("close_trial", close)


def research_cycle(services: LaboratoryServices, budget: BudgetLedger) -> Body:
    """Return the body of `agent_research`."""

    async def body(work: Work, document: Payload) -> JsonValue:
        return await _Cycle(work, CyclePayload.model_validate(document), services, budget).run()

    return body


async def _named(phase: str, run: Callable[[], Awaitable[JsonValue]]) -> JsonValue:
    """Run a phase and give its failure the name that the cycle shows."""
    try:
        return await run()
    except OperationFailed as error:
        reason = f"{phase}_unavailable" if error.reason == "unavailable" else f"{phase}_failed:{error.reason}"
        raise OperationFailed(error.message, reason=reason) from error


def _judge_training(result: JsonValue, limits: GateSettings) -> GateVerdict:
    metrics = TrainingMetrics(
        accuracy=_number(result, "accuracy"),
        final_loss=_number(result, "final_loss"),
        accuracy_to_beat=_number(result, "accuracy_to_beat"),
    )
    return check_training_gate(
        metrics,
        TrainingLimits(limits.profile, limits.min_accuracy, limits.max_final_loss, needs_skill=limits.needs_skill),
    )


def _judge_backtest(metrics: JsonValue, limits: GateSettings) -> GateVerdict:
    trades = _number(metrics, "n_trades")
    return check_backtest_gate(
        BacktestGateMetrics(
            n_trades=None if trades is None else int(trades),
            profit_factor=_number(metrics, "profit_factor"),
            max_drawdown=_number(metrics, "max_drawdown"),
            sharpe_ratio=_number(metrics, "sharpe_ratio"),
        ),
        BacktestLimits(limits.profile, limits.min_profit_factor, limits.max_drawdown, limits.min_sharpe_ratio),
    )


def _field(result: JsonValue, name: str) -> JsonValue:
    if not isinstance(result, dict) or name not in result:
        raise OperationFailed(f"{name}: missing from the phase's result", reason="metric_missing")
    return result[name]


def _number(result: JsonValue, name: str) -> float | None:
    value = result.get(name) if isinstance(result, dict) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
