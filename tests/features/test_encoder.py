import json

import numpy as np
import pytest

from ktrdr.errors import OperationFailed
from ktrdr.features.encoder import FuzzyEncoder
from ktrdr.features.inputs import FeatureInputs
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.strategy.validation import parse_strategy

FIRST_ROW, N_BARS = 10, 110


def strategy() -> StrategySpecification:
    return parse_strategy("""
schema: 1
name: for_encoder
hypothesis: Explicit sets beside a partition, in this order.
market: {symbols: [TEST], timeframe: 1h}
indicators: {rsi: {type: RSI}, adx: {type: ADX}}
fuzzy_sets:
  rsi: {input: rsi, sets: {oversold: {shape: trapezoid, points: [0, 0, 20, 45]},
                           overbought: {shape: trapezoid, points: [60, 75, 100, 100]},
                           impossible: {shape: triangle, points: [200, 300, 400]}}}
  trend: {input: adx, partition: [weak, fair, strong]}
labels: {type: forward_return, horizon: 5}
""")


def inputs() -> FeatureInputs:
    """RSI 0, 1 .. 99 and ADX 0, 0.5 .. 49.5 after ten rows of warm-up."""
    values = np.full((N_BARS, 2), np.nan)
    values[FIRST_ROW:, 0] = np.arange(100)
    values[FIRST_ROW:, 1] = np.arange(100) / 2
    return FeatureInputs(("rsi", "trend"), values, FIRST_ROW)


ALL_ROWS = np.arange(FIRST_ROW, N_BARS)


def test_features_are_the_memberships_of_every_set_in_file_order():
    encoder = FuzzyEncoder.fit(strategy(), inputs(), ALL_ROWS)
    features = encoder.transform(inputs())

    assert encoder.feature_names == (
        "rsi.oversold", "rsi.overbought", "rsi.impossible", "trend.weak", "trend.fair", "trend.strong",
    )  # fmt: skip
    assert features.shape == (N_BARS, 6)
    assert np.isnan(features[:FIRST_ROW]).all()
    rsi, adx = inputs().values[FIRST_ROW:].T
    peaks = [99 / 2 * share for share in (1 / 6, 3 / 6, 5 / 6)]  # quantiles of an evenly spaced column
    expected = [
        np.interp(rsi, [20, 45], [1, 0]),
        np.interp(rsi, [60, 75], [0, 1]),
        np.zeros(100),
        np.interp(adx, peaks, [1, 0, 0]),
        np.interp(adx, peaks, [0, 1, 0]),
        np.interp(adx, peaks, [0, 0, 1]),
    ]
    np.testing.assert_allclose(features[FIRST_ROW:], np.stack(expected, axis=1), rtol=0, atol=1e-12)


def test_partitions_are_fitted_on_the_fitted_rows_and_no_others():
    fitted_rows = np.arange(20, 70)
    encoder = FuzzyEncoder.fit(strategy(), inputs(), fitted_rows)
    disturbed = inputs()
    disturbed.values[70:] *= -1000
    disturbed.values[FIRST_ROW:20] = 12345
    assert FuzzyEncoder.fit(strategy(), disturbed, fitted_rows) == encoder
    disturbed.values[20:70] += 1
    assert FuzzyEncoder.fit(strategy(), disturbed, fitted_rows) != encoder


def test_coverage_shows_dead_zones_and_sets_that_never_speak():
    encoder = FuzzyEncoder.fit(strategy(), inputs(), ALL_ROWS)
    shares = encoder.coverage(inputs(), ALL_ROWS)
    # A membership above 0.05: RSI below 43.75 or above 60.75.
    assert shares["rsi.oversold"] == pytest.approx(0.44)
    assert shares["rsi.overbought"] == pytest.approx(0.39)
    assert shares["rsi.impossible"] == 0.0
    assert shares["rsi"] == pytest.approx(0.83)
    assert shares["trend"] == 1.0
    assert encoder.coverage(inputs(), np.arange(56, 70))["rsi"] == 0.0
    assert list(shares) == [
        "rsi", "rsi.oversold", "rsi.overbought", "rsi.impossible", "trend", "trend.weak", "trend.fair", "trend.strong",
    ]  # fmt: skip


def test_an_encoder_survives_json_with_bit_identical_features():
    encoder = FuzzyEncoder.fit(strategy(), inputs(), np.arange(17, 83))
    again = FuzzyEncoder.from_dict(json.loads(json.dumps(encoder.to_dict(), allow_nan=False)))
    assert again == encoder
    assert again.transform(inputs()).tobytes() == encoder.transform(inputs()).tobytes()
    with pytest.raises(ValueError, match="need a list of fuzzy variables"):
        FuzzyEncoder.from_dict({})


def test_a_partition_of_a_column_that_hardly_moves_is_refused_by_name():
    stuck = inputs()
    stuck.values[FIRST_ROW : N_BARS - 5, 1] = 20.0
    with pytest.raises(OperationFailed, match="fuzzy set 'trend' coincide at 20") as failure:
        FuzzyEncoder.fit(strategy(), stuck, ALL_ROWS)
    assert failure.value.reason == "fuzzy_set_degenerate"


def test_rows_of_the_warmup_and_inputs_of_another_strategy_are_refused():
    encoder = FuzzyEncoder.fit(strategy(), inputs(), ALL_ROWS)
    for rows in (np.arange(FIRST_ROW - 1, 50), np.arange(0)):
        with pytest.raises(ValueError, match="need fitted rows from 10 on"):
            FuzzyEncoder.fit(strategy(), inputs(), rows)
        with pytest.raises(ValueError, match="need rows from 10 on"):
            encoder.coverage(inputs(), rows)
    other = FeatureInputs(("trend", "rsi"), inputs().values, FIRST_ROW)
    with pytest.raises(ValueError, match="need the inputs of"):
        encoder.transform(other)
