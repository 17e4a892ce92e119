import json
import struct

import numpy as np
import pytest
from training_samples import ignore_progress, random_walk, strategy

from ktrdr.errors import OperationFailed
from ktrdr.features.inputs import compute_inputs
from ktrdr.training.artifacts import MODEL_FILE, write_training
from ktrdr.training.model import TrainedModel, read_model
from ktrdr.training.train import TrainingOutcome, train_strategy

SPECIFICATION = strategy()
BARS = random_walk(1500)


@pytest.fixture(scope="module")
def outcome() -> TrainingOutcome:
    return train_strategy(SPECIFICATION, BARS, seed=9, on_progress=ignore_progress, n_shifts=1)


def probability_by_hand(model: TrainedModel, bar: int) -> float:
    """Compute one bar's probability with nothing but NumPy and the file's own numbers."""
    features = model.encoder.transform(compute_inputs(SPECIFICATION, BARS))[bar]
    scaled = (features - model.scaling.mean) / model.scaling.deviation
    probabilities = []
    for network in range(model.description.n_seeds):
        values = scaled
        for layer in range(3):
            weight = model.weights[f"layers.{layer}.weight"][network].astype(np.float64)
            values = values @ weight + model.weights[f"layers.{layer}.bias"][network]
            values = np.maximum(values, 0) if layer < 2 else values
        probabilities.append(1 / (1 + np.exp(-values[0])))
    return float(np.mean(probabilities))


def test_a_model_read_from_its_file_predicts_bit_for_bit_as_the_one_in_memory(outcome, tmp_path):
    write_training(tmp_path, outcome, BARS)
    read = read_model(tmp_path / MODEL_FILE)
    inputs = compute_inputs(SPECIFICATION, BARS)
    expected = outcome.model.predict(inputs)
    np.testing.assert_array_equal(read.predict(inputs), expected)
    assert read.description == outcome.model.description
    assert np.isnan(expected[: inputs.first_row]).all()
    assert np.isfinite(expected[inputs.first_row :]).all()
    for bar in (inputs.first_row, 600, 1499):
        assert probability_by_hand(read, bar) == pytest.approx(expected[bar], abs=1e-6)


def test_the_final_model_is_fitted_on_the_whole_window_and_says_what_it_is(outcome):
    description = outcome.model.description
    first_row = compute_inputs(SPECIFICATION, BARS).first_row
    n_rows = 1500 - first_row - 1  # the last bar has no label
    assert description.validation_rows == int(n_rows * 0.15)
    assert description.fitted_rows == n_rows - description.validation_rows - 1  # one row purged
    assert description.strategy_sha256 == SPECIFICATION.sha256()
    assert (description.seed, description.n_seeds, description.snapshot) == (9, 2, BARS.snapshot)
    assert description.feature_names == ("change.down", "change.flat", "change.up", "place.low", "place.high")


def test_the_file_is_safetensors_with_its_metadata_in_one_json_text(outcome):
    data = outcome.model.to_safetensors()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = json.loads(header.pop("__metadata__")["ktrdr"])
    assert metadata["description"]["strategy_sha256"] == SPECIFICATION.sha256()
    assert header["layers.0.weight"]["shape"] == [2, 5, 8]
    assert {entry["dtype"] for entry in header.values()} == {"F32"}


def test_a_file_that_is_no_model_is_refused_with_the_next_step(tmp_path):
    path = tmp_path / MODEL_FILE
    for content in (b"", b"\x80\x04pickled", struct.pack("<Q", 2) + b"{}"):
        path.write_bytes(content)
        with pytest.raises(OperationFailed, match="train the strategy again") as failure:
            read_model(path)
        assert failure.value.reason == "model_unusable"
    with pytest.raises(OperationFailed, match="train the strategy again"):
        read_model(tmp_path / "absent.safetensors")
