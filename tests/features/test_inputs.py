from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktrdr.errors import OperationFailed
from ktrdr.features.encoder import FuzzyEncoder
from ktrdr.features.inputs import compute_inputs
from ktrdr.indicators.compute import compute_indicator, warmup_bars
from ktrdr.market.bars import Bars
from ktrdr.market.timeframe import Timeframe
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.strategy.validation import parse_strategy

STRATEGY = """
schema: 1
name: for_features
hypothesis: Every way to write a fuzzy set, on indicators of every unit.
market: {symbols: [TEST], timeframe: 1h}
indicators:
  rsi: {type: RSI, timeperiod: 14}
  adx: {type: ADX, timeperiod: 7}
  bands: {type: BBANDS, timeperiod: 20}
  slow: {type: EMA, timeperiod: 40}
  macd: {type: MACD}
fuzzy_sets:
  trend: {input: adx, partition: [weak, fair, strong]}
  rsi: {input: rsi, sets: {oversold: {shape: trapezoid, points: [0, 0, 25, 40]},
                           neutral: {shape: gaussian, points: [50, 10]},
                           overbought: {shape: triangle, points: [60, 80, 100]}}}
  place: {input: bands.lowerband, relative_to: close, partition: [far, near]}
  squeeze: {input: bands.upperband, relative_to: bands.lowerband, partition: [narrow, wide]}
  drift: {input: slow, relative_to: open, partition: [below, above]}
  momentum: {input: macd.macdhist, partition: [down, up]}
labels: {type: forward_return, horizon: 5}
"""


def with_indicator(indicator: str) -> StrategySpecification:
    return parse_strategy(f"""
schema: 1
name: for_features
hypothesis: One indicator alone, as given by the test.
market: {{symbols: [TEST], timeframe: 1h}}
indicators: {{only: {indicator}}}
fuzzy_sets: {{only: {{input: only, partition: [low, high]}}}}
labels: {{type: forward_return, horizon: 5}}
""")


def random_walk(seed: int, n_bars: int = 700) -> Bars:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, n_bars)))
    opens = np.r_[100, close[:-1]] * np.exp(rng.normal(0, 0.002, n_bars))
    timestamp = np.arange(n_bars, dtype=np.int64) * 3_600_000
    return Bars(
        symbol="TEST", timeframe=Timeframe.H1, snapshot="0" * 64, timestamp=timestamp, known_at=timestamp + 3_600_000,
        session_day=(timestamp // 86_400_000).astype(np.int32), open=opens, close=close,
        high=np.maximum(opens, close) * 1.003, low=np.minimum(opens, close) * 0.997, volume=np.full(n_bars, np.nan),
    )  # fmt: skip


def disturbed(bars: Bars, stop: int, seed: int) -> Bars:
    """The same bars up to `stop`, and from there bars of another walk at ten times the price."""
    other = random_walk(seed, len(bars))
    columns = {
        name: np.r_[getattr(bars, name)[:stop], 10 * getattr(other, name)[stop:]]
        for name in ("open", "high", "low", "close")
    }
    return replace(bars, **columns)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), stop=st.integers(400, 699))
def test_features_stay_bit_identical_when_the_future_is_cut_off_or_replaced(seed: int, stop: int):
    specification = parse_strategy(STRATEGY)
    whole = random_walk(seed)
    rows = np.arange(300, 390)
    inputs = compute_inputs(specification, whole)
    features = FuzzyEncoder.fit(specification, inputs, rows).transform(inputs)

    for future in (whole.slice(0, stop), disturbed(whole, stop, seed + 1)):
        other = compute_inputs(specification, future)
        assert other.first_row == inputs.first_row
        assert other.values[:stop].tobytes() == inputs.values[:stop].tobytes()
        other_features = FuzzyEncoder.fit(specification, other, rows).transform(other)
        assert other_features[:stop].tobytes() == features[:stop].tobytes()


def test_inputs_are_the_indicators_named_and_their_ratio_to_the_reference_less_one():
    bars = random_walk(1)
    prices = bars.prices()
    bands = compute_indicator("BBANDS", {"timeperiod": 20}, prices)
    columns = {
        "trend": compute_indicator("ADX", {"timeperiod": 7}, prices)["real"],
        "rsi": compute_indicator("RSI", {}, prices)["real"],
        "place": (bands["lowerband"] - bars.close) / bars.close,
        "squeeze": (bands["upperband"] - bands["lowerband"]) / bands["lowerband"],
        "drift": (compute_indicator("EMA", {"timeperiod": 40}, prices)["real"] - bars.open) / bars.open,
        "momentum": compute_indicator("MACD", {}, prices)["macdhist"],
    }

    inputs = compute_inputs(parse_strategy(STRATEGY), bars)

    assert inputs.names == tuple(columns)
    np.testing.assert_allclose(
        inputs.values[inputs.first_row :],
        np.stack(list(columns.values()), axis=1)[inputs.first_row :],
        rtol=0,
        atol=1e-12,
    )


def test_rows_before_the_slowest_indicator_has_settled_are_empty_and_all_others_are_full():
    inputs = compute_inputs(parse_strategy(STRATEGY), random_walk(2))
    assert inputs.first_row == warmup_bars("EMA", {"timeperiod": 40})
    assert np.isnan(inputs.values[: inputs.first_row]).all()
    assert np.isfinite(inputs.values[inputs.first_row :]).all()


def test_one_bar_more_than_the_warmup_is_enough_and_one_less_is_too_few():
    specification = parse_strategy(STRATEGY)
    needed = warmup_bars("EMA", {"timeperiod": 40}) + 1
    assert np.isfinite(compute_inputs(specification, random_walk(3, needed)).values[-1]).all()
    with pytest.raises(OperationFailed, match=f"need {needed - 1} bars to settle .* has {needed - 1}") as failure:
        compute_inputs(specification, random_walk(3, needed - 1))
    assert failure.value.reason == "too_few_bars"


def test_an_indicator_of_volume_is_refused_by_name_where_the_series_has_none():
    with pytest.raises(OperationFailed, match=r"indicator 'only' \(MFI\) needs volume, which TEST 1h") as failure:
        compute_inputs(with_indicator("{type: MFI}"), random_walk(4))
    assert failure.value.reason == "no_volume"
    with_volume = replace(random_walk(4), volume=np.random.default_rng(4).lognormal(3, 1, 700))
    assert np.isfinite(compute_inputs(with_indicator("{type: MFI}"), with_volume).values[14:]).all()


def test_an_indicator_that_breaks_after_its_warmup_is_an_error_and_never_a_zero():
    idle = replace(random_walk(5), volume=np.r_[np.ones(300), np.zeros(400)])
    with pytest.raises(OperationFailed, match="CMF") as failure:
        compute_inputs(with_indicator("{type: CMF}"), idle)
    assert failure.value.reason == "indicator_not_finite"
