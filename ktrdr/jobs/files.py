"""Which files each phase leaves, the one that says that all are there last."""

from pathlib import Path

MODEL_FILE = "model.safetensors"
TRAINING_FILES = (MODEL_FILE, "predictions.parquet", "fitted_predictions.parquet", "training.json")
BACKTEST_FILES = ("equity.parquet", "trades.parquet", "backtest.json")
ASSESSMENT_FILES = ("assessment.json",)
DAILY_RETURNS_FILE = "daily_returns.parquet"


def daily_returns_path(state_folder: Path, trial_id: str) -> Path:
    """Return where a trial's out-of-sample daily returns are kept, for good."""
    return state_folder / "trials" / f"{trial_id}.parquet"
