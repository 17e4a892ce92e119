"""The files that a training leaves in a strategy's folder."""

from collections.abc import Sequence
from pathlib import Path

from ktrdr.artifacts.files import write_bytes_atomically, write_json_atomically
from ktrdr.market.bars import Bars
from ktrdr.training.train import TrainingOutcome

REPORT_FILE = "training.json"
MODEL_FILE = "model.safetensors"
PREDICTIONS_FILE = "predictions.parquet"
FITTED_PREDICTIONS_FILE = "fitted_predictions.parquet"
MACHINE_FILE = "machine.json"


def write_training(folder: Path, outcome: TrainingOutcome, bars: Bars | Sequence[Bars]) -> None:
    """Write the model, both files of predictions, machine.json and, last, training.json.

    Equal outcomes give equal bytes. machine.json says what their last digits rest on: device, processor, libraries.
    `bars` are those that were trained on, of all symbols.
    """
    write_bytes_atomically(folder / MODEL_FILE, outcome.model.to_safetensors())
    write_bytes_atomically(folder / PREDICTIONS_FILE, outcome.predictions.to_parquet(bars))
    write_bytes_atomically(folder / FITTED_PREDICTIONS_FILE, outcome.fitted_predictions.to_parquet(bars))
    write_json_atomically(folder / MACHINE_FILE, dict(outcome.machine))
    write_json_atomically(folder / REPORT_FILE, outcome.report.model_dump(mode="json"))
