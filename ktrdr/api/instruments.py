"""The laboratory's metrics as Prometheus has them: names, labels, and what each is made of."""

from collections import Counter as Tally
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ktrdr.agents.budget_report import BudgetStanding
from ktrdr.agents.budget_totals import ModelTotals
from ktrdr.agents.cycle import AGENT_ASSESSMENT, AGENT_DESIGN, AGENT_RESEARCH
from ktrdr.agents.gates import GATE_RESULTS
from ktrdr.agents.offline import OFFLINE_MODEL
from ktrdr.jobs.data_load_operation import DATA_LOAD
from ktrdr.jobs.evaluation_operations import BACKTESTING, TRAINING
from ktrdr.jobs.exam_operation import HOLDOUT_EXAM
from ktrdr.jobs.reproduction_operation import REPRODUCTION
from ktrdr.operations.leases import WorkerInfo, worker_name
from ktrdr.operations.operation import OperationStatus
from ktrdr.operations.runtime import COMPUTE_QUEUE, CYCLES_QUEUE, PHASES_QUEUE
from ktrdr.operations.tallies import ActiveOperation, OperationEnd, Reading

JOB_TYPES = (TRAINING, BACKTESTING, DATA_LOAD, HOLDOUT_EXAM, REPRODUCTION)
TYPES = (AGENT_RESEARCH, AGENT_DESIGN, AGENT_ASSESSMENT, *JOB_TYPES)
GATES = "gates"  # the key of a cycle's metadata
WAITING = "waiting"
_ENDS = [status.value for status in OperationStatus if status.is_terminal]
_QUEUES = (CYCLES_QUEUE, COMPUTE_QUEUE)
_PHASE_OF_TYPE = {AGENT_DESIGN: "design", TRAINING: "training", BACKTESTING: "backtest", AGENT_ASSESSMENT: "assessment"}
# As a cycle's metadata has it.
_PHASE_OF_WORD = {
    "designing": "design",
    "training": "training",
    "backtesting": "backtest",
    "assessing": "assessment",
    "done": "assessment",
}
_CYCLE_BUCKETS_S = (1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 86400)
_PHASE_BUCKETS_S = (0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800)
_RECENT_JOBS = 50


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that one scrape has read.

    `waited_s` and `stalled` are by queue and by type; `schedules` by state; `lost_workers` is of the last hour.
    """

    operations: Reading
    now_ms: int
    models: Mapping[str, ModelTotals]
    budget: BudgetStanding
    workers: Sequence[WorkerInfo]
    lost_workers: int
    stalled: Sequence[ActiveOperation]
    active_schedules: int
    paused_schedules: int


class LaboratoryInstruments:
    """Counters that grow with what the store tells for the first time, and gauges of the present."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._cycles = _CycleInstruments(registry)
        self._operations = _OperationInstruments(registry)
        self._spending = _SpendingInstruments(registry)
        self._workers = _WorkerInstruments(registry)

    def apply(self, seen: Observation) -> None:
        """Take in what was read. Cannot fail half-way: nothing is read here."""
        for end in seen.operations.ends:
            self._operations.count(end)
            if end.type == AGENT_RESEARCH:
                self._cycles.count(end)
            elif end.parent_id is not None:
                self._cycles.time_phase(end)
        self._operations.show(seen)
        self._cycles.show(seen)
        self._spending.show(seen)
        self._workers.show(seen)


class _CycleInstruments:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended = _counter(registry, "agent_cycles_total", "Research cycles that ended, by outcome.", "outcome")
        self._failures = _counter(
            registry, "agent_cycle_failures_total", "Research cycles that failed, by reason.", "reason"
        )
        self._gates = _counter(
            registry, "agent_gate_results_total", "Verdicts of gates in ended cycles, by result.", "gate", "result"
        )
        self._duration = Histogram(
            "agent_cycle_duration_seconds",
            "Time from a cycle's trigger to its first end.",
            buckets=_CYCLE_BUCKETS_S,
            registry=registry,
        )
        self._phase_duration = Histogram(
            "agent_phase_duration_seconds",
            "Time from the moment a worker took a phase up to its first end.",
            ["phase"],
            buckets=_PHASE_BUCKETS_S,
            registry=registry,
        )
        self._in_phase = _gauge(
            registry, "agent_cycles_in_phase", "Research cycles that wait or run, by phase.", "phase"
        )
        self._last_end = _gauge(
            registry, "agent_last_cycle_end_timestamp_seconds", "When the last research cycle ended, 0 where none did."
        )
        self._last_end_ms = 0
        self._gates_counted: dict[str, int] = {}
        for outcome in _ENDS:
            self._ended.labels(outcome)
        for gate, results in GATE_RESULTS.items():
            for result in results:
                self._gates.labels(gate, result)
                if result != "passed":
                    self._failures.labels(f"gate_failed:{gate}:{result}")
        for phase in _PHASE_OF_TYPE.values():
            self._phase_duration.labels(phase)

    def count(self, end: OperationEnd) -> None:
        self._ended.labels(end.status.value).inc()
        if end.reason is not None:
            self._failures.labels(end.reason).inc()
        if end.is_first:
            self._duration.observe(_seconds(end.created_at_ms, end.ended_at_ms))
        self._last_end_ms = max(self._last_end_ms, end.ended_at_ms)
        self._count_gates(end)

    def time_phase(self, end: OperationEnd) -> None:
        phase = _PHASE_OF_TYPE.get(end.type)
        if phase is not None and end.is_first and end.started_at_ms is not None:
            self._phase_duration.labels(phase).observe(_seconds(end.started_at_ms, end.ended_at_ms))

    def show(self, seen: Observation) -> None:
        present = Tally(
            WAITING if each.executor_id is None else _PHASE_OF_WORD.get(str(each.metadata("phase")), WAITING)
            for each in seen.operations.active
            if each.type == AGENT_RESEARCH
        )
        _set_all(self._in_phase, present, (WAITING, *_PHASE_OF_TYPE.values()))
        self._last_end.set(self._last_end_ms / 1000)

    def _count_gates(self, end: OperationEnd) -> None:
        # A cycle that goes on after its end keeps the verdicts it has: only what is new counts at its next end.
        gates = end.metadata[GATES]
        verdicts = gates if isinstance(gates, list) else []
        before = self._gates_counted.pop(end.operation_id, 0)
        for verdict in verdicts[before:]:
            if isinstance(verdict, dict):
                self._gates.labels(str(verdict["gate"]), str(verdict["reason"])).inc()
        if end.status is not OperationStatus.COMPLETED and verdicts:
            self._gates_counted[end.operation_id] = len(verdicts)


class _OperationInstruments:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended = _counter(
            registry, "operations_ended_total", "Operations that ended, by type and status.", "type", "status"
        )
        self._takeovers = _counter(
            registry, "operation_takeovers_total", "Operations that went on with another worker, the first being gone."
        )
        self._active = _gauge(registry, "operations_active", "Operations that wait or run, by type.", "type")
        self._queued = _gauge(registry, "operations_queued", "Operations that wait in a queue.", "queue")
        self._oldest = _gauge(
            registry, "operations_oldest_queued_seconds", "How long the first in a queue has waited.", "queue"
        )
        self._stalled = _gauge(
            registry, "operations_stalled", "Operations that nobody works on, or that stand still, by type.", "type"
        )
        self._memory = _gauge(
            registry, "job_peak_memory_bytes", "Largest memory of a job's process among the last fifty.", "type"
        )
        self._measures = {
            "samples": _counter(registry, "training_samples_total", "Samples that finished trainings went through."),
            "training_s": _counter(registry, "training_seconds_total", "Time that finished trainings took to fit."),
            "bars": _counter(registry, "backtest_bars_total", "Bars that finished backtests traded."),
            "backtest_s": _counter(registry, "backtest_seconds_total", "Time that finished backtests took to trade."),
        }
        self._peaks = {kind: deque[float](maxlen=_RECENT_JOBS) for kind in JOB_TYPES}
        for kind in TYPES:
            for status in _ENDS:
                self._ended.labels(kind, status)

    def count(self, end: OperationEnd) -> None:
        self._ended.labels(end.type, end.status.value).inc()
        for measures in end.measures:
            for name, value in measures.items():
                if not isinstance(value, int | float):
                    continue
                if name in self._measures:
                    self._measures[name].inc(value)
                elif name == "peak_memory_bytes" and end.type in self._peaks:
                    self._peaks[end.type].append(value)

    def show(self, seen: Observation) -> None:
        active = seen.operations.active
        self._takeovers.inc(seen.operations.takeovers)
        _set_all(self._active, Tally(each.type for each in active), TYPES)
        _set_all(self._stalled, Tally(each.type for each in seen.stalled), TYPES)
        waiting = [(_shown_queue(each.queue), each.waiting_since_ms) for each in active if each.queue is not None]
        queued = Tally(queue for queue, since_ms in waiting if since_ms is not None)
        _set_all(self._queued, queued, _QUEUES)
        waited: dict[str, float] = {}
        for queue, since_ms in waiting:
            if since_ms is not None:
                waited[queue] = max(waited.get(queue, 0.0), _seconds(since_ms, seen.now_ms))
        _set_all(self._oldest, waited, _QUEUES)
        _set_all(self._memory, {kind: max(peaks, default=0.0) for kind, peaks in self._peaks.items()}, JOB_TYPES)


class _SpendingInstruments:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._tokens = _counter(
            registry, "agent_tokens_used_total", "Tokens of language models, each in one kind.", "kind", "model"
        )
        self._calls = _counter(
            registry, "agent_llm_calls_total", "Calls of language models, by outcome.", "model", "outcome"
        )
        self._spent = _counter(registry, "agent_budget_spend_usd_total", "Dollars charged for language models.")
        self._today = _gauge(registry, "agent_budget_spent_today_usd", "Dollars charged for good this UTC day.")
        self._limit = _gauge(registry, "agent_budget_limit_usd", "Dollars that a UTC day may cost.")
        self._schedules = _gauge(registry, "agent_schedules", "Schedules, by state.", "state")
        self._counted: dict[tuple[Counter, tuple[str, ...]], float] = {}

    def show(self, seen: Observation) -> None:
        for model, totals in {OFFLINE_MODEL: ModelTotals(), **seen.models}.items():
            usage = totals.usage
            kinds = {
                "input": usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens,
                "cache_read": usage.cache_read_tokens,
                "cache_write": usage.cache_write_tokens,
                "output": usage.output_tokens,
            }
            for kind, tokens in kinds.items():
                self._raise_to(self._tokens, tokens, kind, model)
            for outcome, calls in totals.calls.items():
                self._raise_to(self._calls, calls, model, outcome)
        self._raise_to(self._spent, sum(totals.charged_usd for totals in seen.models.values()))
        self._today.set(seen.budget.spent_usd)
        self._limit.set(seen.budget.daily_limit_usd)
        self._schedules.labels("active").set(seen.active_schedules)
        self._schedules.labels("paused").set(seen.paused_schedules)

    def _raise_to(self, counter: Counter, total: float, *labels: str) -> None:
        key = (counter, labels)
        before = self._counted.get(key, 0.0)
        (counter.labels(*labels) if labels else counter).inc(max(0.0, total - before))
        self._counted[key] = max(before, total)


class _WorkerInstruments:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._live = _gauge(registry, "workers_live", "Workers that live and serve a queue.", "queue")
        self._lost = _gauge(registry, "workers_lost", "Workers that died without leaving within the last hour.")
        self._last_seen = _gauge(
            registry, "worker_last_seen_timestamp_seconds", "When a worker last showed that it lives.", "worker"
        )

    def show(self, seen: Observation) -> None:
        live = [worker for worker in seen.workers if worker.is_alive]
        _set_all(self._live, Tally(queue for worker in live for queue in worker.queues), _QUEUES)
        self._lost.set(seen.lost_workers)
        _set_all(
            self._last_seen,
            {worker_name(worker.executor_id): worker.last_seen.timestamp() for worker in seen.workers},
            (),
        )


def _counter(registry: CollectorRegistry, name: str, words: str, *labels: str) -> Counter:
    return Counter(name, words, labels, registry=registry)


def _gauge(registry: CollectorRegistry, name: str, words: str, *labels: str) -> Gauge:
    return Gauge(name, words, labels, registry=registry)


def _set_all(gauge: Gauge, values: Mapping[str, float], always: Iterable[str]) -> None:
    """Show these values and no others; what is always there is 0 unless it has a value."""
    gauge.clear()
    for label, value in {**dict.fromkeys(always, 0.0), **values}.items():
        gauge.labels(label).set(value)


def _shown_queue(queue: str | None) -> str:
    # Phases whose worker is gone wait for whoever serves cycles.
    return CYCLES_QUEUE if queue in (PHASES_QUEUE, None) else str(queue)


def _seconds(begin_ms: int, end_ms: int) -> float:
    return max(0.0, (end_ms - begin_ms) / 1000)
