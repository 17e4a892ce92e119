from dataclasses import replace

import numpy as np
import pytest
from training_samples import bars_from_returns, random_walk, strategy

from ktrdr.errors import OperationFailed
from ktrdr.features.inputs import compute_inputs
from ktrdr.labels.label import Labels, make_labels
from ktrdr.market.bars import Bars
from ktrdr.training.parts import TrainingPart, prepare_part
from ktrdr.training.rows import usable_rows
from ktrdr.training.splits import TrainingRows, split_training_part

SPECIFICATION = strategy()
BARS = random_walk(900)
NO_BARS = np.empty(0, dtype=np.intp)


def split(bars: Bars) -> TrainingRows:
    inputs, labels = compute_inputs(SPECIFICATION, bars), make_labels(SPECIFICATION, bars)
    return split_training_part(usable_rows(inputs, labels), labels.end, 700)


def part_of(bars: Bars, training: TrainingRows) -> TrainingPart:
    inputs, labels = compute_inputs(SPECIFICATION, bars), make_labels(SPECIFICATION, bars)
    test_bars = np.arange(700, 900)
    return prepare_part(SPECIFICATION, inputs, labels, name="fold 4", training=training, test_bars=test_bars)


def test_encoder_and_scaling_know_nothing_but_the_fitted_rows():
    training = split(BARS)
    first_unfitted = int(training.fitted[-1]) + 2  # the label of the last fitted row looks one bar ahead
    later = np.arange(900) >= first_unfitted
    factors = {"open": 3, "high": 6, "low": 1.5, "close": 3}
    wild = {name: np.where(later, getattr(BARS, name) * by, getattr(BARS, name)) for name, by in factors.items()}
    changed = replace(BARS, **wild)
    before, after = part_of(BARS, training), part_of(changed, training)

    assert after.encoder == before.encoder
    assert after.scaling.to_dict() == before.scaling.to_dict()
    assert np.array_equal(after.rows.fitted_inputs, before.rows.fitted_inputs)
    assert not np.array_equal(after.rows.validation_inputs, before.rows.validation_inputs)
    # And they do know the fitted rows.
    other = part_of(random_walk(900, seed=2), training)
    assert other.encoder != before.encoder


def test_rows_carry_the_features_and_the_label_of_their_own_bar():
    training = split(BARS)
    part = part_of(BARS, training)
    move = np.sign(BARS.close[1:] - BARS.open[1:])
    assert part.rows.fitted_targets.tolist() == (move[training.fitted] > 0).tolist()
    assert part.rows.validation_targets.tolist() == (move[training.validation] > 0).tolist()
    assert part.base_rate == pytest.approx((move[training.validation] > 0).mean())
    change = BARS.close[1:] / BARS.close[:-1] - 1
    peaks = np.quantile(change[training.fitted - 1], [1 / 6, 0.5, 5 / 6])
    up = np.clip((change - peaks[1]) / (peaks[2] - peaks[1]), 0, 1)
    column = part.encoder.feature_names.index("change.up")
    fitted_up = up[training.fitted - 1]
    expected = (up[part.test_bars - 1] - fitted_up.mean()) / fitted_up.std()
    np.testing.assert_allclose(part.test_inputs[:, column], expected, atol=1e-5)


def test_a_part_that_is_too_small_says_what_it_has_and_what_it_needs():
    training = split(BARS)
    small = replace(training, validation=training.validation[:29])
    with pytest.raises(OperationFailed, match=r"fold 4 has \d+ rows to fit and 29 to validate .* 100 and 30") as few:
        part_of(BARS, small)
    assert few.value.reason == "too_few_bars"
    part_of(BARS, replace(training, fitted=training.fitted[:100], validation=training.validation[:30]))
    with pytest.raises(OperationFailed, match="99 rows to fit"):
        part_of(BARS, replace(training, fitted=training.fitted[:99]))


def test_labels_of_one_class_are_refused():
    rising = bars_from_returns(np.full(900, 0.001))
    inputs, labels = compute_inputs(SPECIFICATION, rising), make_labels(SPECIFICATION, rising)
    training = split_training_part(usable_rows(inputs, labels), labels.end, 700)
    with pytest.raises(OperationFailed, match="rows of fold 4 have the label 1; both classes") as single:
        prepare_part(SPECIFICATION, inputs, labels, name="fold 4", training=training, test_bars=NO_BARS)
    assert single.value.reason == "single_class_labels"


def test_rows_without_a_label_or_before_the_features_are_left_out():
    inputs = compute_inputs(SPECIFICATION, BARS)
    value = np.full(900, -1, dtype=np.int8)
    value[[3, 100, 101]] = [1, 0, 1]
    assert usable_rows(inputs, Labels(value, np.where(value < 0, -1, np.arange(900) + 1))).tolist() == [100, 101]
    value[[100, 101]] = -1
    with pytest.raises(OperationFailed, match="none of the 900 bars has both features") as none:
        usable_rows(inputs, Labels(value, np.where(value < 0, -1, np.arange(900) + 1)))
    assert none.value.reason == "no_labels"
