"""Which files each phase leaves, the one that says that all are there last."""

from ktrdr.strategy.store import REPORT_FILE

MODEL_FILE = "model.safetensors"
MACHINE_FILE = "machine.json"
TRAINING_FILES = (MODEL_FILE, "predictions.parquet", "fitted_predictions.parquet", MACHINE_FILE, "training.json")
BACKTEST_FILES = ("equity.parquet", "trades.parquet", "backtest.json")
ASSESSMENT_FILES = (REPORT_FILE, "assessment.json")
# How the last cycle that took the strategy to a training ended, refused ones too.
CYCLE_FILE = "cycle.json"


SWEEPS_FOLDER = "sweeps"


def sweep_file(operation_id: str) -> str:
    """Return where the table of a sweep lies in its strategy's folder."""
    return f"{SWEEPS_FOLDER}/{operation_id}.parquet"


def trial_file(trial_id: str) -> str:
    """Return the name under which daily returns are kept, for good: a trial's, or by its operation a sweep's."""
    return f"{trial_id}.parquet"
