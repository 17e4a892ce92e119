"""What the recipe shows where there is nothing to learn, and that it shows more where there is something."""

import numpy as np
import pytest
from training_samples import alternating_walk, bars_from_returns, ignore_progress, random_walk, strategy

from ktrdr.features.inputs import compute_inputs
from ktrdr.labels.label import make_labels
from ktrdr.training.calibration import measure_calibration
from ktrdr.training.nulls import percentile_to_beat, shift_labels
from ktrdr.training.parts import prepare_part
from ktrdr.training.pool import gather_rows
from ktrdr.training.rows import usable_rows
from ktrdr.training.splits import split_training_part
from ktrdr.training.train import train_strategy

RECIPE = {"epochs": 12, "batch_size": 64, "learning_rate": 0.01, "patience": 3, "seeds": 2}
OVERLAPPING = {"type": "forward_return", "horizon": 24}


def train(bars, *, workers=1, **sections):
    specification = strategy(**{"training": RECIPE, **sections})
    return train_strategy(specification, bars, seed=3, on_progress=ignore_progress, workers=workers).report


def has_skill(report):
    return report.accuracy > report.nulls.accuracy_to_beat


def first_order_walk(n_bars, seed, persistence):
    rng = np.random.default_rng(seed)
    returns = np.zeros(n_bars)
    for bar in range(1, n_bars):
        returns[bar] = persistence * returns[bar - 1] + 0.002 * rng.standard_normal()
    return bars_from_returns(returns)


def test_a_planted_dependence_is_skill_and_its_shifted_labels_are_none():
    report = train(first_order_walk(2400, 5, -0.4))
    assert has_skill(report)
    shifts = report.nulls.circular_shifts
    assert shifts.n == 20
    assert 0.46 < shifts.accuracy_mean < 0.54 < shifts.accuracy_p95 + 0.04
    assert report.accuracy > shifts.accuracy_p95 + 0.03


def test_a_random_walk_with_overlapping_labels_flatters_in_the_shifts_as_in_the_recipe():
    report = train(random_walk(1500, seed=8), labels=OVERLAPPING)
    assert not has_skill(report)
    assert report.nulls.circular_shifts.accuracy_p95 > 0.52
    majority = np.mean([max(fold.base_rate, 1 - fold.base_rate) for fold in report.folds])
    assert report.nulls.majority_class.accuracy == pytest.approx(majority)


@pytest.mark.slow
def test_of_random_walks_about_one_in_twenty_shows_skill():
    shown = [has_skill(train(random_walk(2400, seed=seed), workers=2, labels=OVERLAPPING)) for seed in range(100)]
    assert np.mean(shown) <= 0.10


def test_workers_change_nothing_but_the_time():
    bars = alternating_walk(1400, share=0.6)
    one, two = (train(bars, workers=workers) for workers in (1, 2))
    assert one == two


def test_shifted_labels_keep_their_course_and_lose_their_bars():
    bars = random_walk(900, seed=4)
    specification = strategy(labels={"type": "forward_return", "horizon": 12})
    inputs, labels = compute_inputs(specification, bars), make_labels(specification, bars)
    rows = usable_rows(inputs, labels)
    training = split_training_part(rows, labels.end, 700)
    part = prepare_part(specification, inputs, labels, name="", training=training, test_bars=np.empty(0, dtype=np.intp))
    span = rows[(rows >= training.fitted[0]) & (rows <= training.validation[-1])]
    values = labels.value[span]
    offsets = set()
    for seed in range(40):
        shifted = shift_labels(part, rows, labels, np.random.default_rng(seed), pool=gather_rows(bars))
        turns = [np.roll(values, offset) for offset in range(len(span))]
        fitted, validation = np.searchsorted(span, training.fitted), np.searchsorted(span, training.validation)
        (offset,) = (
            offset
            for offset, turned in enumerate(turns)
            if np.array_equal(turned[fitted], shifted.fitted_targets)
            and np.array_equal(turned[validation], shifted.validation_targets)
        )
        assert 12 < offset < len(span) - 12
        offsets.add(offset)
        assert shifted.fitted_inputs is part.rows.fitted_inputs
    assert len(offsets) > 30


@pytest.mark.parametrize("n", [19, 20, 40, 100])
def test_one_more_value_of_the_same_kind_beats_the_percentile_in_at_most_five_of_a_hundred_cases(n):
    values = np.random.default_rng(n).standard_normal((20_000, n + 1))
    beaten = np.mean([each[-1] > percentile_to_beat(each[:-1].tolist()) for each in values])
    assert 0.03 < beaten < 0.055


def test_probabilities_that_mean_what_they_say_lie_on_the_diagonal():
    rng = np.random.default_rng(2)
    probability = rng.uniform(0.2, 0.8, 40_000)
    target = (rng.random(40_000) < probability).astype(float)
    calibration = measure_calibration(probability, target)
    assert calibration.brier_score == pytest.approx((probability * (1 - probability)).mean(), abs=0.003)
    assert [bin_.lower for bin_ in calibration.bins] == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    assert sum(bin_.n for bin_ in calibration.bins) == 40_000
    for bin_ in calibration.bins:
        assert bin_.share == pytest.approx(bin_.mean_probability, abs=0.025)
    certain = measure_calibration(np.array([0.0, 1.0]), np.array([1.0, 1.0]))
    assert (certain.brier_score, [bin_.upper for bin_ in certain.bins]) == (0.5, [0.1, 1.0])
