"""The engine against a slow account written from the rules' text, and each rule against a case worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_account import Account, Bar, Plan, trade_fold

from ktrdr.backtest.engine import (
    BOTH,
    LONG_ONLY,
    NO_MAX_HOLDING,
    NOTHING_WANTED,
    SHORT_ONLY,
    Charges,
    Market,
    Rules,
    simulate,
)
from ktrdr.backtest.outcome import ExitReason

HOUR = 3_600_000
DIRECTIONS = {"both": BOTH, "long": LONG_ONLY, "short": SHORT_ONLY}
START = 100_000.0


def rules_of(plan):
    return Rules(
        enter=plan.enter,
        exit=plan.exit,
        direction=DIRECTIONS[plan.direction],
        exposure=plan.exposure,
        stop_loss_atr=math.inf if plan.stop_loss is None else plan.stop_loss,
        take_profit_atr=math.inf if plan.take_profit is None else plan.take_profit,
        max_holding_bars=NO_MAX_HOLDING if plan.max_holding_bars is None else plan.max_holding_bars,
        min_bars_between_trades=plan.min_bars_between_trades,
    )


def market_of(rows, probability, *, atr=1.0, opened=None, known=None, half_spread_bps=None):
    rows = np.array(rows, dtype=float)
    n_bars = len(rows)
    opened = np.arange(n_bars, dtype=np.int64) * HOUR if opened is None else opened
    return Market(
        timestamp=opened,
        known_at=opened + HOUR if known is None else known,
        open=rows[:, 0].copy(),
        high=rows[:, 1].copy(),
        low=rows[:, 2].copy(),
        close=rows[:, 3].copy(),
        probability=np.array(probability, dtype=float),
        atr=np.broadcast_to(np.asarray(atr, dtype=float), n_bars).copy(),
        half_spread_bps=np.empty(0) if half_spread_bps is None else half_spread_bps,
    )


def trade(market, plan, *, folds=None, fill_bps=0.0, wanted_exposure=NOTHING_WANTED):
    folds = np.array([[0, len(market.close)]] if folds is None else folds, dtype=np.int64)
    charges = Charges(fill_bps, plan.financing_long, plan.financing_short)
    rules = rules_of(plan)
    return simulate(market, rules, charges, folds, wanted_exposure=wanted_exposure, initial_equity=START)


def summary(simulation):
    return [
        (
            int(row["entry_bar"]),
            int(row["exit_bar"]),
            int(row["side"]),
            float(row["exit_price"]),
            ExitReason(row["reason"]).name.lower(),
        )
        for row in simulation.trades
    ]


def plan(**changes):
    return Plan(**{"enter": 0.6, "exit": 0.5, "direction": "both", "exposure": 1.0, **changes})


# ---------------------------------------------------------------- against the slow account


def random_market(rng, n_bars, *, on_a_grid):
    """Bars on a coarse grid, so that levels are met exactly, or wild enough to ruin a short."""
    if on_a_grid:
        close = np.clip(100 + np.cumsum(rng.integers(-3, 4, n_bars)), 60, 140).astype(float)
        open_ = np.clip(np.roll(close, 1) + rng.integers(-2, 3, n_bars), 60, 140)
        span = rng.integers(0, 3, (2, n_bars))
    else:
        close = 100 * np.exp(np.cumsum(rng.standard_t(2, n_bars) * 0.15))
        open_ = np.roll(close, 1) * np.exp(rng.normal(0, 0.05, n_bars))
        span = close * rng.exponential(0.1, (2, n_bars))
    high = np.maximum(open_, close) + span[0]
    low = np.maximum(np.minimum(open_, close) - span[1], 1e-6)
    opened = np.cumsum(rng.choice([HOUR, HOUR, 50 * HOUR], n_bars)).astype(np.int64)
    return market_of(
        np.stack([open_, high, low, close], axis=1),
        rng.integers(0, 21, n_bars) / 20,
        atr=rng.choice([0.0, 0.5, 1.0, 2.0, 3.0], n_bars) * (1.0 if on_a_grid else 5.0),
        opened=opened,
        known=opened + HOUR,
        half_spread_bps=rng.uniform(0, 20, n_bars) if rng.random() < 0.5 else None,
    )


def random_plan(rng):
    def maybe(value):
        return value if rng.random() < 0.6 else None

    enter = rng.choice([0.5, 0.55, 0.7])
    return plan(
        enter=float(enter),
        exit=float(min(enter, rng.choice([0.0, 0.3, 0.5, 0.55]))),
        direction=str(rng.choice(list(DIRECTIONS))),
        exposure=float(rng.choice([0.25, 1.0])),
        stop_loss=maybe(float(rng.choice([0.5, 1.0, 2.0]))),
        take_profit=maybe(float(rng.choice([1.0, 2.0, 4.0]))),
        max_holding_bars=maybe(int(rng.integers(1, 6))),
        min_bars_between_trades=int(rng.choice([0, 0, 1, 3])),
        financing_long=float(rng.choice([0.0, 0.9])),
        financing_short=float(rng.choice([0.0, -0.4])),
    )


def slow_simulation(market, chosen, folds, fill_bps, wanted):
    spread = market.half_spread_bps if len(market.half_spread_bps) else np.zeros(len(market.close))
    columns = (market.timestamp, market.known_at, market.open, market.high, market.low, market.close)
    wanted = wanted if len(wanted) else np.full(len(spread), np.inf)
    rows = zip(*columns, market.probability, market.atr, fill_bps + spread, wanted, strict=True)
    bars = [Bar(index, *(value.item() for value in row)) for index, row in enumerate(rows)]
    account = Account(cash=START)
    marks = [mark for first, stop in folds for mark in trade_fold(account, bars[first:stop], chosen)]
    return account.history, marks


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=250, deadline=None)
def test_engine_trades_like_a_slow_account_written_from_the_rules(seed, on_a_grid):
    rng = np.random.default_rng(seed)
    n_bars = int(rng.integers(2, 90))
    market = random_market(rng, n_bars, on_a_grid=on_a_grid)
    chosen = random_plan(rng)
    first, cut = sorted(rng.integers(1, n_bars, 2))
    folds = [(first, cut), (cut, n_bars)] if first < cut else [(cut, n_bars)]
    fill_bps = float(rng.choice([0.0, 3.0, 150.0]))

    wanted = rng.choice([0.1, 0.4, 0.9, np.inf], n_bars) if rng.random() < 0.5 else NOTHING_WANTED

    fast = trade(market, chosen, folds=folds, fill_bps=fill_bps, wanted_exposure=wanted)
    history, marks = slow_simulation(market, chosen, folds, fill_bps, wanted)

    assert summary(fast) == [
        (each.entry_bar, each.exit_bar, each.side, each.exit_price, each.reason) for each in history
    ]
    for name, attribute in (("costs", "paid"), ("financing", "financing"), ("net", "net"), ("quantity", "quantity")):
        expected = [getattr(each, attribute) for each in history]
        assert fast.trades[name] == pytest.approx(expected, rel=1e-9, abs=1e-6), name
    index = [mark[0] for mark in marks]
    assert fast.equity[index] == pytest.approx([mark[1] for mark in marks], rel=1e-9, abs=1e-6)
    assert fast.position[index] == pytest.approx([mark[2] for mark in marks], rel=1e-9, abs=1e-9)
    assert np.isnan(np.delete(fast.equity, index)).all()
    assert START + fast.trades["net"].sum() == pytest.approx(fast.equity[index[-1]], abs=1e-6)


def test_random_markets_exercise_every_reason_to_leave():
    reasons = set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        market = random_market(rng, 80, on_a_grid=bool(seed % 2))
        reasons |= {each[4] for each in summary(trade(market, random_plan(rng)))}
    assert reasons == {reason.name.lower() for reason in ExitReason}


# ---------------------------------------------------------------- one rule at a time

QUIET = (100.0, 100.5, 99.5, 100.0)


def test_a_decision_at_the_close_fills_at_the_next_open_and_marks_at_its_close():
    market = market_of([QUIET, (102, 104, 101, 103), (105, 106, 104, 104), QUIET], [0.6, 0.5, 0.4, 0.5])
    result = trade(market, plan(enter=0.6), folds=[(0, 4)])
    assert summary(result) == [(1, 3, 1, 100.0, "signal"), (3, 3, -1, 100.0, "fold_end")]
    units = START / 102
    assert result.equity[:3] == pytest.approx([START, units * 103, units * 104])
    assert result.position[:3] == pytest.approx([0, units, units])


@pytest.mark.parametrize(
    ("direction", "probability", "side"),
    [("both", 0.6, 1), ("both", 0.4, -1), ("long", 0.6, 1), ("long", 0.0, 0), ("short", 0.6, -1), ("short", 0.0, 0)],
)
def test_probability_is_that_of_a_rise_or_of_the_one_direction_winning(direction, probability, side):
    result = trade(market_of([QUIET] * 3, [probability, probability, 0.5]), plan(direction=direction))
    assert [each[2] for each in summary(result)] == ([side] if side else [])


@pytest.mark.parametrize("direction", ["long", "short"])
def test_a_position_is_closed_only_below_the_exit_probability(direction):
    result = trade(market_of([QUIET] * 6, [0.6, 0.5, 0.5, 0.49, 0.5, 0.5]), plan(direction=direction))
    assert [each[:2] for each in summary(result)] == [(1, 4)]


def test_exposure_is_a_fraction_of_equity_at_the_fill_and_is_not_rebalanced():
    rows = [QUIET, (100, 120, 100, 120), (120, 150, 120, 150), (150, 150, 150, 150), (100, 100, 100, 100)]
    result = trade(market_of(rows, [0.6, 0.6, 0.3, 0.5, 0.5]), plan(exposure=0.5))
    assert result.trades["quantity"] == pytest.approx([500, 0.5 * 125_000 / 150])
    assert result.position[1:3] == pytest.approx([500, 500])


def test_every_fill_pays_and_a_column_of_half_spreads_is_of_the_bar_of_the_fill():
    market = market_of(
        [QUIET, (100, 110, 100, 110), (110, 110, 110, 110), QUIET],
        [0.6, 0.45, 0.5, 0.5],
        half_spread_bps=np.array([1000.0, 2.0, 5.0, 1000.0]),
    )
    result = trade(market, plan(), fill_bps=8.0)
    entry, leave = START * 10 / 10_000, 1000 * 110 * 13 / 10_000
    assert result.equity[1] == pytest.approx(110_000 - entry)
    assert result.trades["costs"] == pytest.approx([entry + leave])
    assert result.trades["net"] == pytest.approx([10_000 - entry - leave])


def test_stops_use_the_atr_of_the_decision_bar_and_count_from_the_fill_price():
    rows = [(100, 101, 99, 100), (104, 104, 103, 103), (103, 103, 101.5, 102), QUIET]
    market = market_of(rows, [0.6, 0.6, 0.5, 0.5], atr=[1.0, 50.0, 50.0, 50.0])
    assert summary(trade(market, plan(stop_loss=2.0))) == [(1, 2, 1, 102.0, "stop")]


@pytest.mark.parametrize(
    ("probability", "bar", "price", "reason"),
    [
        (0.6, (100, 101, 98, 99), 98.0, "stop"),
        (0.6, (100, 104, 99, 103), 104.0, "target"),
        (0.6, (100, 104, 98, 103), 98.0, "stop"),
        (0.4, (100, 102, 99, 101), 102.0, "stop"),
        (0.4, (100, 101, 96, 97), 96.0, "target"),
        (0.4, (100, 102, 96, 97), 102.0, "stop"),
    ],
)
def test_stops_live_from_the_entry_bar_and_the_stop_comes_before_the_target(probability, bar, price, reason):
    market = market_of([QUIET, bar, QUIET], [probability, 0.5, 0.5])
    side = 1 if probability > 0.5 else -1
    assert summary(trade(market, plan(stop_loss=2.0, take_profit=4.0))) == [(1, 1, side, price, reason)]


@pytest.mark.parametrize(
    ("probability", "gap", "reason"),
    [(0.6, 90.0, "stop"), (0.6, 110.0, "target"), (0.4, 110.0, "stop"), (0.4, 90.0, "target")],
)
def test_a_gap_through_a_level_fills_at_the_open(probability, gap, reason):
    # The gapping bar also touches the other level later: the open was first.
    market = market_of([QUIET, QUIET, (gap, 111, 89, 100), QUIET], [probability, 0.5, 0.5, 0.5])
    side = 1 if probability > 0.5 else -1
    result = trade(market, plan(stop_loss=2.0, take_profit=4.0))
    assert summary(result) == [(1, 2, side, gap, reason)]
    assert result.trades["bars_held"].tolist() == [1]


@pytest.mark.parametrize(("probability", "reason"), [(0.45, "signal"), (0.55, "max_holding")])
def test_a_fill_at_the_open_comes_before_the_stops_of_that_bar(probability, reason):
    market = market_of([QUIET, QUIET, (99, 99, 90, 95), QUIET], [0.6, probability, 0.5, 0.5])
    assert summary(trade(market, plan(stop_loss=2.0, max_holding_bars=1))) == [(1, 2, 1, 99.0, reason)]


def test_a_position_leaves_at_the_open_after_its_maximum_holding():
    result = trade(market_of([QUIET] * 8, [0.6] + [0.55] * 7), plan(max_holding_bars=3))
    assert summary(result) == [(1, 4, 1, 100.0, "max_holding")]
    assert result.trades["bars_held"].tolist() == [3]


def test_a_reversal_fills_both_orders_at_one_open_and_a_same_side_entry_waits_for_a_close():
    signal = trade(market_of([QUIET] * 5, [0.6, 0.4, 0.5, 0.5, 0.5]), plan())
    assert [each[:3] for each in summary(signal)] == [(1, 2, 1), (2, 4, -1)]
    held_long_enough = trade(market_of([QUIET] * 6, [0.6] * 6), plan(max_holding_bars=2))
    assert [each[:3] for each in summary(held_long_enough)] == [(1, 3, 1), (4, 5, 1)]


def test_an_opposite_signal_that_is_no_exit_leaves_the_position_alone():
    result = trade(market_of([QUIET] * 5, [0.6, 0.4, 0.4, 0.4, 0.4]), plan(exit=0.3))
    assert [each[:3] for each in summary(result)] == [(1, 4, 1)]


@pytest.mark.parametrize(("bars_between", "next_entry"), [(0, 3), (1, 4), (3, 6)])
def test_full_bars_lie_between_an_exit_and_the_next_entry(bars_between, next_entry):
    rows = [QUIET, QUIET, (100, 100, 97, 100), *[QUIET] * 6]  # stopped within bar 2
    result = trade(market_of(rows, [0.6] * 9), plan(stop_loss=2.0, min_bars_between_trades=bars_between))
    assert [each[0] for each in summary(result)] == [1, next_entry]


def test_a_pause_between_trades_forbids_the_reversal():
    result = trade(market_of([QUIET] * 6, [0.6, 0.4, 0.4, 0.4, 0.5, 0.5]), plan(min_bars_between_trades=1))
    assert [each[:3] for each in summary(result)] == [(1, 2, 1), (4, 5, -1)]


def test_nothing_but_equity_is_carried_over_a_fold_end():
    market = market_of([QUIET, QUIET, (100, 110, 100, 110), QUIET, QUIET, QUIET], [0.6, 0.6, 0.6, 0.6, 0.6, 0.6])
    result = trade(market, plan(min_bars_between_trades=5), folds=[(0, 3), (3, 6)], fill_bps=10.0)
    # Closed at the close of bar 2 with costs; the entry decided there is not taken; the pause starts anew.
    assert summary(result) == [(1, 2, 1, 110.0, "fold_end"), (4, 5, 1, 100.0, "fold_end")]
    assert result.trades["costs"][0] == pytest.approx((100_000 + 110_000) * 10 / 10_000)
    assert result.trades["entry_equity"][1] == pytest.approx(START + result.trades["net"][0])
    assert result.position[2] == 0.0


def test_equity_at_or_below_zero_closes_the_position_and_ends_all_trading():
    rows = [QUIET, (100, 100, 100, 100), (150, 230, 150, 220), *[QUIET] * 5]
    result = trade(market_of(rows, [0.4] * 8), plan(), folds=[(0, 4), (4, 8)])
    assert summary(result) == [(1, 2, -1, 220.0, "ruin")]
    assert result.equity[2:] == pytest.approx(np.full(6, -20_000.0))


def test_a_fill_that_leaves_nothing_ends_all_trading():
    rows = [QUIET, (100, 100, 100, 100), (210, 210, 150, 150), *[QUIET] * 3]
    result = trade(market_of(rows, [0.4] * 6), plan(stop_loss=1.0))
    assert summary(result) == [(1, 2, -1, 210.0, "stop")]
    assert result.equity[-1] == pytest.approx(-10_000.0)


def test_financing_is_charged_on_the_last_value_over_the_calendar_time_held():
    day = 24 * HOUR
    opened = np.array([0, day, 4 * day, 5 * day], dtype=np.int64)  # a weekend after bar 1
    market = market_of(
        [QUIET, (100, 110, 100, 110), (120, 120, 120, 120), QUIET],
        [0.6, 0.55, 0.4, 0.5],
        opened=opened,
        known=opened + day // 2,
    )
    result = trade(market, plan(financing_long=0.36525, direction="long"))
    # Fill at day 1 (value 100k), known at 1.5 (110k), known at 4.5 (120k), out at the open of day 5.
    expected = (100_000 * 0.5 + 110_000 * 3 + 120_000 * 0.5) * 0.001
    assert result.trades["financing"] == pytest.approx([expected])
    assert result.equity[1] == pytest.approx(110_000 - 50)
    assert result.trades["net"] == pytest.approx([0 - expected])


def test_bars_need_no_times_where_holding_costs_nothing_and_are_refused_without_where_it_costs():
    market = random_market(np.random.default_rng(3), 60, on_a_grid=True)
    untimed = market._replace(timestamp=np.empty(0, np.int64), known_at=np.empty(0, np.int64))
    chosen = plan(stop_loss=1.0, take_profit=2.0)
    ours, theirs = trade(untimed, chosen), trade(market, chosen)
    assert len(ours.trades) > 5
    assert ours.trades.tolist() == theirs.trades.tolist()
    assert ours.equity.tolist() == theirs.equity.tolist()
    with pytest.raises(ValueError, match="need the times"):
        trade(untimed, plan(financing_short=0.1))
