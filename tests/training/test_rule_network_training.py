import numpy as np
from training_samples import alternating_walk, ignore_progress, random_walk, strategy

from ktrdr.features.inputs import compute_inputs
from ktrdr.labels.label import make_labels
from ktrdr.training.artifacts import MODEL_FILE, write_training
from ktrdr.training.model import read_model
from ktrdr.training.parts import prepare_part
from ktrdr.training.rows import usable_rows
from ktrdr.training.splits import split_training_part
from ktrdr.training.train import train_strategy

RECIPE = {"epochs": 30, "batch_size": 64, "learning_rate": 0.01, "patience": 30, "seeds": 2}
SPECIFICATION = strategy(model={"type": "anfis", "rules": 6}, training=RECIPE)


def train(bars):
    return train_strategy(SPECIFICATION, bars, seed=1, on_progress=ignore_progress, n_shifts=2)


def test_rules_find_a_planted_signal_and_their_file_predicts_bit_for_bit(tmp_path):
    bars = alternating_walk(2400, share=0.85)
    outcome, again = train(bars), train(bars)
    assert outcome.model.to_safetensors() == again.model.to_safetensors()
    assert outcome.report == again.report
    labels = make_labels(SPECIFICATION, bars).value[outcome.predictions.bar_index]
    hits = ((outcome.predictions.probability > 0.5) == (labels == 1))[labels >= 0]
    assert 0.80 < hits.mean() < 0.88  # the best possible is 0.85
    assert outcome.report.nulls.circular_shifts.accuracy_p95 < 0.6
    write_training(tmp_path, outcome, bars)
    read, inputs = read_model(tmp_path / MODEL_FILE), compute_inputs(SPECIFICATION, bars)
    np.testing.assert_array_equal(read.predict(inputs), outcome.model.predict(inputs))
    assert read.description.feature_names == ("change", "place")


def test_sets_and_rules_come_from_the_fitted_rows_alone():
    bars = random_walk(1500)
    inputs, labels = compute_inputs(SPECIFICATION, bars), make_labels(SPECIFICATION, bars)
    training = split_training_part(usable_rows(inputs, labels), labels.end, 750)
    frames = []
    for noise in (0.0, 50.0):
        inputs.values[training.fitted[-1] + 1 :] += noise  # the second time all later bars are others
        part = prepare_part(SPECIFICATION, inputs, labels, name="", training=training, test_bars=np.arange(750, 1000))
        frames.append(part.rows.frame)
    assert len(frames[0].rules) == 6
    for name in ("low", "high", "left", "right", "rules"):
        assert np.array_equal(getattr(frames[0], name), getattr(frames[1], name))
