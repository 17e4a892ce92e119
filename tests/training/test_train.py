import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from training_samples import (
    HOUR_MS,
    START_MS,
    alternating_walk,
    bars_from_returns,
    ignore_progress,
    random_walk,
    strategy,
)

from ktrdr.errors import InvalidInput, OperationFailed
from ktrdr.features.inputs import compute_inputs
from ktrdr.labels.label import make_labels
from ktrdr.market.bars import Bars
from ktrdr.networks.chance import NetworkKey
from ktrdr.networks.fit import FitSettings, NetworkTask, fit_stack
from ktrdr.networks.mlp import MlpShape, MlpStack
from ktrdr.networks.runtime import torch_runtime
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.training.model import mean_probability
from ktrdr.training.parts import prepare_part
from ktrdr.training.rows import usable_rows
from ktrdr.training.splits import split_training_part
from ktrdr.training.train import TrainingOutcome, train_strategy

RECIPE = {"epochs": 6, "batch_size": 64, "learning_rate": 0.01, "patience": 2, "seeds": 2}
WALK = random_walk(1500)


def train(specification: StrategySpecification, bars: Bars, seed: int = 1) -> TrainingOutcome:
    return train_strategy(specification, bars, seed=seed, on_progress=ignore_progress, n_shifts=1)


def accuracy_out_of_sample(outcome: TrainingOutcome, specification: StrategySpecification, bars: Bars) -> float:
    labels = make_labels(specification, bars).value[outcome.predictions.bar_index]
    hits = (outcome.predictions.probability > 0.5) == (labels == 1)
    return float(hits[labels >= 0].mean())


def test_a_planted_signal_is_found_at_its_true_strength_out_of_sample():
    specification = strategy(training={**RECIPE, "epochs": 30, "patience": 30})
    bars = alternating_walk(2400, share=0.85)
    outcome = train(specification, bars)
    # 2,000 test bars: the best possible accuracy is 0.85 with a standard error of 0.008.
    assert 0.81 < accuracy_out_of_sample(outcome, specification, bars) < 0.88
    assert 0.80 < outcome.report.accuracy < 0.90
    perfect = -(0.85 * math.log(0.85) + 0.15 * math.log(0.15))
    assert outcome.report.final_loss == pytest.approx(perfect, abs=0.05)


def test_a_random_walk_is_a_coin():
    specification = strategy(training={**RECIPE, "epochs": 20, "patience": 8})
    bars = random_walk(3600, seed=3)
    outcome = train(specification, bars)
    # Standard errors: 0.009 on 3,000 test bars, about 0.016 on the validation segments.
    assert accuracy_out_of_sample(outcome, specification, bars) == pytest.approx(0.5, abs=0.036)
    assert outcome.report.accuracy == pytest.approx(0.5, abs=0.06)
    assert outcome.report.final_loss == pytest.approx(math.log(2), abs=0.02)


def test_every_bar_of_the_test_blocks_is_predicted_once_in_time_order_by_its_own_fold():
    outcome = train(strategy(), WALK)
    predictions = outcome.predictions
    assert predictions.bar_index.tolist() == list(range(250, 1500))
    assert predictions.fold.tolist() == [1 + (bar - 250) // 250 for bar in range(250, 1500)]
    assert ((predictions.probability > 0) & (predictions.probability < 1)).all()
    assert len(np.unique(predictions.probability)) > 500
    assert [fold.rows.test for fold in outcome.report.folds] == [250] * 5


def test_bars_after_a_fold_began_its_test_change_neither_its_networks_nor_earlier_predictions():
    first_changed = 760  # ten bars into the test block of fold 3
    rising = WALK.close[first_changed - 1] * np.exp(0.004 * np.arange(1, 1500 - first_changed + 1))
    columns = {
        "open": [WALK.open, rising / np.exp(0.004)],
        "high": [WALK.high, rising * 1.0005],
        "low": [WALK.low, rising * 0.9955],
        "close": [WALK.close, rising],
    }
    joined = {name: np.concatenate([old[:first_changed], new]) for name, (old, new) in columns.items()}
    before, after = train(strategy(), WALK), train(strategy(), replace(WALK, **joined))
    assert before.report.folds[:3] == after.report.folds[:3]
    assert before.report.folds[3].loss != after.report.folds[3].loss
    early = before.predictions.bar_index < first_changed
    assert np.array_equal(before.predictions.probability[early], after.predictions.probability[early])
    assert not np.array_equal(before.predictions.probability[~early], after.predictions.probability[~early])


def test_each_fold_and_the_final_model_use_the_networks_fitted_on_their_own_rows_alone():
    specification = strategy()
    outcome = train(specification, WALK, seed=6)
    inputs, labels = compute_inputs(specification, WALK), make_labels(specification, WALK)
    rows = usable_rows(inputs, labels)
    stack = MlpStack(MlpShape(5, (8, 4), 0.1))
    settings = FitSettings(RECIPE["epochs"], RECIPE["batch_size"], RECIPE["learning_rate"], RECIPE["patience"])
    for number, stop in ((2, 750), (5, 1500)):  # fold 3, and the final model, each in a stack of its own
        training = split_training_part(rows, labels.end, stop)
        test_bars = np.arange(750, 1000)
        part = prepare_part(specification, inputs, labels, name="", training=training, test_bars=test_bars)
        tasks = [NetworkTask("", NetworkKey(6, (number, replicate)), 0) for replicate in range(2)]
        with torch_runtime(1):
            state = fit_stack(stack, [part.rows], tasks, settings, on_epoch=lambda state: None)
            expected = mean_probability(stack, state.best_parameters, part.test_inputs)
        if number == 2:
            found = outcome.predictions.probability[outcome.predictions.fold == 3]
        else:
            found = outcome.model.predict(inputs)[test_bars]
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_equal_runs_are_bit_identical_and_another_seed_is_not():
    first, again, other = (train(strategy(), WALK, seed) for seed in (1, 1, 2))
    assert first.report.model_dump_json() == again.report.model_dump_json()
    assert first.predictions.to_parquet(WALK) == again.predictions.to_parquet(WALK)
    assert first.model.to_safetensors() == again.model.to_safetensors()
    assert not np.array_equal(first.predictions.probability, other.predictions.probability)


def test_epochs_patience_and_seeds_mean_what_they_say():
    few = train(strategy(training={**RECIPE, "epochs": 3, "patience": 3, "seeds": 3}), WALK).report
    assert [fold.epochs for fold in few.folds] == [[3, 3, 3]] * 5
    assert all(1 <= best <= 3 for fold in few.folds for best in fold.best_epochs)
    patient = train(strategy(training={**RECIPE, "epochs": 40, "patience": 2}), WALK).report
    for fold in patient.folds:
        assert len(fold.epochs) == 2
        for epochs, best in zip(fold.epochs, fold.best_epochs, strict=True):
            assert epochs == min(best + 2, 40)


def test_metrics_are_means_over_folds_and_seeds_and_their_spread_is_over_seeds():
    one, two = (train(strategy(training={**RECIPE, "seeds": n}), WALK).report for n in (1, 2))
    assert (one.accuracy_sd, one.final_loss_sd) == (0.0, 0.0)
    assert two.accuracy == pytest.approx(np.mean([fold.accuracy for fold in two.folds]))
    assert two.final_loss == pytest.approx(np.mean([fold.loss for fold in two.folds]))
    # The first seed's networks are the same in both runs, so the second seed's mean follows from the two reports.
    for single, mean, spread in (
        (one.accuracy, two.accuracy, two.accuracy_sd),
        (one.final_loss, two.final_loss, two.final_loss_sd),
    ):
        second = 2 * mean - single
        assert spread == pytest.approx(np.std([single, second], ddof=1), rel=1e-3)
        assert spread > 0


def test_the_report_says_which_rows_and_dates_each_fold_used():
    specification = strategy(labels={"type": "forward_return", "horizon": 7})
    report = train(specification, WALK, seed=4).report
    second = report.folds[1]
    first_row = compute_inputs(specification, WALK).first_row
    n_part = 500 - 7 - first_row
    n_validation = int(n_part * 0.15)
    assert second.purged.model_dump() == {"before_test": 7, "before_validation": 7}
    assert second.rows.model_dump() == {
        "fitted": n_part - n_validation - 7,
        "validation": n_validation,
        "test": 250,
    }
    opens = [
        [START_MS + HOUR_MS * bar for bar in span]
        for span in ((first_row, 492 - n_validation - 7), (493 - n_validation, 492), (500, 749))
    ]
    spans = (second.dates.fitted, second.dates.validation, second.dates.test)
    assert [[moment.timestamp() * 1000 for moment in span] for span in spans] == opens
    moves = np.sign(WALK.close[7:] - WALK.open[1:-6])[493 - n_validation : 493]
    assert second.base_rate == pytest.approx((moves > 0).mean())
    assert (report.seed, report.snapshot, report.strategy_sha256) == (
        4,
        WALK.snapshot,
        specification.sha256(),
    )
    assert set(report.coverage) >= {"change.down", "change.flat", "change.up", "place.low", "place.high"}


def test_progress_rises_from_zero_to_hundred_with_a_text():
    calls: list[tuple[float, str]] = []
    train_strategy(strategy(), WALK, seed=1, on_progress=lambda percentage, text: calls.append((percentage, text)))
    percentages = [percentage for percentage, _ in calls]
    assert (percentages[0], percentages[-1]) == (0.0, 100.0)
    assert all(one <= other for one, other in itertools.pairwise(percentages))
    assert any("epoch 2 of at most 6" in text for _, text in calls)
    assert any("fitted 20 of 20 shifts" in text for _, text in calls)
    assert len(calls) <= 6 + 4 + 4


@pytest.mark.parametrize(
    ("bars", "labels", "reason", "told"),
    [
        (random_walk(400), {}, "too_few_bars", r"fold 1 has .* at least 100 and 30 are needed: import a longer"),
        (WALK, {"horizon": 240}, "too_few_bars", r"fold 1 has 0 rows to fit .*, or lower labels\.horizon"),
        (
            bars_from_returns(np.full(1500, 0.001)),
            {},
            "single_class_labels",
            r"have the label 1; .* change labels\.",
        ),
    ],
)
def test_bars_that_cannot_teach_a_strategy_are_refused_with_what_to_change(bars, labels, reason, told):
    with pytest.raises(OperationFailed, match=told) as refused:
        train(strategy(labels={"type": "forward_return", "horizon": 1, **labels}), bars)
    assert refused.value.reason == reason


def test_a_calendar_block_without_bars_is_refused():
    timestamp = START_MS + HOUR_MS * np.concatenate([np.arange(900), 50_000 + np.arange(900)])
    returns = np.random.default_rng(1).standard_normal(1800) * 0.002
    with pytest.raises(OperationFailed, match="the test block of fold 1 holds no bar") as few:
        train(strategy(), bars_from_returns(returns, timestamp))
    assert few.value.reason == "too_few_bars"


def test_a_negative_seed_is_refused():
    with pytest.raises(InvalidInput, match="seed >= 0, was -1"):
        train(strategy(), WALK, seed=-1)


def test_a_set_that_no_fitted_row_belongs_to_is_refused_with_where_the_values_are():
    places = {
        "high": {"shape": "trapezoid", "points": [-60, -30, 0, 0]},
        "beyond": {"shape": "gaussian", "points": [40, 10]},
    }
    unreachable = strategy(
        fuzzy_sets={
            "place": {"input": "place", "sets": places},
            "change": {"input": "change", "partition": ["down", "up"]},
        }
    )
    pattern = (
        r"none of the \d+ fitted rows belongs to fuzzy_sets\.place\.sets\.beyond \(its input lies in -98\.42 to -2\.1"
    )
    with pytest.raises(OperationFailed, match=pattern) as empty:
        train(unreachable, WALK)
    assert empty.value.reason == "fuzzy_set_empty"


def test_prices_that_never_move_are_refused_before_anything_is_learned():
    with pytest.raises(OperationFailed, match=r"all 2000 closes of TEST 1h are 100; .* market\.symbols") as constant:
        train(strategy(), bars_from_returns(np.zeros(2000)))
    assert constant.value.reason == "constant_prices"
