"""The files that a training leaves in a strategy's folder."""

from pathlib import Path

from ktrdr.artifacts.files import write_bytes_atomically, write_json_atomically
from ktrdr.market.bars import Bars
from ktrdr.training.train import TrainingOutcome

REPORT_FILE = "training.json"
MODEL_FILE = "model.safetensors"
PREDICTIONS_FILE = "predictions.parquet"


def write_training(folder: Path, outcome: TrainingOutcome, bars: Bars) -> None:
    """Write training.json, model.safetensors and predictions.parquet, the report last; equal outcomes, equal bytes."""
    write_bytes_atomically(folder / MODEL_FILE, outcome.model.to_safetensors())
    write_bytes_atomically(folder / PREDICTIONS_FILE, outcome.predictions.to_parquet(bars))
    write_json_atomically(folder / REPORT_FILE, outcome.report.model_dump(mode="json"))
