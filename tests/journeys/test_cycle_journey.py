"""From an empty folder to an assessed strategy, with the command a user types."""

import json
import re
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"
STRATEGY_FILES = {
    "strategy.yaml",
    "design.json",
    "training.json",
    "model.safetensors",
    "predictions.parquet",
    "fitted_predictions.parquet",
    "machine.json",
    "backtest.json",
    "equity.parquet",
    "trades.parquet",
    "assessment.json",
    "report.html",
    "cycle.json",
}
CYCLE_METADATA = {
    "phase",
    "strategy_name",
    "strategy_path",
    "strategy_sha256",
    "design_op_id",
    "training_op_id",
    "backtest_op_id",
    "assessment_op_id",
    "gates",
    "brief",
    "model",
    "seed",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "trace_id",
    "schedule_id",
    "scheduled_for",
    "bypass_gates",
    "after_exam",
}
OPERATION_FIELDS = {
    "operation_id",
    "type",
    "status",
    "parent_id",
    "created_at",
    "started_at",
    "completed_at",
    "duration_seconds",
    "progress",
    "metadata",
    "result",
    "error",
}


@pytest.fixture
def completed(workspace):
    """A workspace with one completed cycle (gates bypassed, so that any design completes)."""
    cycle = workspace.json("agent", "trigger", "--brief", "trend on SPX 1d", "--seed", "11", "--bypass-gates")
    return workspace, cycle


def test_a_cycle_without_a_server_tells_everything_the_contract_promises(completed):
    workspace, cycle = completed
    assert set(cycle) == OPERATION_FIELDS
    assert re.fullmatch(r"op_agent_research_\d{8}_\d{6}_[0-9a-f]{6}", cycle["operation_id"])
    assert (cycle["status"], cycle["progress"]["percentage"], cycle["error"]) == ("completed", 100.0, None)
    assert set(cycle["metadata"]) == CYCLE_METADATA
    assert (cycle["metadata"]["phase"], cycle["metadata"]["brief"]) == ("done", "trend on SPX 1d")
    assert [gate["gate"] for gate in cycle["metadata"]["gates"]] == ["training", "backtest"]
    times = [datetime.fromisoformat(cycle[key]) for key in ("created_at", "started_at", "completed_at")]
    assert times == sorted(times)
    assert cycle["duration_seconds"] == pytest.approx((times[2] - times[1]).total_seconds(), abs=0.002)

    children = workspace.json("operations", "list", "--limit", "10")["operations"]
    by_type = {child["type"]: child for child in children}
    assert set(by_type) == {"agent_research", "agent_design", "training", "backtesting", "agent_assessment"}
    for key, kind in {"training_op_id": "training", "backtest_op_id": "backtesting"}.items():
        assert cycle["metadata"][key] == by_type[kind]["operation_id"]
        assert by_type[kind]["parent_id"] == cycle["operation_id"]
    assert workspace.json("operations", "show", cycle["operation_id"]) == cycle
    status = workspace.json("agent", "status")
    assert (status["status"], status["last_cycle"]["operation_id"]) == ("idle", cycle["operation_id"])


def test_every_printed_figure_can_be_recomputed_from_the_files_beside_the_strategy(completed):
    workspace, cycle = completed
    folder = workspace.folder / "strategies" / cycle["metadata"]["strategy_name"]
    assert {path.name for path in folder.iterdir()} == STRATEGY_FILES
    metrics = json.loads((folder / "backtest.json").read_text())["metrics"]
    assert cycle["result"]["metrics"] == metrics
    trades, equity = pl.read_parquet(folder / "trades.parquet"), pl.read_parquet(folder / "equity.parquet")
    curve = np.concatenate([[100_000.0], equity["equity"].to_numpy()])
    assert trades["net"].sum() == pytest.approx(curve[-1] - curve[0], abs=0.01)
    assert metrics["total_return"] == pytest.approx(curve[-1] / curve[0] - 1)
    assert metrics["max_drawdown"] == pytest.approx((1 - curve / np.maximum.accumulate(curve)).max())
    gains = trades.filter(pl.col("net") > 0)["net"].sum()
    losses = -trades.filter(pl.col("net") < 0)["net"].sum()
    assert (metrics["n_trades"], metrics["profit_factor"]) == (len(trades), pytest.approx(gains / losses))
    closes = equity.group_by("session_day").agg(pl.col("equity").last()).sort("session_day")["equity"].to_numpy()
    daily = np.diff(np.concatenate([[100_000.0], closes])) / np.concatenate([[100_000.0], closes[:-1]])
    sharpe = daily.mean() / daily.std(ddof=1) * np.sqrt(metrics["days_per_year"])
    assert metrics["sharpe_ratio"] == pytest.approx(sharpe)
    printed = workspace.run("strategies", "show", cycle["metadata"]["strategy_name"]).stdout
    assert f"{metrics['sharpe_ratio']:.2f}" in printed


def test_equal_runs_give_equal_bytes_and_a_repeat_in_one_workspace_is_one_more_trial(completed, another_workspace):
    workspace, cycle = completed
    name = cycle["metadata"]["strategy_name"]
    folder = workspace.folder / "strategies" / name
    measured = STRATEGY_FILES - {"strategy.yaml", "design.json", "assessment.json", "report.html", "cycle.json"}
    first = {file: (folder / file).read_bytes() for file in measured}

    copied = another_workspace.folder / "strategies" / name
    copied.mkdir(parents=True)
    shutil.copy(folder / "strategy.yaml", copied)
    for where in (another_workspace, workspace):
        again = where.json("agent", "trigger", "--strategy", name, "--seed", "11", "--bypass-gates")
        assert again["metadata"]["design_op_id"] is None
    assert {file: (copied / file).read_bytes() for file in measured} == first

    repeated = {file: (folder / file).read_bytes() for file in measured}
    reports = [json.loads(files.pop("backtest.json")) for files in (first, repeated)]
    verdicts = [report.pop("verdict") for report in reports]
    assert (repeated, reports[1]) == (first, reports[0])
    assert [verdict["n_trials"] for verdict in verdicts] == [1, 2]
    assert verdicts[1]["history"]["other_sharpes"]["count"] == 1
    assert [verdict["selection"] for verdict in verdicts] == [None, None]  # the same record twice is no choice
    assert verdicts[1]["psr"] < verdicts[0]["psr"]


def test_a_refused_cycle_fails_with_its_reason_and_the_next_one_goes_on(workspace):
    workspace.environment["KTRDR_GATE_MIN_ACCURACY"] = "0.99"
    done = workspace.run("agent", "trigger", "--until-completed", "2", "--json", expect=5)
    cycles = json.loads(done.stdout)
    assert "No LLM is used" in done.stderr  # there is no key
    assert [cycle["metadata"]["model"] for cycle in cycles] == ["offline"] * 2
    assert [cycle["error"]["reason"] for cycle in cycles] == ["gate_failed:training:accuracy_below_threshold"] * 2
    assert cycles[0]["metadata"]["strategy_name"] != cycles[1]["metadata"]["strategy_name"]
    assert cycles[1]["metadata"]["seed"] == cycles[0]["metadata"]["seed"] + 1
    (gate,) = cycles[0]["metadata"]["gates"]
    assert (gate["threshold"], gate["passed"], gate["bypassed"]) == (0.99, False, False)


def test_a_cycle_refused_for_its_result_has_its_verdict_in_the_files_on_the_screen_and_in_the_ledger(workspace):
    workspace.environment |= {"KTRDR_GATE_MIN_SHARPE_RATIO": "50", "KTRDR_GATE_MIN_PROFIT_FACTOR": "0"}
    workspace.environment |= {"KTRDR_GATE_MAX_DRAWDOWN": "9"}
    cycle = workspace.json("agent", "trigger", "--seed", "5", "--brief", "SPX 1d", expect=5)
    assert cycle["error"]["reason"] == "gate_failed:backtest:sharpe_below_threshold"
    name = cycle["metadata"]["strategy_name"]
    report = json.loads((workspace.folder / "strategies" / name / "backtest.json").read_text())
    verdict = report["verdict"]
    assert (verdict["value"], verdict["n_trials"]) == ("inconclusive", 1)
    assert "Verdict: INCONCLUSIVE" in workspace.run("strategies", "show", name).stdout
    with closing(sqlite3.connect(workspace.folder / ".ktrdr" / "state.sqlite")) as database:
        ((payload,),) = database.execute("SELECT payload FROM ktrdr_trial_events WHERE event = 'closed'").fetchall()
    assert json.loads(payload)["verdict"] == verdict


def test_the_strict_profile_refuses_what_has_learned_nothing(workspace):
    workspace.environment["KTRDR_GATE_PROFILE"] = "strict"
    cycle = workspace.json("agent", "trigger", "--seed", "5", "--brief", "SPX 1d", expect=5)
    assert cycle["error"]["reason"] == "gate_failed:training:no_skill"
    (gate,) = cycle["metadata"]["gates"]
    assert (gate["profile"], gate["reason"], gate["observed"] <= gate["threshold"]) == ("strict", "no_skill", True)
    folder = Path(cycle["metadata"]["strategy_path"])
    assert json.loads((folder / "cycle.json").read_text())["gates"] == [gate]
    page = (folder / "report.html").read_text()
    assert page.index("A gate refused it") < page.index("Hypothesis")
    assert "other indicators or another idea are needed" in page


UNREACHABLE = """
schema: 1
name: beyond_the_scale
hypothesis: An RSI above its own scale is followed by a fall.
market: {symbols: [SPX], timeframe: 1d}
indicators: {rsi: {type: RSI, timeperiod: 14}}
fuzzy_sets: {rsi: {input: rsi, sets: {all: {shape: trapezoid, points: [0, 0, 90, 100]},
                                      beyond: {shape: triangle, points: [200, 300, 400]}}}}
labels: {type: forward_return, horizon: 5}
"""


def test_a_strategy_that_cannot_be_trained_ends_its_cycle_with_the_reason_and_loses_nothing(workspace):
    folder = workspace.folder / "strategies" / "beyond_the_scale"
    folder.mkdir(parents=True)
    (folder / "strategy.yaml").write_text(UNREACHABLE)
    cycle = workspace.json("agent", "trigger", "--strategy", "beyond_the_scale", expect=1)
    again = workspace.json("operations", "retry", cycle["operation_id"], expect=1)
    for each in (cycle, again):
        assert each["error"]["reason"] == "training_failed:fuzzy_set_empty"
        assert "fuzzy_sets.rsi.sets.beyond" in each["error"]["message"]
        assert "move the points to where the values are" in each["error"]["message"]
    assert again["operation_id"] == cycle["operation_id"]
    assert {path.name for path in folder.iterdir()} == {"strategy.yaml", "cycle.json", "report.html"}
    assert "Its cycle failed" in (folder / "report.html").read_text()


def test_of_twenty_commands_that_trigger_at_once_one_starts_a_cycle(workspace, free_port):
    workspace.serve(free_port, "--workers", "0")  # the cycle that starts is still active when the last command asks

    def trigger(_):
        done = workspace.attempt("agent", "trigger", "--detach", "--json")
        return done.returncode, json.loads(done.stdout)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(trigger, range(20)))
    accepted = [answer for code, answer in answers if code == 0]
    refused = [answer for code, answer in answers if code == 1]
    assert (len(accepted), len(refused)) == (1, 19)
    assert {answer["reason"] for answer in refused} == {"active_cycle_exists"}
    assert {answer["operation_id"] for answer in refused} == {accepted[0]["operation_id"]}


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the market files for tests are not beside this checkout")
@pytest.mark.parametrize(
    ("file", "symbol", "timeframe", "options"),
    [
        ("GBPUSD_1h.parquet", "GBPUSD", "1h", ["--calendar", "fx"]),
        ("GOOG_1d.parquet", "GOOG", "1d", ["--calendar", "XNYS"]),
    ],
)
def test_imported_hourly_and_daily_files_run_the_same_cycle(empty_workspace, file, symbol, timeframe, options):
    path = str(SHARED_DATA / file)
    empty_workspace.run("data", "import", path, "--symbol", symbol, "--timeframe", timeframe, *options)
    cycle = empty_workspace.json("agent", "trigger", "--seed", "3", "--bypass-gates")
    assert (cycle["status"], cycle["metadata"]["phase"]) == ("completed", "done")
    assert symbol.lower() in cycle["metadata"]["strategy_name"]
