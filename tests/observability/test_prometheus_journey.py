"""A real Prometheus scrapes a real server whose cycles end in every way, whose worker is killed and which restarts."""

import json
import os
import re
import signal
import socket
from collections import Counter
from pathlib import Path

import httpx
import yaml
from prometheus_server import check_metrics

API = "/api/v1"
DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = [DEPLOY / "prometheus" / "rules.yml", DEPLOY / "prometheus" / "alerts.yml"]
METRIC_NAMES = re.compile(r"\b(?:agent|operations?|workers?|job|training|backtest|http|ktrdr|process)_[a-z_]+")
ENDS = ("completed", "failed", "cancelled")
REFUSED = "gate_failed:training:accuracy_below_threshold"
STRATEGY = """
schema: 1
name: quick_spx
hypothesis: A training of a moment, for a test that is about other things.
market: {symbols: [SPX], timeframe: 1d}
indicators: {rsi: {type: RSI, timeperiod: 14}}
fuzzy_sets: {rsi: {input: rsi, partition: [low, middle, high]}}
labels: {type: forward_return, horizon: 5}
model: {type: mlp, hidden: [4]}
training: {epochs: 2, patience: 2, seeds: 1}
"""


def list_operations(http):
    return http.get(f"{API}/operations", params={"limit": 200}).json()["operations"]


def trigger(http, **asked):
    answer = http.post(f"{API}/agent/trigger", json={"model": "offline", "strategy": "quick_spx", **asked})
    assert answer.status_code == 202, answer.text
    return answer.json()["operation_id"]


def in_phase(http, cycle, phase):
    return http.get(f"{API}/operations/{cycle}").json()["metadata"]["phase"] == phase


def status(http, cycle):
    return http.get(f"{API}/operations/{cycle}").json()["status"]


def compare(prometheus, http):
    """Hold every counter of ends against the list of operations, whatever happened to those who ran them."""
    prometheus.wait_for_scrape("ktrdr")
    operations = list_operations(http)
    listed = Counter((each["type"], each["status"]) for each in operations)
    told = prometheus.query("operations_ended_total", by="type,status")
    assert {key: count for key, count in told.items() if count} == listed
    cycles = prometheus.query("agent_cycles_total", by="outcome")
    assert cycles == {(outcome,): listed["agent_research", outcome] for outcome in ENDS}
    assert prometheus.value("agent_cycle_duration_seconds_count") == sum(cycles.values())
    failures = prometheus.query("agent_cycle_failures_total > 0", by="reason")
    assert failures == {(REFUSED,): cycles["failed",]}
    phases = prometheus.query("agent_phase_duration_seconds_count", by="phase")
    begun = Counter(each["type"] for each in operations if each["started_at"])  # one may be cancelled in its queue
    assert (phases["training",], phases["backtest",]) == (begun["training"], begun["backtesting"])
    assert (
        prometheus.value('sum(agent_gate_results_total{result="accuracy_below_threshold"})')
        == listed["agent_research", "completed"] + listed["agent_research", "failed"]
    )
    assert prometheus.value("sum(operations_active)") == 0


def panel_queries():
    """Every query of every panel, by the panel's title and the query's legend, for the minutes that a journey takes."""
    return {
        (panel["title"], target["legendFormat"]): target["expr"]
        .replace("$__rate_interval", "1m")
        .replace("$__range", "10m")
        for dashboard in (DEPLOY / "grafana" / "dashboards").glob("*.json")
        for panel in json.loads(dashboard.read_text())["panels"]
        for target in panel["targets"]
    }


def compare_panels(prometheus, http):
    """Evaluate every panel and hold those that count against the list of operations; look at the alerts."""
    queries = panel_queries()
    empty = {key: query for key, query in queries.items() if not prometheus.has_finite_data(query)}
    assert not empty
    rules = [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
    asked = set(METRIC_NAMES.findall(" ".join([*queries.values(), *(rule["expr"] for rule in rules)])))
    assert asked <= {name for (name,) in prometheus.query('count by (__name__) ({__name__!=""})', by="__name__")}
    cycles = [each for each in list_operations(http) if each["type"] == "agent_research"]
    ends = Counter(each["status"] for each in cycles)
    ever = prometheus.query(queries["Cycles ever", "{{outcome}}"], by="outcome")
    assert ever == {(outcome,): ends[outcome] for outcome in ENDS}
    assert prometheus.query(queries["Failures by reason", "{{reason}}"], by="reason") == {(REFUSED,): ends["failed"]}
    assert prometheus.value(queries["Workers lost", ""]) == 1
    tokens = prometheus.query("sum by (kind) (agent_tokens_used_total)", by="kind")
    assert prometheus.query("sum by (kind) (agent_tokens_used)", by="kind") == tokens
    firing = prometheus.query('ALERTS{alertstate="firing"}', by="alertname")
    assert firing == {("KtrdrWorkerLost",): 1}


def test_counters_are_the_operations_listed_after_kills_and_restarts(workspace, free_port, start_prometheus):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        worker_port = probe.getsockname()[1]
    # Nothing reaches this accuracy: what is not let past the gate is refused.
    workspace.environment |= {"KTRDR_GATE_MIN_ACCURACY": "0.99", "KTRDR_METRICS_PORT": str(worker_port)}
    folder = workspace.folder / "strategies" / "quick_spx"
    folder.mkdir(parents=True)
    (folder / "strategy.yaml").write_text(STRATEGY)
    server = workspace.serve(free_port)
    targets = {"ktrdr": [f"127.0.0.1:{free_port}"], "ktrdr_worker": [f"127.0.0.1:{worker_port}"]}
    prometheus = start_prometheus(targets, rules=RULES)
    with httpx.Client(base_url=f"http://127.0.0.1:{free_port}", timeout=20) as http:
        prometheus.wait_for_scrape("ktrdr")
        assert prometheus.query("agent_cycles_total", by="outcome") == {(outcome,): 0 for outcome in ENDS}
        refused = trigger(http, seed=1)
        workspace.wait_for(lambda: status(http, refused) == "failed")

        survivor = trigger(http, seed=2, bypass_gates=True)
        workspace.wait_for(lambda: in_phase(http, survivor, "training") and workspace.job_pids("training"))
        prometheus.wait_for_scrape("ktrdr_worker")
        worker = http.get(f"{API}/workers").json()["workers"][0]
        os.kill(worker["pid"], signal.SIGKILL)
        workspace.wait_for(lambda: status(http, survivor) == "completed")

        cancelled = trigger(http, seed=3)
        workspace.wait_for(lambda: status(http, cancelled) == "running")
        assert http.post(f"{API}/operations/{cancelled}/cancel").status_code == 202
        compare(prometheus, http)
        assert prometheus.value("operation_takeovers_total") >= 1
        assert prometheus.value("workers_lost") == 1
        assert prometheus.query("workers_live", by="queue") == {("cycles",): 1, ("compute",): 1}

        compare_panels(prometheus, http)

        server.send_signal(signal.SIGTERM)
        server.wait(20)
        workspace.serve(free_port)
        compare(prometheus, http)
        assert prometheus.value("sum(resets(agent_cycles_total[5m])) + sum(resets(operations_ended_total[5m]))") == 0
        assert prometheus.value("workers_lost") == 1  # those who left in order are not
        # A server counts a scrape once it has answered it: the second one tells of the first.
        workspace.wait_for(lambda: prometheus.query('sum(http_requests_total{route="/metrics",status="200"}) > 0'))
        assert check_metrics(http.get("/metrics").text) == ""
        assert check_metrics(httpx.get(f"http://127.0.0.1:{worker_port}/metrics").text) == ""
        # A cycle, and a phase of it that runs in the same worker.
        assert prometheus.value('max_over_time(worker_running_operations{queue="cycles"}[5m])') in (1, 2)
        for measure in (
            "training_samples_total",
            "training_seconds_total",
            "backtest_bars_total",
            "backtest_seconds_total",
        ):
            assert prometheus.value(measure) > 0
        assert prometheus.value('job_peak_memory_bytes{type="training"}') > 1e8
        assert prometheus.value("max_over_time(sum(worker_child_memory_bytes)[5m:1s])") > 10_000_000
