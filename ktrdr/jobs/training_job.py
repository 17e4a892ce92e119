"""Train one strategy and write its files into an attempt folder."""

import os
from pathlib import Path

from pydantic import BaseModel, JsonValue

from ktrdr.config import load_settings
from ktrdr.market.store import BarStore
from ktrdr.operations.job_child import Report
from ktrdr.strategy.store import StrategyStore
from ktrdr.training.artifacts import write_training
from ktrdr.training.train import train_strategy

_MOST_WORKERS = 4  # as many groups as the nulls have


class TrainingJobRequest(BaseModel):
    """What the worker asks of a training process."""

    strategy: str
    seed: int
    attempt: str


def train(document: dict[str, JsonValue], report: Report) -> JsonValue:
    """Train, write training.json, the model and both files of predictions, return the gate's metrics."""
    request = TrainingJobRequest.model_validate(document)
    settings = load_settings()
    report(0.0, "reading bars")
    specification = StrategyStore(settings.strategies_folder).read(request.strategy)
    bars = BarStore(settings.data_folder).load_research(specification.symbol, specification.timeframe)
    workers = min(len(os.sched_getaffinity(0)), _MOST_WORKERS)
    outcome = train_strategy(specification, bars, seed=request.seed, on_progress=report, workers=workers)
    write_training(Path(request.attempt), outcome, bars)
    return {
        "accuracy": outcome.report.accuracy,
        "final_loss": outcome.report.final_loss,
        "accuracy_to_beat": outcome.report.nulls.accuracy_to_beat,
        "snapshot": outcome.report.snapshot,
    }
