from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktrdr.indicators.compute import average_true_range
from ktrdr.labels.label import Labels, make_labels
from ktrdr.market.bars import Bars
from ktrdr.market.timeframe import Timeframe
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.strategy.validation import parse_strategy

QUIET = 150  # bars before the case starts, so that ATR has settled
BARRIERS = "{{type: triple_barrier, horizon: {}, take_profit: {}, stop_loss: {}}}"


def strategy(labels: str, direction: str = "both") -> StrategySpecification:
    return parse_strategy(f"""
schema: 1
name: for_labels
hypothesis: Labels do not depend on what the strategy looks at.
market: {{symbols: [TEST], timeframe: 1h}}
indicators: {{rsi: {{type: RSI}}}}
fuzzy_sets: {{rsi: {{input: rsi, partition: [low, high]}}}}
labels: {labels}
decision: {{direction: {direction}}}
""")


def bars_from(columns: np.ndarray) -> Bars:
    """Make bars of open, high, low, close (n_bars, 4)."""
    n = len(columns)
    timestamp = np.arange(n, dtype=np.int64) * 3_600_000
    opens, high, low, close = (np.ascontiguousarray(column) for column in columns.T)
    return Bars(
        symbol="TEST", timeframe=Timeframe.H1, snapshot="0" * 64, timestamp=timestamp, known_at=timestamp + 3_600_000,
        session_day=(timestamp // 86_400_000).astype(np.int32), open=opens, high=high, low=low, close=close,
        volume=np.full(n, np.nan),
    )  # fmt: skip


def random_walk(seed: int, n_bars: int = 500, *, tick: float = 0.0) -> Bars:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, n_bars)))
    opens = np.r_[100, close[:-1]] * np.exp(rng.standard_t(2, n_bars) * 0.003)
    high = np.maximum(opens, close) * np.exp(np.abs(rng.normal(0, 0.006, n_bars)))
    low = np.minimum(opens, close) * np.exp(-np.abs(rng.normal(0, 0.006, n_bars)))
    columns = np.stack([opens, high, low, close], axis=1)
    return bars_from(np.round(columns / tick) * tick if tick else columns)


def case(*bars: tuple[float, float, float, float]) -> Bars:
    """Quiet bars of range 2 around 100 (ATR exactly 2), then the bars of the case; the decision is bar QUIET-1."""
    return bars_from(np.array([(100.0, 101.0, 99.0, 100.0)] * QUIET + list(bars)))


def label_of_case(bars: Bars, labels: str, direction: str = "both") -> tuple[int, int]:
    """The label of the decision bar, and how many bars it looked ahead (negative: none)."""
    made = make_labels(strategy(labels, direction), bars)
    return int(made.value[QUIET - 1]), max(int(made.end[QUIET - 1]) - (QUIET - 1), -1)


FLAT = (100.0, 100.5, 99.5, 100.0)
ONE_ATR = BARRIERS.format(3, 1, 1)  # 98 and 102 around an entry at 100


@pytest.mark.parametrize(
    ("bars", "expected"),
    [
        ([FLAT, (100, 102, 99, 101), FLAT], (1, 2)),  # touching is enough
        ([FLAT, (100, 101, 98, 99), FLAT], (0, 2)),
        ([(100, 102.5, 99, 101), FLAT, FLAT], (1, 1)),  # the entry bar counts
        ([FLAT, (100, 103, 97, 102), FLAT], (0, 2)),  # both in one bar: the stop
        ([FLAT, (103, 103, 97, 97), FLAT], (1, 2)),  # a gap beyond the target counts at the open
        ([FLAT, (97, 103, 97, 103), FLAT], (0, 2)),
        ([FLAT, (102, 102, 97, 97), FLAT], (1, 2)),  # an open exactly on the barrier
        ([FLAT, FLAT, (100, 101, 99, 100.1)], (1, 3)),  # timeout: the sign of the move
        ([FLAT, FLAT, (100, 101, 99, 99.9)], (0, 3)),
        ([FLAT, FLAT, FLAT], (-1, -1)),  # no move, no label
        ([FLAT, (100, 102, 99, 101)], (-1, -1)),  # met in time, but the window reaches past the last bar
        ([(110, 110.5, 109.5, 110), FLAT, FLAT], (0, 2)),  # barriers stand around the open of the next bar: 108, 112
        ([(110, 110.5, 109.5, 110), (110, 113, 109, 112), FLAT], (1, 2)),
    ],
)
def test_triple_barrier_by_hand(bars, expected: tuple[int, int]):
    assert label_of_case(case(*bars), ONE_ATR) == expected


UP_AT_LAST, DOWN_AT_LAST = (100.0, 101.0, 99.5, 101.0), (100.0, 100.5, 99.0, 99.0)


@pytest.mark.parametrize(
    ("bars", "long", "short"),
    [  # long: target 104, stop 97; short: target 96, stop 103
        ([FLAT, (100, 103, 99.5, 101), DOWN_AT_LAST], (0, 3), (0, 2)),
        ([FLAT, (100, 104, 99, 101), FLAT], (1, 2), (0, 2)),
        ([FLAT, (100, 100.5, 97, 98), UP_AT_LAST], (0, 2), (0, 3)),
        ([FLAT, (100, 100.5, 96, 98), FLAT], (0, 2), (1, 2)),
        ([FLAT, (100, 104, 96, 98), FLAT], (0, 2), (0, 2)),  # both in one bar: either trade is stopped
        ([FLAT, (105, 105, 95, 98), FLAT], (1, 2), (0, 2)),  # a gap beyond the long target, the short's stop
        ([FLAT, (96, 104, 96, 98), FLAT], (0, 2), (1, 2)),  # an open exactly on the short's target comes first
        ([FLAT, FLAT, UP_AT_LAST], (1, 3), (0, 3)),
        ([FLAT, FLAT, DOWN_AT_LAST], (0, 3), (1, 3)),
        ([FLAT, FLAT, FLAT], (-1, -1), (-1, -1)),
    ],
)
def test_with_one_direction_the_label_is_whether_that_trade_wins(bars, long, short):
    asymmetric = BARRIERS.format(3, 2, 1.5)
    assert label_of_case(case(*bars), asymmetric, "long") == long
    assert label_of_case(case(*bars), asymmetric, "short") == short


def oracle(bars: Bars, t: int, horizon: int, up: float, down: float, both: int) -> tuple[int, int]:
    """The label of bar t for one who asks about the price, in plain words; (-1, -1) for none."""
    atr = average_true_range(bars.prices())[t]
    if t + horizon >= len(bars) or not atr > 0:
        return -1, -1
    entry = bars.open[t + 1]
    for i in range(t + 1, t + horizon + 1):
        if bars.open[i] >= entry + up * atr:
            return 1, i
        if bars.open[i] <= entry - down * atr:
            return 0, i
        above, below = bars.high[i] >= entry + up * atr, bars.low[i] <= entry - down * atr
        if above or below:
            return (both if above and below else int(above)), i
    move = bars.close[t + horizon] - entry
    return (-1, -1) if move == 0 else (int(move > 0), t + horizon)


@pytest.mark.parametrize(("direction", "profit", "loss"), [("both", 1.5, 1.5), ("long", 2.0, 1.0), ("short", 0.5, 1.5)])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), horizon=st.integers(1, 30), tick=st.sampled_from([0.0, 1.0]))
def test_triple_barrier_agrees_with_plain_python(direction: str, profit: float, loss: float, seed, horizon, tick):
    bars = random_walk(seed, 260, tick=tick)
    made = make_labels(strategy(BARRIERS.format(horizon, profit, loss), direction), bars)
    for t in range(len(bars)):
        if direction == "short":
            value, end = oracle(bars, t, horizon, loss, profit, both=1)
            value = value if value < 0 else 1 - value
        else:
            value, end = oracle(bars, t, horizon, profit, loss, both=0)
        assert (made.value[t], made.end[t]) == (value, end)
    assert set(made.value.tolist()) >= {0, 1}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), horizon=st.integers(1, 30), tick=st.sampled_from([0.0, 1.0]))
def test_forward_return_is_the_sign_from_the_next_open_to_the_last_close(seed, horizon, tick):
    bars = random_walk(seed, 200, tick=tick)
    up = make_labels(strategy(f"{{type: forward_return, horizon: {horizon}}}"), bars)
    down = make_labels(strategy(f"{{type: forward_return, horizon: {horizon}}}", "short"), bars)
    for t in range(len(bars)):
        move = bars.close[t + horizon] - bars.open[t + 1] if t + horizon < len(bars) else 0.0
        assert up.value[t] == (-1 if move == 0 else int(move > 0))
        assert down.value[t] == (-1 if move == 0 else int(move < 0))
        assert up.end[t] == down.end[t] == (-1 if move == 0 else t + horizon)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), threshold=st.floats(0.1, 12), tick=st.sampled_from([0.0, 1.0]))
def test_first_move_is_the_way_a_close_first_leaves_the_entry_by_so_many_ranges(seed, threshold, tick):
    bars = random_walk(seed, 300, tick=tick)
    atr = average_true_range(bars.prices())
    labels = f"{{type: first_move, threshold: {threshold!r}}}"
    up, down = (make_labels(strategy(labels, direction), bars) for direction in ("both", "short"))
    for t in range(len(bars)):
        value, end = -1, -1
        for i in range(t + 1, len(bars)):
            if atr[t] > 0 and abs(bars.close[i] - bars.open[t + 1]) >= threshold * atr[t]:
                value, end = int(bars.close[i] > bars.open[t + 1]), i
                break
        assert (up.value[t], up.end[t]) == (value, end)
        assert (down.value[t], down.end[t]) == (value if value < 0 else 1 - value, end)


RECIPES = [
    ("{type: first_move, threshold: 3}", "both"),
    (BARRIERS.format(24, 1.5, 1.5), "both"),
    (BARRIERS.format(12, 1, 2), "short"),
    ("{type: forward_return, horizon: 10}", "long"),
]


@pytest.mark.parametrize(("labels", "direction"), RECIPES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), data=st.data())
def test_a_label_knows_nothing_after_its_end(labels: str, direction: str, seed: int, data: st.DataObject):
    bars, other = random_walk(seed), random_walk(seed + 1)
    specification = strategy(labels, direction)
    made = make_labels(specification, bars)
    t = data.draw(st.sampled_from(np.flatnonzero(made.value >= 0).tolist()))
    end = int(made.end[t])
    assert t < end <= t + getattr(specification.labels, "horizon", len(bars))

    columns = {
        name: np.r_[getattr(bars, name)[: end + 1], getattr(other, name)[end + 1 :]]
        for name in ("open", "high", "low", "close")
    }
    changed = make_labels(specification, replace(bars, **columns))
    assert (changed.value[t], changed.end[t]) == (made.value[t], made.end[t])


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.1, 10))
def test_a_label_enters_at_the_next_open_and_ignores_the_prices_before_it(seed: int, scale: float):
    """Moving all bars up to t, with ranges and hence ATR kept, is a gap before the entry: it must not count."""
    bars = random_walk(seed, tick=0.25)
    t = 300
    columns = {name: getattr(bars, name).copy() for name in ("open", "high", "low", "close")}
    for values in columns.values():
        values[: t + 1] += round(scale * 4) * 16.0
    specification = strategy(BARRIERS.format(24, 1.5, 1.5))
    before, after = make_labels(specification, bars), make_labels(specification, replace(bars, **columns))
    assert (before.value[t], before.end[t]) == (after.value[t], after.end[t])


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_short_trade_on_mirrored_prices_is_the_long_trade(seed: int):
    bars = random_walk(seed, tick=0.25)
    mirrored = replace(bars, open=512 - bars.open, high=512 - bars.low, low=512 - bars.high, close=512 - bars.close)
    for recipe in (BARRIERS.format(20, 2, 1), "{type: forward_return, horizon: 5}"):
        long, short = make_labels(strategy(recipe, "long"), bars), make_labels(strategy(recipe, "short"), mirrored)
        np.testing.assert_array_equal(long.value, short.value)
        np.testing.assert_array_equal(long.end, short.end)


def test_no_bar_is_labelled_before_the_range_is_known_or_while_it_vanishes():
    made = make_labels(strategy(ONE_ATR), random_walk(1))
    settled = np.flatnonzero(np.isfinite(average_true_range(random_walk(1).prices())))[0]
    assert (made.value[:settled] == -1).all()
    assert made.value[settled] >= 0
    halted = np.full((1500, 4), 100.0)
    halted[0] = (100, 101, 99, 100)  # ATR decays from here, and is above 0 yet too small to move the price
    assert (make_labels(strategy(ONE_ATR), bars_from(halted)).value == -1).all()


def test_past_momentum_does_not_predict_labels_on_a_random_walk():
    rng = np.random.default_rng(3)
    steps = rng.normal(0, 0.01, (40_000, 4))
    path = 100 * np.exp(np.cumsum(steps.ravel()).reshape(-1, 4))
    opens = np.r_[100.0, path[:-1, 3]]
    within = np.column_stack([opens, path])
    bars = bars_from(np.column_stack([opens, within.max(axis=1), within.min(axis=1), path[:, 3]]))
    momentum = np.r_[np.zeros(20), bars.close[20:] - bars.close[:-20]] > 0
    for labels, direction in [
        (BARRIERS.format(24, 1.5, 1.5), "both"),
        ("{type: forward_return, horizon: 24}", "both"),
        ("{type: first_move, threshold: 3}", "both"),
    ]:
        made: Labels = make_labels(strategy(labels, direction), bars)
        labelled = made.value >= 0
        # Overlapping windows of 24 bars leave about 40,000 / 24 independent rows: three standard errors are 0.037.
        assert np.mean(momentum[labelled] == made.value[labelled]) == pytest.approx(0.5, abs=0.037)
        assert made.value[labelled].mean() == pytest.approx(0.5, abs=0.037)
