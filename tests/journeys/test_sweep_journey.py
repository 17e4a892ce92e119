"""A parameter sweep: what workers that die in the middle of one leave, and what a user types and reads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from kill_points import KILL_WORKER

from ktrdr.clock import utc_now
from ktrdr.database.engine import open_database
from ktrdr.evaluation.trial_ledger import TrialLedger, variant_trial
from ktrdr.jobs.launch import start_backtest
from ktrdr.operations.store import OperationStore
from ktrdr.strategy.store import StrategyStore

STRATEGY = """
schema: 1
name: quick_spx
hypothesis: What rose goes on rising, which a sweep is to test in many forms.
market: {symbols: [SPX], timeframe: 1d}
indicators: {rsi: {type: RSI, timeperiod: 14}}
fuzzy_sets: {rsi: {input: rsi, partition: [low, middle, high]}}
labels: {type: forward_return, horizon: 5}
model: {type: mlp, hidden: [8]}
training: {epochs: 3, seeds: 1, batch_size: 512}
decision: {enter: 0.5, exit: 0.5}
"""
SWEEP = {"decision.enter": "0.5:0.6:0.01", "risk.stop_loss": "none,1,2.5"}
NUMBERS = [*range(2, 34)]  # 1 is the stored file


@pytest.fixture
def trained(workspace):
    file = workspace.folder / "quick.yaml"
    file.write_text(STRATEGY)
    workspace.run("train", str(file))
    return workspace


@pytest.fixture
def database(trained):
    database = open_database(f"sqlite:///{trained.folder / '.ktrdr' / 'state.sqlite'}")
    yield database
    database.close()


def run_worker_until_death_or_end(workspace, store, operation_id, point):
    environment = workspace.environment | {"KTRDR_TEST_KILL_TRACE": str(workspace.folder / "points.log")}
    environment["KTRDR_TEST_KILL_AT"] = f"backtesting/{point}"
    command = [sys.executable, str(KILL_WORKER)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **environment}) as worker:
        workspace.wait_for(lambda: worker.poll() is not None or store.has_ended(operation_id))
        worker.kill()


def test_a_sweep_counts_every_variant_once_and_tells_what_luck_shows(trained, database):
    folder = trained.folder / "strategies" / "quick_spx"
    store, ledger = OperationStore(database, utc_now), TrialLedger(database, utc_now)
    strategies = StrategyStore(folder.parent)
    started = start_backtest(store, strategies, strategy="quick_spx", sweep=SWEEP, max_variants=50).operation_id
    trials = [variant_trial(started, number) for number in NUMBERS]
    for point in ("prepare/done/1", "close_trial/done/1", ""):
        run_worker_until_death_or_end(trained, store, started, point)
        assert ledger.trials_of(started) == trials
    ended = store.get(started)
    assert ended.status == "completed", ended.error
    assert (ledger.count(), ledger.unclosed(), ledger.verify()) == (1 + len(trials), [], [])
    table = pl.read_parquet(Path(str(ended.result["sweep_path"])))
    assert table["number"].to_list() == [0, *NUMBERS]
    for row in table.tail(3).iter_rows(named=True):
        outcome = ledger.outcome(variant_trial(started, row["number"]))
        assert outcome["metrics"]["sharpe_ratio"] == row["sharpe_ratio"]
        assert outcome["verdict"]["psr"] == row["psr"]
    returns = pl.read_parquet(trained.folder / outcome["daily_returns"])
    assert returns.columns == ["session_day", *map(str, NUMBERS)]
    assert not list((trained.folder / ".ktrdr" / "attempts").glob("*"))

    trained.run("backtest", "quick_spx")
    before = (folder / "backtest.json").read_bytes()
    shown = trained.run("backtest", "quick_spx", *(f"--sweep={path}={values}" for path, values in SWEEP.items())).stdout
    n_trials = 1 + len(trials) + 1 + len(trials)
    assert f"The best of {len(trials)} variants has a Sharpe ratio of" in shown
    assert f"Trials counted in this workspace are now {n_trials};" in shown
    assert max(len(line) for line in shown.splitlines() if line.startswith("  ")) <= 100
    (stored,) = [line for line in shown.splitlines() if line.startswith("  stored")]
    assert f"{json.loads(before)['metrics']['sharpe_ratio']:.2f}" in stored.split()
    assert (folder / "backtest.json").read_bytes() == before
    refused = trained.run("backtest", "quick_spx", "--sweep", "decision.entr=0.5", expect=2)
    assert "did you mean 'decision.enter'" in refused.stderr
    assert (ledger.count(), ledger.verify()) == (n_trials, [])
    trained.run("train", "quick_spx")
    assert not list(folder.glob("sweeps/*"))  # of another model
