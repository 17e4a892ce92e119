"""Write the dashboards and alerts that Grafana reads: `make dashboards`. The files are committed and never edited.

All APIs of one database tell the same totals, so panels take their maximum (`max by`) and never their sum; what a
process knows only of itself (requests, memory) is added up. Grafana's alerts watch those of Prometheus, which are
written and tested in deploy/prometheus/: one place says when they fire.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from grafana_foundation_sdk.builders import bargauge, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef, GridPos

HERE = Path(__file__).parent
DATASOURCE_UID = "ktrdr-prometheus"
FOLDER = "ktrdr"
_PANELS = {"stat": stat.Panel, "bars": bargauge.Panel, "lines": timeseries.Panel}
_COLUMNS, _HEIGHT = 24, {"stat": 4, "bars": 8, "lines": 8}


@dataclass(frozen=True, slots=True)
class Drawing:
    """One panel: `queries` are PromQL by the legend of their series; stats and bars show present values."""

    kind: str
    title: str
    meaning: str
    width: int
    queries: Mapping[str, str]
    unit: str = "short"


def _ratio(part: str, whole: str) -> str:
    # 0 where there is nothing to divide: NaN would be shown as a fault.
    return f"({part}) / clamp_min({whole}, 1e-9)"


def _grown(metric: str, by: str, over: str = "$__range") -> str:
    return f"max by ({by}) (increase({metric}[{over}]))"


def _per_second(metric: str, seconds: str) -> str:
    return _ratio(f"max(increase({metric}[1h]))", f"max(increase({seconds}[1h]))")


_ENDED = _grown("agent_cycles_total", "outcome")
_COMPLETED = _grown('agent_cycles_total{outcome="completed"}', "outcome")
_CALLS = _grown("agent_llm_calls_total", "model, outcome")
_FAILURES = "max by (reason) (agent_cycle_failures_total)"
# A reason's first failure makes its series, which `increase` takes for a beginning and does not count.
_NEW_FAILURES = f"({_FAILURES} - (max by (reason) (agent_cycle_failures_total offset $__range) or {_FAILURES} * 0)) > 0"
_GATES = 'agent_gate_results_total{result!="passed"}'
_PHASES = "max by (phase, le) (increase(agent_phase_duration_seconds_bucket[$__range]))"
_MEAN_PHASE = _ratio(
    "max by (phase) (increase(agent_phase_duration_seconds_sum[1h]))",
    "max by (phase) (increase(agent_phase_duration_seconds_count[1h]))",
)
_REQUESTS = "sum by (route, le) (rate(http_request_duration_seconds_bucket[$__rate_interval]))"

RESEARCH = [
    Drawing("stat", "Cycles ended", "Within the time shown.", 4, {"": f"round(sum({_ENDED}))"}),
    Drawing(
        "stat",
        "Success rate",
        "Completed cycles among those that ended within the time shown. A refusal by a gate is not a success.",
        4,
        {"": _ratio(f"sum({_COMPLETED})", f"sum({_ENDED})")},
        "percentunit",
    ),
    Drawing(
        "stat", "Cycles ever", "Counted from the store.", 8, {"{{outcome}}": "max by (outcome) (agent_cycles_total)"}
    ),
    Drawing(
        "stat",
        "Since the last end",
        "Since any cycle ended; since 1970 where none ever did.",
        4,
        {"": "time() - max(agent_last_cycle_end_timestamp_seconds)"},
        "s",
    ),
    Drawing("stat", "Schedules", "Active and paused.", 4, {"{{state}}": "max by (state) (agent_schedules)"}),
    Drawing(
        "bars",
        "Current phase of active cycles",
        "How many cycles are in each phase now; waiting: no worker has taken them yet.",
        8,
        {"{{phase}}": "max by (phase) (agent_cycles_in_phase)"},
    ),
    Drawing(
        "lines",
        "Cycles by outcome",
        "Ends within the hour before each point.",
        16,
        {"{{outcome}}": _grown("agent_cycles_total", "outcome", "1h")},
    ),
    Drawing(
        "lines",
        "Duration of a cycle",
        "From the trigger to the first end, of the cycles that ended within the time shown before each point.",
        12,
        {
            "median": "histogram_quantile(0.5, max by (le) (increase(agent_cycle_duration_seconds_bucket[$__range])))",
            "95 %": "histogram_quantile(0.95, max by (le) (increase(agent_cycle_duration_seconds_bucket[$__range])))",
        },
        "s",
    ),
    Drawing(
        "lines",
        "Duration of the phases",
        "Mean over the hour before each point, from a worker's taking the phase up; 0 where none ended.",
        12,
        {"{{phase}}": _MEAN_PHASE},
        "s",
    ),
    Drawing(
        "bars",
        "Slow phases",
        "Of twenty phases within the time shown nineteen took less.",
        8,
        {"{{phase}}": f"histogram_quantile(0.95, {_PHASES})"},
        "s",
    ),
    Drawing(
        "bars",
        "Gate refusals by reason",
        "Verdicts within the time shown, those of bypassed gates too.",
        8,
        {"{{gate}}: {{result}}": f"round({_grown(_GATES, 'gate, result')})"},
    ),
    Drawing(
        "bars",
        "Failures by reason",
        "Cycles that failed within the time shown. gate_failed is research at work, the rest wants a look.",
        8,
        {"{{reason}}": _NEW_FAILURES},
    ),
    Drawing(
        "stat",
        "Budget of today spent",
        "Dollars charged this UTC day against the day's limit; at 90 % an alert fires.",
        6,
        {"": _ratio("max(agent_budget_spent_today_usd)", "max(agent_budget_limit_usd)")},
        "percentunit",
    ),
    Drawing(
        "stat",
        "Dollars today",
        "What is charged, and the limit.",
        6,
        {"spent": "max(agent_budget_spent_today_usd)", "limit": "max(agent_budget_limit_usd)"},
        "currencyUSD",
    ),
    Drawing(
        "stat",
        "Calls of language models",
        "Within the time shown. unknown: nobody knows how they ended, the whole reservation is charged.",
        12,
        {"{{outcome}}": f"round(sum by (outcome) ({_CALLS}))"},
    ),
    Drawing(
        "lines",
        "Tokens",
        "Within the hour before each point; each token is of one kind.",
        12,
        {"{{kind}}": "sum by (kind) (max by (kind, model) (increase(agent_tokens_used[1h])))"},
    ),
    Drawing(
        "lines",
        "Dollars against the limit",
        "What today's calls have cost so far, and the limit. It falls to 0 at midnight UTC.",
        12,
        {"spent": "max(agent_budget_spent_today_usd)", "limit": "max(agent_budget_limit_usd)"},
        "currencyUSD",
    ),
]

OPERATIONS = [
    Drawing("stat", "Workers alive", "By the queue they serve.", 6, {"{{queue}}": "max by (queue) (workers_live)"}),
    Drawing("stat", "Workers lost", "Died without leaving within the last hour.", 3, {"": "max(workers_lost)"}),
    Drawing(
        "stat",
        "Stalled",
        "Operations that run on no living worker or have made no progress for 15 minutes.",
        3,
        {"": "sum(max by (type) (operations_stalled))"},
    ),
    Drawing(
        "stat",
        "Taken over",
        "Operations that another worker went on with, within the time shown.",
        4,
        {"": "round(max(increase(operation_takeovers_total[$__range])))"},
    ),
    Drawing("stat", "APIs that answer", "Of all that Prometheus scrapes.", 4, {"": 'sum(up{job="ktrdr"})'}),
    Drawing(
        "stat", "Database", "1: it answers. 0: figures of the store are missing.", 4, {"": "min(ktrdr_database_up)"}
    ),
    Drawing("lines", "Queues", "Operations that wait.", 8, {"{{queue}}": "max by (queue) (operations_queued)"}),
    Drawing(
        "lines",
        "Longest wait",
        "How long the first of each queue has waited.",
        8,
        {"{{queue}}": "max by (queue) (operations_oldest_queued_seconds)"},
        "s",
    ),
    Drawing("lines", "Active operations", "That wait or run.", 8, {"{{type}}": "max by (type) (operations_active)"}),
    Drawing(
        "bars",
        "Ended operations",
        "Within the time shown.",
        12,
        {"{{type}} {{status}}": f"round({_grown('operations_ended_total', 'type, status')})"},
    ),
    Drawing(
        "lines",
        "Last sign of life",
        "Age of each worker's last one. It grows for a worker that is gone.",
        12,
        {"{{worker}}": "time() - max by (worker) (worker_last_seen_timestamp_seconds)"},
        "s",
    ),
    Drawing(
        "lines",
        "Slowest routes",
        "Of twenty requests nineteen were answered faster; until an answer begins.",
        8,
        {"{{route}}": f"topk(8, histogram_quantile(0.95, {_REQUESTS}) >= 0)"},
        "s",
    ),
    Drawing(
        "lines",
        "Requests",
        "A second, by the status of the answer.",
        8,
        {"{{status}}": "sum by (status) (rate(http_requests_total[$__rate_interval]))"},
        "reqps",
    ),
    Drawing(
        "lines",
        "Errors",
        "Answers of 500 and above a second, and scrapes that found the database away.",
        8,
        {
            "answers": 'sum(rate(http_requests_total{status=~"5.."}[$__rate_interval])) or vector(0)',
            "scrapes": "sum(rate(ktrdr_scrape_errors_total[$__rate_interval]))",
        },
    ),
    Drawing(
        "lines",
        "Memory of jobs now",
        "Processes of trainings and backtests, by worker: empty unless workers have KTRDR_METRICS_PORT.",
        8,
        {"{{instance}} {{type}}": "sum by (instance, type) (worker_child_memory_bytes)"},
        "bytes",
    ),
    Drawing(
        "lines",
        "Largest recent job",
        "Peak memory among the last fifty jobs.",
        8,
        {"{{type}}": "max by (type) (job_peak_memory_bytes)"},
        "bytes",
    ),
    Drawing(
        "lines",
        "Memory of the processes",
        "APIs, and workers with KTRDR_METRICS_PORT.",
        8,
        {"{{job}} {{instance}}": 'process_resident_memory_bytes{job=~"ktrdr.*"}'},
        "bytes",
    ),
    Drawing(
        "lines",
        "Training speed",
        "Samples a second of the trainings that finished within the hour before each point; 0 where none did.",
        12,
        {"samples/s": _per_second("training_samples_total", "training_seconds_total")},
    ),
    Drawing(
        "lines",
        "Backtest speed",
        "Bars a second of the backtests that finished within the hour before each point; 0 where none did.",
        12,
        {"bars/s": _per_second("backtest_bars_total", "backtest_seconds_total")},
    ),
]


def _positions(drawings: list[Drawing]) -> Iterator[GridPos]:
    x = y = row_height = 0
    for drawing in drawings:
        if x + drawing.width > _COLUMNS:
            x, y, row_height = 0, y + row_height, 0
        yield GridPos(h=_HEIGHT[drawing.kind], w=drawing.width, x=x, y=y)
        x, row_height = x + drawing.width, max(row_height, _HEIGHT[drawing.kind])


def _dashboard(title: str, about: str, drawings: list[Drawing]) -> str:
    source = DataSourceRef(type_val="prometheus", uid=DATASOURCE_UID)
    built = (
        dashboard.Dashboard(f"ktrdr {title}")
        .uid(f"ktrdr-{title.lower()}")
        .description(about)
        .tags(["ktrdr"])
        .readonly()
        .refresh("30s")
        .time("now-24h", "now")
        .timezone("browser")
    )
    for number, (drawing, position) in enumerate(zip(drawings, _positions(drawings), strict=True), 1):
        panel = _PANELS[drawing.kind]().id(number).title(drawing.title).description(drawing.meaning).unit(drawing.unit)
        panel = panel.datasource(source).grid_pos(position)
        if isinstance(panel, timeseries.Panel):
            panel = panel.fill_opacity(8)
        for letter, (legend, expression) in zip("ABCD", drawing.queries.items(), strict=False):
            query = prometheus.Dataquery().ref_id(letter).expr(expression).legend_format(legend).datasource(source)
            panel = panel.with_target(query.range() if drawing.kind == "lines" else query.instant())
        built = built.with_panel(panel)
    return json.dumps(built.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _alerts() -> str:
    groups = yaml.safe_load((HERE.parent / "prometheus" / "alerts.yml").read_text())["groups"]
    rules = [_grafana_rule(rule) for group in groups for rule in group["rules"]]
    group = {"orgId": 1, "name": "ktrdr", "folder": FOLDER, "interval": "1m", "rules": rules}
    return "# Written by `make dashboards`.\n" + yaml.safe_dump({"apiVersion": 1, "groups": [group]}, sort_keys=False)


def _grafana_rule(rule: Mapping[str, object]) -> dict[str, object]:
    """Return Grafana's rule that fires while Prometheus' one does, with its annotations."""
    name = str(rule["alert"])
    firing = f'max without (alertname, alertstate) (ALERTS{{alertname="{name}",alertstate="firing"}})'
    above_zero = {"evaluator": {"type": "gt", "params": [0]}}
    return {
        "uid": name.lower(),
        "title": name,
        "condition": "B",
        "data": [
            {
                "refId": "A",
                "datasourceUid": DATASOURCE_UID,
                "relativeTimeRange": {"from": 300, "to": 0},
                "model": {"refId": "A", "expr": firing, "instant": True, "range": False},
            },
            {
                "refId": "B",
                "datasourceUid": "__expr__",
                "model": {"refId": "B", "type": "threshold", "expression": "A", "conditions": [above_zero]},
            },
        ],
        "for": "0s",  # Prometheus has waited
        "noDataState": "OK",  # an alert that does not fire is no series
        "execErrState": "Error",
        "labels": rule["labels"],
        "annotations": rule["annotations"],
    }


def make_files() -> dict[Path, str]:
    """Return every generated file by its place below this folder."""
    return {
        Path("dashboards/research.json"): _dashboard("Research", "What the cycles find, and what it costs.", RESEARCH),
        Path("dashboards/operations.json"): _dashboard("Operations", "What does the work, and how well.", OPERATIONS),
        Path("provisioning/alerting/alerts.yaml"): _alerts(),
    }


if __name__ == "__main__":
    for place, text in make_files().items():
        (HERE / place).write_text(text)
