"""Train one strategy and write its files into an attempt folder."""

from pathlib import Path

from pydantic import BaseModel, JsonValue

from ktrdr.config import load_settings
from ktrdr.jobs.checkpoint_file import CheckpointFile
from ktrdr.jobs.same_strategy import require_same_strategy
from ktrdr.market.store import BarStore
from ktrdr.operations.job_child import Report
from ktrdr.strategy.store import StrategyStore
from ktrdr.training.artifacts import write_training
from ktrdr.training.train import train_strategy


class TrainingJobRequest(BaseModel):
    """What the worker asks of a training process. Hash and snapshot are those that the trial was opened with."""

    strategy: str
    strategy_sha256: str
    snapshot: str
    seed: int
    checkpoints: str
    attempt: str


def train(document: dict[str, JsonValue], report: Report) -> JsonValue:
    """Train, write training.json, model.safetensors and predictions.parquet, return the gate's metrics."""
    request = TrainingJobRequest.model_validate(document)
    settings = load_settings()
    report(0.0, "reading bars")
    specification = StrategyStore(settings.strategies_folder).read(request.strategy)
    require_same_strategy(specification, request.strategy_sha256)
    bars = BarStore(settings.data_folder).load_research(
        specification.symbol, specification.timeframe, snapshot=request.snapshot
    )
    memory = CheckpointFile(Path(request.checkpoints), settings.checkpoint_interval_s)
    outcome = train_strategy(specification, bars, seed=request.seed, on_progress=report, memory=memory)
    write_training(Path(request.attempt), outcome, bars)
    return {
        "accuracy": outcome.report.accuracy,
        "final_loss": outcome.report.final_loss,
        "snapshot": outcome.report.snapshot,
    }
