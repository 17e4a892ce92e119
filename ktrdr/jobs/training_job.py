"""Train one strategy and write its files into an attempt folder."""

import os
from pathlib import Path

from pydantic import BaseModel, JsonValue

from ktrdr.config import Settings, load_settings
from ktrdr.jobs.checkpoint_file import CheckpointFile
from ktrdr.jobs.same_strategy import require_same_strategy
from ktrdr.market.store import BarStore
from ktrdr.operations.job_child import Report
from ktrdr.strategy.store import StrategyStore
from ktrdr.training.artifacts import write_training
from ktrdr.training.train import train_strategy

_MOST_WORKERS = 4  # as many groups as the nulls have


class TrainingJobRequest(BaseModel):
    """What the worker asks of a training process. Hash and snapshot are those that the trial was opened with."""

    strategy: str
    strategy_sha256: str
    snapshot: str
    seed: int
    checkpoints: str
    attempt: str


def train(document: dict[str, JsonValue], report: Report) -> JsonValue:
    """Train, write training.json, the model and both files of predictions, return the gate's metrics."""
    return train_in(load_settings(), TrainingJobRequest.model_validate(document), report)


def train_in(settings: Settings, request: TrainingJobRequest, report: Report) -> JsonValue:
    """Do what `train` does in the workspace that the settings name."""
    report(0.0, "reading bars")
    specification = StrategyStore(settings.strategies_folder).read(request.strategy)
    require_same_strategy(specification, request.strategy_sha256)
    bars = BarStore(settings.data_folder).load_research(
        specification.symbol, specification.timeframe, snapshot=request.snapshot
    )
    memory = CheckpointFile(Path(request.checkpoints), settings.checkpoint_interval_s)
    workers = min(len(os.sched_getaffinity(0)), _MOST_WORKERS)
    outcome = train_strategy(specification, bars, seed=request.seed, on_progress=report, memory=memory, workers=workers)
    write_training(Path(request.attempt), outcome, bars)
    return {
        "accuracy": outcome.report.accuracy,
        "final_loss": outcome.report.final_loss,
        "accuracy_to_beat": outcome.report.nulls.accuracy_to_beat,
        "snapshot": outcome.report.snapshot,
    }
