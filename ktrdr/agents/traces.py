"""The spans of an operation, worked out from its rows: the operation's, its steps', and its calls in the ledger.

Nothing is measured while an operation runs, so nothing is lost when its process dies: what the rows tell, the trace
tells, once, whoever ran the operation and however it ended.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from ktrdr.agents.attempts import Attempt
from ktrdr.clock import epoch_ms
from ktrdr.operations.executions import Execution
from ktrdr.operations.operation import Operation, OperationStatus
from ktrdr.operations.step_records import StepRecord
from ktrdr.telemetry.spans import Attribute, Span, span_id_of, trace_id_of

ROOT_SPAN = "agent.research_cycle"
PHASE_SPANS = {
    "agent_design": "agent.phase.design",
    "training": "agent.phase.training",
    "backtesting": "agent.phase.backtest",
    "agent_assessment": "agent.phase.assessment",
}
# Steps that only keep the operation's own books, and those that a child's span tells better.
_UNTOLD_STEPS = frozenset({"start", "annotate", "new_child_id", "spending", "DBOS.getResult"})
_STEP_NAMES = {"wait_for_start": "queue.wait", "llm_call": "llm_call", "DBOS.sleep": "back_off"}
_METADATA = {
    "strategy_name": "ktrdr.strategy",
    "model": "gen_ai.request.model",
    "seed": "ktrdr.seed",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cost_usd": "ktrdr.cost_usd",
    "bypass_gates": "ktrdr.bypass_gates",
}
# A wait shorter than this is the queue's own rhythm.
_SHORTEST_WAIT_MS = 50
_LONGEST_CONTENT = 8_000


@dataclass(frozen=True, slots=True)
class OperationRecord:
    """All that the rows tell of one ended operation; `root_id` is the operation that it goes back to."""

    operation: Operation
    root_id: str
    executions: Sequence[Execution]
    steps: Sequence[StepRecord]
    attempts: Sequence[Attempt]


def spans_of(record: OperationRecord, *, shows_content: bool) -> list[Span]:
    """Return the spans of an operation that has ended; its own comes first.

    Args:
        record: What is known of it.
        shows_content: Whether briefs, answers of models and results of tools are shown too.
    """
    told = _Teller(record, shows_content=shows_content)
    return [told.operation(), *told.waiting(), *told.lost_executions(), *told.steps(), *told.calls_outside_steps()]


class _Teller:
    def __init__(self, record: OperationRecord, *, shows_content: bool) -> None:
        self._operation = record.operation
        self._record = record
        self._shows_content = shows_content
        self._id = record.operation.operation_id
        self._trace_id = trace_id_of(record.root_id)
        self._own_id = span_id_of(self._id)
        self._start_ms = epoch_ms(record.operation.created_at)
        ended_at = record.operation.completed_at
        assert ended_at is not None
        self._end_ms = max(epoch_ms(ended_at), self._start_ms)
        self._told_attempts: set[str] = set()

    def operation(self) -> Span:
        """Return the span of the operation itself, from its creation to its end."""
        operation = self._operation
        attributes: dict[str, Attribute] = {
            "ktrdr.operation.id": self._id,
            "ktrdr.operation.type": operation.type,
            "ktrdr.operation.status": operation.status.value,
        }
        if self._record.executions:
            attributes["ktrdr.worker"] = self._record.executions[-1].executor_id
        for key, name in _METADATA.items():
            value = operation.metadata.get(key)
            if isinstance(value, str | int | float):
                attributes[name] = value
        brief = operation.metadata.get("brief")
        if self._shows_content and isinstance(brief, str):
            attributes["ktrdr.brief"] = brief
        if operation.error is not None:
            attributes["error.type"] = operation.error.reason
        name = ROOT_SPAN if operation.type == "agent_research" else PHASE_SPANS.get(operation.type, operation.type)
        parent = None if operation.parent_id is None else span_id_of(operation.parent_id)
        failure = _failure(operation)
        return Span(self._trace_id, self._own_id, parent, name, self._start_ms, self._end_ms, attributes, failure)

    def waiting(self) -> Iterator[Span]:
        """Yield the time that the operation spent in its queue, where it is worth seeing."""
        if self._operation.started_at is None:
            return
        started_ms = epoch_ms(self._operation.started_at)
        if started_ms - self._start_ms >= _SHORTEST_WAIT_MS:
            yield self._part("queue.wait", self._start_ms, started_ms, "wait")

    def lost_executions(self) -> Iterator[Span]:
        """Yield the workers' runs of the operation that did not bring it to its end, each until the next one began."""
        for number, (lost, successor) in enumerate(itertools.pairwise(self._record.executions), 1):
            attributes: dict[str, Attribute] = {"ktrdr.attempt": number, "ktrdr.worker": lost.executor_id}
            ended_ms = successor.began_ms if lost.ended_ms is None else lost.ended_ms
            yield self._part(
                "attempt", lost.began_ms, ended_ms, f"attempt {number}", attributes, lost.reason or "worker_lost"
            )

    def steps(self) -> Iterator[Span]:
        """Yield the steps that did something, and what was done inside them."""
        for step in self._record.steps:
            if step.name in _UNTOLD_STEPS or step.child_id is not None:
                continue
            if step.started_at_ms is None or step.completed_at_ms is None:
                continue
            span = self._step(step, step.started_at_ms, step.completed_at_ms)
            yield span
            if step.name == "llm_call":
                yield from self._calls(span)
            yield from self._timings(step, span)

    def calls_outside_steps(self) -> Iterator[Span]:
        """Yield the attempts whose step never ended, because it was cancelled or its worker died."""
        for attempt in self._record.attempts:
            if attempt.attempt_id not in self._told_attempts:
                yield self._attempt(attempt, self._own_id, self._end_ms)

    def _step(self, step: StepRecord, started_ms: int, completed_ms: int) -> Span:
        output = step.output if isinstance(step.output, dict) else {}
        attributes: dict[str, Attribute] = {"ktrdr.step": step.number}
        name = _STEP_NAMES.get(step.name, step.name)
        failure = step.failure
        if step.name == "tool":
            tool = str(output.get("tool", "unknown"))
            name = f"execute_tool {tool}"
            attributes |= {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool}
            if output.get("failed"):
                failure = "the tool answered with an error"
            if self._shows_content:
                attributes["gen_ai.tool.call.result"] = _cut(output.get("text"))
        elif step.name == "llm_call":
            reason = output.get("failure")
            failure = str(reason) if reason else failure
            if self._shows_content:
                attributes["gen_ai.output.messages"] = _cut(output.get("response"))
        elif isinstance(output.get("measures"), dict):
            attributes |= {f"ktrdr.job.{key}": value for key, value in _plain(output["measures"]).items()}
        elif step.name.endswith("_gate") and output:
            attributes |= {"ktrdr.gate.passed": bool(output.get("passed")), "ktrdr.gate.reason": str(output["reason"])}
        return self._part(name, started_ms, completed_ms, step.number, attributes, failure)

    def _calls(self, step: Span) -> Iterator[Span]:
        for attempt in self._record.attempts:
            if step.start_ms <= attempt.reserved_at_ms <= step.end_ms and attempt.attempt_id not in self._told_attempts:
                yield self._attempt(attempt, step.span_id, step.end_ms)

    def _attempt(self, attempt: Attempt, parent_id: str, latest_ms: int) -> Span:
        """Return one HTTP attempt as a call of a model, in the words of the GenAI conventions."""
        self._told_attempts.add(attempt.attempt_id)
        settled_ms = latest_ms if attempt.settled_at_ms is None else min(attempt.settled_at_ms, latest_ms)
        attributes: dict[str, Attribute] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "anthropic" if attempt.model.startswith("claude-") else "openai",
            "gen_ai.request.model": attempt.model,
            "ktrdr.cost_usd": attempt.charged_usd,
        }
        if attempt.usage is not None:
            attributes |= {
                "gen_ai.usage.input_tokens": attempt.usage.input_tokens,
                "gen_ai.usage.output_tokens": attempt.usage.output_tokens,
                "gen_ai.usage.cache_read.input_tokens": attempt.usage.cache_read_tokens,
                "gen_ai.usage.cache_creation.input_tokens": attempt.usage.cache_write_tokens,
            }
        return Span(
            self._trace_id,
            span_id_of(self._id, "attempt", attempt.attempt_id),
            parent_id,
            f"chat {attempt.model}",
            attempt.reserved_at_ms,
            max(settled_ms, attempt.reserved_at_ms),
            attributes,
            None if attempt.usage is not None else "no usable answer",
            is_remote_call=True,
        )

    def _timings(self, step: StepRecord, span: Span) -> Iterator[Span]:
        """Yield what a job process did inside its step, as it said at its end."""
        timings = step.output.get("timings") if isinstance(step.output, dict) else None
        for number, timing in enumerate(timings if isinstance(timings, list) else []):
            assert isinstance(timing, dict)
            started, ended = timing["start_ms"], timing["end_ms"]
            assert isinstance(started, int)
            assert isinstance(ended, int)
            start_ms = min(max(started, span.start_ms), span.end_ms)
            yield Span(
                self._trace_id,
                span_id_of(self._id, step.number, "timing", number),
                span.span_id,
                str(timing["name"]),
                start_ms,
                max(min(ended, span.end_ms), start_ms),
                _plain(timing["attributes"]),
            )

    def _part(
        self,
        name: str,
        start_ms: int,
        end_ms: int,
        which: str | int,
        attributes: Mapping[str, Attribute] | None = None,
        failure: str | None = None,
    ) -> Span:
        start_ms = min(max(start_ms, self._start_ms), self._end_ms)
        return Span(
            self._trace_id,
            span_id_of(self._id, which),
            self._own_id,
            name,
            start_ms,
            min(max(end_ms, start_ms), self._end_ms),
            attributes or {},
            failure,
        )


def _failure(operation: Operation) -> str | None:
    if operation.status is OperationStatus.CANCELLED:
        return "cancelled"
    return None if operation.error is None else operation.error.reason


def _plain(attributes: JsonValue) -> dict[str, Attribute]:
    if not isinstance(attributes, dict):
        return {}
    return {name: value for name, value in attributes.items() if isinstance(value, str | int | float)}


def _cut(content: JsonValue) -> str:
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return text[:_LONGEST_CONTENT]
