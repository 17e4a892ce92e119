"""Every cycle is one trace, however it ends: real workers send it to a real collector on loopback."""

import itertools
import json
import os
import signal
import socket
import time
from datetime import datetime

import httpx
import pytest
from fakes.anthropic_server import Hang, Refusal
from fakes.otlp_receiver import OtlpHttpReceiver, OtlpReceiver
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


def test_a_collector_that_does_not_answer_delays_nothing_and_is_told_later(workspace, receiver):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connects, and says nothing
        workspace.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        cycle = workspace.json("agent", "trigger", "--seed", "3", "--bypass-gates")
        ended = time.time()
        done_at = datetime.fromisoformat(cycle["completed_at"]).timestamp()
        assert ended - done_at < 5  # the command's own end, a second of it for the collector
        worker = workspace.start("worker")
        assert "worker-" in worker.stdout.readline()
        time.sleep(0.5)  # into an attempt to send
        worker.terminate()
        asked = time.monotonic()
        assert worker.wait(10) == 0
        assert time.monotonic() - asked < 1.5  # a second for the collector, the rest the process's own
    workspace.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.url
    workspace.start("worker")
    spans = tree_of(workspace, receiver, cycle)
    assert [span.name for span in named(spans, "agent.phase.")] == PHASES


def test_a_cycle_taken_over_and_then_resumed_is_one_trace_with_what_was_lost(workspace, postgres_url, free_port):
    receiver = OtlpHttpReceiver()
    workspace.environment |= {
        "KTRDR_DATABASE_URL": postgres_url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "KTRDR_WORKER_GRACE_S": "1",
        "KTRDR_JAEGER_URL": "http://jaeger.example/",
    }
    workspace.serve(free_port, "--workers", "0")
    first = workspace.start("worker")
    with httpx.Client(base_url=f"http://127.0.0.1:{free_port}/api/v1", trust_env=False, timeout=20) as api:
        asked = {"seed": 3, "bypass_gates": True}
        path = f"/operations/{api.post('/agent/trigger', json=asked).json()['operation_id']}"
        (lost,) = workspace.wait_for(lambda: workspace.job_pids("training"))
        os.kill(first.pid, signal.SIGKILL)
        second = workspace.start("worker")
        workspace.wait_for(lambda: {*workspace.job_pids("training")} - {lost})
        assert api.post(f"{path}/cancel").json()["status"] == "cancelled"
        assert api.post(f"{path}/resume").status_code < 300
        cycle = workspace.wait_for(lambda: (it := api.get(path).json())["status"] == "completed" and it)
        spans = tree_of(workspace, receiver, cycle)
        lines = api.get(f"{path}/logs", params={"limit": 500}).json()["lines"]
    assert len(receiver.traces()) == 1
    assert [span.name for span in named(spans, "agent.phase.")] == PHASES
    by_id = {span.span_id: span for span in spans}
    lost_runs = [(by_id[span.parent_span_id].name, span.status.message) for span in named(spans, "attempt")]
    assert sorted(lost_runs) == sorted(
        (name, reason) for name in (ROOT, "agent.phase.training") for reason in ("worker_lost", "cancelled")
    )
    workers = {(span.status.message, attributes(span)["ktrdr.worker"]) for span in named(spans, "attempt")}
    assert len(workers) == len(dict(workers)) == len({worker for _, worker in workers}) == 2
    assert len(named(spans, "training.fold")) == 5  # those of the run that finished

    assert {line["trace_id"] for line in lines} == {cycle["metadata"]["trace_id"]}
    sources = {line["source"].partition("-")[0] for line in lines}
    assert sources == {"api", "worker"}
    phases = {line["phase"] for line in lines}
    assert phases == {None, "agent_design", "training", "backtesting", "agent_assessment"}
    assert {line["parent_id"] for line in lines if line["phase"]} == {cycle["operation_id"]}
    words = " ".join(line["message"] for line in lines)
    for said in ("was asked for", "is gone, taking over", "was cancelled", "set going again: resume", "completed"):
        assert said in words
    link = f"http://jaeger.example/trace/{cycle['metadata']['trace_id']}"
    assert link in workspace.run("agent", "status").stdout
    receiver.close()
    assert second.poll() is None
