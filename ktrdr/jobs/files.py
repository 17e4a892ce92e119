"""Which files each phase leaves, the one that says that all are there last."""

TRAINING_FILES = ("model.safetensors", "predictions.parquet", "training.json")
BACKTEST_FILES = ("equity.parquet", "trades.parquet", "backtest.json")
ASSESSMENT_FILES = ("assessment.json",)
DAILY_RETURNS_FILE = "daily_returns.parquet"
