"""Backtest a trained strategy out of sample, into an attempt folder."""

from pathlib import Path

from pydantic import BaseModel, JsonValue

from ktrdr.backtest.artifacts import write_backtest, write_daily_returns
from ktrdr.backtest.market_beta import measure_portfolio_betas
from ktrdr.backtest.report import TrialHistory
from ktrdr.backtest.run import run_portfolio
from ktrdr.config import Settings, load_settings
from ktrdr.evaluation.selection import compare_with_trials
from ktrdr.evaluation.verdict import reach_verdict
from ktrdr.jobs.evidence import read_evidence
from ktrdr.jobs.files import trial_file
from ktrdr.jobs.same_strategy import require_same_strategy
from ktrdr.jobs.stores import open_job_stores
from ktrdr.operations.job_child import Report
from ktrdr.telemetry.stopwatch import Stopwatch
from ktrdr.training.report import read_training_report


class BacktestJobRequest(BaseModel):
    """What the worker asks of a backtest process."""

    strategy: str
    trial_id: str
    attempt: str
    history: TrialHistory
    other_returns: list[str]


def backtest(document: dict[str, JsonValue], report: Report, stopwatch: Stopwatch) -> JsonValue:
    """Backtest the out-of-sample predictions on the snapshots they were made on; return metrics and verdict."""
    return backtest_in(load_settings(), BacktestJobRequest.model_validate(document), report, stopwatch)


def backtest_in(settings: Settings, request: BacktestJobRequest, report: Report, stopwatch: Stopwatch) -> JsonValue:
    """Do what `backtest` does in the workspace that the settings name."""
    report(0.0, "reading predictions")
    stores = open_job_stores(settings)
    folder = stores.strategies.folder(request.strategy)
    specification = stores.strategies.read(request.strategy)
    training = read_training_report(folder / "training.json")
    require_same_strategy(specification, training.strategy_sha256)
    traded, fitted = read_evidence(stores, specification, training)
    stopwatch.lap("job.read", {"bars": sum(len(each.bars) for each in traded)})
    report(30.0, "trading the test blocks")
    outcome = run_portfolio(specification, traded, seed=training.seed, on_lap=stopwatch.lap)
    stopwatch.measure(bars=stopwatch.amount("backtest.trade", "bars"), backtest_s=stopwatch.seconds("backtest.trade"))
    report(60.0, "reaching the verdict")
    betas = measure_portfolio_betas(specification, fitted)
    with stores.trials.settled():
        for path in request.other_returns:
            stores.trials.bring(Path(path).stem)
    others = [settings.workspace / path for path in request.other_returns]
    selection = compare_with_trials(outcome.equity.daily_returns(), others, seed=training.seed)
    verdict = reach_verdict(outcome, betas, request.history, seed=training.seed, selection=selection)
    outcome = outcome.with_verdict(verdict)
    stopwatch.lap("backtest.verdict")
    report(80.0, "writing results")
    attempt = Path(request.attempt)
    write_backtest(attempt, outcome)
    write_daily_returns(attempt / trial_file(request.trial_id), outcome)
    stopwatch.lap("job.write")
    return outcome.report.model_dump(mode="json", include={"metrics", "verdict"})
