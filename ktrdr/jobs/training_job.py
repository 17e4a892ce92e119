"""Train one strategy and write its files into an attempt folder."""

import os
from pathlib import Path

from pydantic import BaseModel, JsonValue

from ktrdr.config import Settings, load_settings
from ktrdr.jobs.checkpoint_file import CheckpointFile
from ktrdr.jobs.same_strategy import require_same_strategy
from ktrdr.jobs.stores import open_job_stores
from ktrdr.networks.runtime import CPU, choose_device
from ktrdr.operations.job_child import Report
from ktrdr.telemetry.stopwatch import Stopwatch
from ktrdr.training.artifacts import write_training
from ktrdr.training.train import train_strategy

_MOST_WORKERS = 4  # as many groups as the nulls have


class TrainingJobRequest(BaseModel):
    """What the worker asks of a training process. Hash and snapshots are those that the trial was opened with."""

    strategy: str
    strategy_sha256: str
    snapshot: str
    snapshots: dict[str, str] = {}  # by symbol; what an earlier version asked for knows one
    seed: int
    operation_id: str
    attempt: str


def train(document: dict[str, JsonValue], report: Report, stopwatch: Stopwatch) -> JsonValue:
    """Train, write training.json, the model and both files of predictions, return the gate's metrics."""
    return train_in(load_settings(), TrainingJobRequest.model_validate(document), report, stopwatch)


def train_in(settings: Settings, request: TrainingJobRequest, report: Report, stopwatch: Stopwatch) -> JsonValue:
    """Do what `train` does in the workspace that the settings name."""
    device = choose_device(settings.device)
    report(0.0, "reading bars")
    stores = open_job_stores(settings)
    specification = stores.strategies.read(request.strategy)
    require_same_strategy(specification, request.strategy_sha256)
    series = [
        stores.bars.load_research(
            symbol, specification.timeframe, snapshot=request.snapshots.get(symbol, request.snapshot)
        )
        for symbol in specification.symbols
    ]
    stopwatch.lap("job.read", {"bars": sum(map(len, series))})
    memory = CheckpointFile(stores.checkpoints, request.operation_id, settings.checkpoint_interval_s)
    # A GPU takes one thing at a time.
    workers = min(len(os.sched_getaffinity(0)), _MOST_WORKERS) if device == CPU else 1
    outcome = train_strategy(
        specification,
        series,
        seed=request.seed,
        on_progress=report,
        on_lap=stopwatch.lap,
        memory=memory,
        device=device,
        workers=workers,
    )
    stopwatch.measure(samples=stopwatch.amount("training.fit", "samples"), training_s=stopwatch.seconds("training.fit"))
    write_training(Path(request.attempt), outcome, series)
    stopwatch.lap("job.write")
    return {
        "accuracy": outcome.report.accuracy,
        "final_loss": outcome.report.final_loss,
        "accuracy_to_beat": outcome.report.nulls.accuracy_to_beat,
        "snapshot": outcome.report.snapshot,
    }
