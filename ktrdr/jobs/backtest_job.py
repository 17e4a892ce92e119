"""Backtest a trained strategy out of sample, into an attempt folder."""

from pathlib import Path

from pydantic import BaseModel, JsonValue

from ktrdr.backtest.artifacts import write_backtest, write_daily_returns
from ktrdr.backtest.run import run_backtest
from ktrdr.config import load_settings
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


def backtest(document: dict[str, JsonValue], report: Report) -> JsonValue:
    """Backtest the out-of-sample predictions on the snapshot they were made on; return the metrics."""
    request = BacktestJobRequest.model_validate(document)
    settings = load_settings()
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
    outcome = run_backtest(specification, bars, probability, fold, series.costs)
    report(80.0, "writing results")
    attempt = Path(request.attempt)
    write_backtest(attempt, outcome)
    write_daily_returns(attempt / DAILY_RETURNS_FILE, outcome)
    metrics: JsonValue = outcome.report.metrics.model_dump(mode="json")
    return metrics
