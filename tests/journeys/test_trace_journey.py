"""Every cycle is one trace, however it ends: real workers send it to a real collector on loopback."""

import itertools
import json
import os
import signal
import socket
import time

import pytest
from fakes.anthropic_server import Hang, Refusal
from fakes.otlp_receiver import OtlpReceiver
from test_llm_cycle_journey import claude, is_assessor

ROOT = "agent.research_cycle"
PHASES = ["agent.phase.design", "agent.phase.training", "agent.phase.backtest", "agent.phase.assessment"]
SECRET, BRIEF = "sk-ant-planted-0011223344", "the planted brief about the badger"


@pytest.fixture
def receiver():
    receiver = OtlpReceiver()
    yield receiver
    receiver.close()


@pytest.fixture
def traced(workspace, anthropic_server, receiver):
    anthropic_server.script = claude
    workspace.environment |= {
        "ANTHROPIC_API_KEY": SECRET,
        "ANTHROPIC_BASE_URL": anthropic_server.url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "KTRDR_AGENT_PHASE_RETRIES": "0",
        "KTRDR_AGENT_RETRY_BACKOFF_S": "0.01",
    }
    return workspace


def tree_of(workspace, receiver, cycle):
    """Return a cycle's spans by name, in time order, after checking that they are one tree."""
    trace_id = cycle["metadata"]["trace_id"]
    workspace.wait_for(lambda: any(span.name == ROOT for span in receiver.traces().get(trace_id, {}).values()), 20)
    spans = receiver.traces()[trace_id]
    assert len(spans) == sum(span.trace_id.hex() == trace_id for span in receiver.spans), "a span was sent twice"
    (root,) = [span for span in spans.values() if not span.parent_span_id]
    assert root.name == ROOT
    for span in spans.values():
        if span.parent_span_id:
            parent = spans[span.parent_span_id.hex()]  # no orphan
            inside = parent.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
            assert inside, (parent.name, span.name)
            assert span.end_time_unix_nano <= parent.end_time_unix_nano, (parent.name, span.name)
    told = [span for span in spans.values() if span.name.startswith("agent.phase.")]
    assert all(span.parent_span_id == root.span_id for span in told)
    return sorted(spans.values(), key=lambda span: span.start_time_unix_nano)


def named(spans, prefix):
    return [span for span in spans if span.name.startswith(prefix)]


def attributes(span):
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


def check_parts_of_jobs(spans, cycle, folder):
    """Hold what the job processes timed against the steps they ran in, and against the reports they wrote."""
    steps = {span.name: span for span in spans if span.name in ("training", "backtest")}
    report = json.loads((folder / "strategies" / cycle["metadata"]["strategy_name"] / "training.json").read_text())
    folds = named(spans, "training.fold")
    told = [{name: attributes(span)[name] for name in ("fold", "fitted_rows", "validation_rows")} for span in folds]
    rows = [(fold["fold"], fold["rows"]["fitted"], fold["rows"]["validation"]) for fold in report["folds"]]
    assert [tuple(each.values()) for each in told] == rows
    assert len(rows) == 5
    (fit,) = named(spans, "training.fit")
    assert attributes(fit)["samples"] > sum(
        fold["rows"]["fitted"] * sum(fold["epochs"]) for fold in report["folds"]
    )  # and the final model's
    parts = named(spans, "training.") + named(spans, "backtest.") + named(spans, "job.")
    assert {span.parent_span_id for span in parts} == {step.span_id for step in steps.values()}
    for name, step in steps.items():
        inside = sorted(
            (span for span in parts if span.parent_span_id == step.span_id), key=lambda s: s.start_time_unix_nano
        )
        for earlier, later in itertools.pairwise(inside):
            assert earlier.end_time_unix_nano <= later.start_time_unix_nano
        told_ms = sum(span.end_time_unix_nano - span.start_time_unix_nano for span in inside)
        assert told_ms > 0.6 * (step.end_time_unix_nano - step.start_time_unix_nano), name
    assert attributes(steps["training"])["ktrdr.job.peak_memory_bytes"] > 50e6
    assert attributes(steps["backtest"])["ktrdr.job.bars"] > 1000


def test_a_cycle_is_one_trace_with_its_phases_its_calls_and_its_cost(traced, receiver, anthropic_server):
    cycle = traced.json("agent", "trigger", "--brief", BRIEF, "--bypass-gates")
    spans = tree_of(traced, receiver, cycle)
    assert [span.name for span in named(spans, "agent.phase.")] == PHASES
    calls = named(spans, "chat ")
    assert len(calls) == len(anthropic_server.received) == 3
    used = sum(attributes(call)["gen_ai.usage.output_tokens"] for call in calls)
    assert used == anthropic_server.total("output_tokens")
    assert sum(attributes(call)["ktrdr.cost_usd"] for call in calls) == pytest.approx(anthropic_server.billed_usd)
    assert len(named(spans, "execute_tool save_strategy_config")) == 2
    assert [span.name for span in named(spans, "execute_tool")][-1] == "execute_tool save_assessment"
    assert attributes(spans[0])["ktrdr.cost_usd"] == pytest.approx(cycle["metadata"]["cost_usd"])
    assert len(receiver.traces()) == 1
    check_parts_of_jobs(spans, cycle, traced.folder)
    sent = b"".join(span.SerializeToString() for span in receiver.spans)
    for secret in (SECRET, BRIEF, str(traced.folder), "You design trading strategies"):
        assert secret.encode() not in sent


def test_a_failed_a_cancelled_and_a_killed_cycle_are_one_whole_trace_each(traced, receiver, anthropic_server):
    anthropic_server.script = lambda request: Refusal(401, "authentication_error")
    failed = json.loads(traced.run("agent", "trigger", "--json", expect=1).stdout)
    spans = tree_of(traced, receiver, failed)
    assert (spans[0].status.code, spans[0].status.message) == (2, "design_failed:auth")
    assert [span.status.message for span in named(spans, "agent.phase.")] == ["auth"]

    anthropic_server.script = lambda request: Hang(60)
    n_before = len(anthropic_server.received)
    process = traced.start("agent", "trigger")
    traced.wait_for(lambda: len(anthropic_server.received) > n_before)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) == 130
    cancelled = traced.json("agent", "status")["last_cycle"]
    worker = traced.start("worker")
    spans = tree_of(traced, receiver, cancelled)
    assert spans[0].status.message == "cancelled"
    assert len(named(spans, "chat ")) == len(anthropic_server.received) - n_before

    n_before, killed = len(anthropic_server.received), []

    def script(request):
        killed.append(request)
        return Hang(60) if len(killed) == 2 and not is_assessor(request) else claude(request)

    anthropic_server.script = script
    worker.terminate()
    worker.wait(10)
    process = traced.start("agent", "trigger", "--bypass-gates")
    traced.wait_for(lambda: len(anthropic_server.received) == n_before + 2)
    os.kill(process.pid, signal.SIGKILL)
    traced.start("worker")
    cycle = traced.wait_for(
        lambda: last if (last := traced.json("agent", "status")["last_cycle"])["status"] == "completed" else None
    )
    spans = tree_of(traced, receiver, cycle)
    assert [span.name for span in named(spans, "agent.phase.")] == PHASES
    assert len(named(spans, "chat ")) == len(anthropic_server.received) - n_before == 4
    assert len(receiver.traces()) == 3


def test_a_collector_that_is_away_delays_nothing_and_is_told_later(workspace, receiver):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{probe.getsockname()[1]}"
    workspace.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = dead
    cycle = workspace.json("agent", "trigger", "--seed", "3", "--bypass-gates")
    ended = time.time()
    done_at = time.mktime(time.strptime(cycle["completed_at"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    assert ended - done_at < 5  # the command's own end, a second of it for the collector
    workspace.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.url
    workspace.start("worker")
    spans = tree_of(workspace, receiver, cycle)
    assert [span.name for span in named(spans, "agent.phase.")] == PHASES
