"""Backtest a trained strategy out of sample, into an attempt folder."""

from pathlib import Path

from pydantic import BaseModel, JsonValue

from ktrdr.backtest.artifacts import write_backtest, write_daily_returns
from ktrdr.backtest.market_beta import measure_market_betas
from ktrdr.backtest.report import TrialHistory
from ktrdr.backtest.run import run_backtest
from ktrdr.config import Settings, load_settings
from ktrdr.evaluation.selection import compare_with_trials
from ktrdr.evaluation.verdict import reach_verdict
from ktrdr.jobs.files import DAILY_RETURNS_FILE
from ktrdr.jobs.same_strategy import require_same_strategy
from ktrdr.market.store import BarStore
from ktrdr.operations.job_child import Report
from ktrdr.strategy.store import StrategyStore
from ktrdr.training.predictions import read_predictions
from ktrdr.training.report import read_training_report


class BacktestJobRequest(BaseModel):
    """What the worker asks of a backtest process."""

    strategy: str
    attempt: str
    history: TrialHistory
    other_returns: list[str]


def backtest(document: dict[str, JsonValue], report: Report) -> JsonValue:
    """Backtest the out-of-sample predictions on the snapshot they were made on; return metrics and verdict."""
    return backtest_in(load_settings(), BacktestJobRequest.model_validate(document), report)


def backtest_in(settings: Settings, request: BacktestJobRequest, report: Report) -> JsonValue:
    """Do what `backtest` does in the workspace that the settings name."""
    report(0.0, "reading predictions")
    strategies = StrategyStore(settings.strategies_folder)
    specification = strategies.read(request.strategy)
    folder = strategies.folder(request.strategy)
    training = read_training_report(folder / "training.json")
    require_same_strategy(specification, training.strategy_sha256)
    store = BarStore(settings.data_folder)
    series = store.series(specification.symbol, specification.timeframe)
    bars = store.load_research(specification.symbol, specification.timeframe, snapshot=training.snapshot)
    probability, fold = read_predictions(folder / "predictions.parquet", bars).by_bar(len(bars))
    report(30.0, "trading the test blocks")
    outcome = run_backtest(specification, bars, probability, fold, series.costs, seed=training.seed)
    report(60.0, "reaching the verdict")
    fitted = read_predictions(folder / "fitted_predictions.parquet", bars).of_folds(len(bars))
    betas = measure_market_betas(specification, bars, fitted, series.costs)
    others = [settings.workspace / path for path in request.other_returns]
    selection = compare_with_trials(outcome.equity.daily_returns(), others, seed=training.seed)
    verdict = reach_verdict(outcome, betas, request.history, seed=training.seed, selection=selection)
    outcome = outcome.with_verdict(verdict)
    report(80.0, "writing results")
    attempt = Path(request.attempt)
    write_backtest(attempt, outcome)
    write_daily_returns(attempt / DAILY_RETURNS_FILE, outcome)
    return outcome.report.model_dump(mode="json", include={"metrics", "verdict"})
