import numpy as np
import polars as pl
import pytest
from training_samples import random_walk

from ktrdr.errors import OperationFailed
from ktrdr.training.predictions import Predictions, read_predictions

BARS = random_walk(40)
PREDICTIONS = Predictions(
    bar_index=np.arange(10, 40),
    fold=np.repeat(np.arange(1, 6, dtype=np.int8), 6),
    probability=np.random.default_rng(1).random(30),
)


def test_a_written_file_is_read_back_exactly_and_has_the_documented_columns(tmp_path):
    path = tmp_path / "predictions.parquet"
    path.write_bytes(PREDICTIONS.to_parquet(BARS))
    again = read_predictions(path, BARS)
    for found, expected in zip(again.by_bar(40), PREDICTIONS.by_bar(40), strict=True):
        np.testing.assert_array_equal(found, expected)
    frame = pl.read_parquet(path)
    assert frame.schema == {
        "symbol": pl.String,
        "timestamp": pl.Datetime("ms", "UTC"),
        "fold": pl.Int8,
        "probability": pl.Float64,
    }
    assert frame["symbol"].unique().to_list() == ["TEST"]
    assert frame["timestamp"].dt.epoch("ms").to_list() == BARS.timestamp[10:40].tolist()


def test_bars_without_a_prediction_are_nan_and_fold_zero():
    probability, fold = PREDICTIONS.by_bar(40)
    assert np.isnan(probability[:10]).all()
    assert (fold[:10] == 0).all()
    assert fold[10:].tolist() == PREDICTIONS.fold.tolist()
    assert probability[10:].tolist() == PREDICTIONS.probability.tolist()


def test_predictions_of_other_bars_or_a_broken_file_are_refused(tmp_path):
    path = tmp_path / "predictions.parquet"
    path.write_bytes(PREDICTIONS.to_parquet(BARS))
    with pytest.raises(OperationFailed, match="5 of its 30 rows are of no bar") as failure:
        read_predictions(path, BARS.slice(0, 35))
    assert failure.value.reason == "predictions_unusable"
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(OperationFailed, match="train the strategy again"):
        read_predictions(path, BARS)
    with pytest.raises(OperationFailed, match="train the strategy again"):
        read_predictions(tmp_path / "absent.parquet", BARS)
