"""One account over several symbols is the sum of each alone, and of twins it is the one."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from test_backtest_run import COSTS, HOUR, signal, specification, weekday_bars

from ktrdr.backtest.artifacts import equity_frame, trades_frame
from ktrdr.backtest.engine import simulate
from ktrdr.backtest.engine_inputs import prepare_engine
from ktrdr.backtest.market_beta import FittedSeries, measure_market_betas, measure_portfolio_betas
from ktrdr.backtest.outcome import INITIAL_EQUITY, ExitReason
from ktrdr.backtest.portfolio import TradedSeries
from ktrdr.backtest.run import run_backtest, run_portfolio
from ktrdr.market.costs import CostModel

FREE = CostModel(commission_bps=0, half_spread_bps=0, slippage_bps=0, financing_long=0, financing_short=0)


def named(bars, symbol, **columns):
    return replace(bars, symbol=symbol, snapshot=f"{symbol}-bars", **columns)


def around_the_clock(n_bars=2400):
    """Bars of every hour, weekends too, which begin earlier than those of weekdays and end earlier."""
    bars = weekday_bars(n_bars, seed=8)
    opened = bars.timestamp[0] - 50 * HOUR + HOUR * np.arange(n_bars)
    day = (opened // (24 * HOUR)).astype(np.int32)
    return named(bars, "COIN", timestamp=opened, known_at=opened + HOUR, session_day=day)


def by_date(bars, edges, seed):
    probability, _ = signal(bars, seed)
    fold = np.clip(np.searchsorted(edges, bars.timestamp, side="right"), 0, len(edges)).astype(np.int8)
    fold[fold == len(edges)] = 0
    probability = np.where(fold > 0, np.nan_to_num(probability, nan=0.5), np.nan)
    return probability, fold


def two_calendars():
    pair, coin = named(weekday_bars(), "PAIR"), around_the_clock()
    edges = np.linspace(pair.timestamp[300], coin.timestamp[-1] + 1, 6).astype(np.int64)
    dear = CostModel(commission_bps=5, half_spread_bps=2, slippage_bps=2, financing_long=0.1, financing_short=0.0)
    return [
        TradedSeries(pair, *by_date(pair, edges, 4), COSTS),
        TradedSeries(coin, *by_date(coin, edges, 5), dear),
    ]


def test_the_account_is_the_sum_of_its_symbols_each_alone_at_every_time_of_any():
    series = two_calendars()
    outcome = run_portfolio(specification(), series, seed=3)
    curve, trades = outcome.equity, outcome.trades
    marks, alone = {}, []
    for each in series:
        inputs = prepare_engine(specification(), each.bars, each.probability, each.fold, each.costs)
        half = INITIAL_EQUITY / 2
        alone.append(simulate(inputs.market, inputs.rules, inputs.charges, inputs.folds, initial_equity=half))
        for bar in inputs.window:
            marks.setdefault(int(each.bars.timestamp[bar]), {})[each.bars.symbol] = float(alone[-1].equity[bar])
    known, expected = {"PAIR": INITIAL_EQUITY / 2, "COIN": INITIAL_EQUITY / 2}, []
    for opened in sorted(marks):
        known |= marks[opened]
        expected.append(sum(known.values()))
    assert curve.timestamp.tolist() == sorted(marks)
    assert curve.equity == pytest.approx(np.array(expected), rel=1e-12)
    assert (np.diff(curve.session_day) >= 0).all()
    assert round(trades.net.sum(), 2) == round(curve.equity[-1] - INITIAL_EQUITY, 2)
    assert len(trades) == sum(len(each.trades) for each in alone) > 100
    assert (np.diff(trades.entry_time) >= 0).all()

    exposure = turnover = 0.0
    account = dict(zip((curve.known_at).tolist(), curve.equity.tolist(), strict=True))
    moments = np.array(sorted(account))
    for row in trades_frame(trades).iter_rows(named=True):
        opened = int(row["entry_time"].timestamp() * 1000)
        before = np.searchsorted(moments, opened, side="right") - 1
        # Its own share may have paid since for a position that it left at this very open.
        assert row["account_equity"] == pytest.approx(account[int(moments[before])] if before >= 0 else 1e5, rel=2e-3)
        invested = row["quantity"] * row["entry_price"] / row["account_equity"]
        n_bars = int((series[row["symbol"] == "COIN"].fold > 0).sum())
        exposure += invested * row["bars_held"] / n_bars
        turnover += invested + row["quantity"] * row["exit_price"] / row["account_equity"]
    metrics = outcome.report.metrics
    assert metrics.exposure == pytest.approx(exposure)
    assert metrics.turnover == pytest.approx(turnover / outcome.report.window.years)
    assert metrics.exposure < 1
    assert [each.symbol for each in outcome.report.symbols] == ["COIN", "PAIR"]
    assert sum(each.net for each in outcome.report.symbols) == pytest.approx(metrics.total_return)
    assert outcome.report.symbols[0].costs.commission_bps == 5
    assert outcome.report.costs.commission_bps == pytest.approx(2.6)
    frame = equity_frame(outcome)
    held = frame.filter(pl.col("position_COIN") != 0).height + frame.filter(pl.col("position_PAIR") != 0).height
    assert held > 100
    again = run_portfolio(specification(), series[::-1], seed=3)
    assert again.report == outcome.report
    assert equity_frame(again).equals(frame)


def test_twins_with_half_of_the_account_each_are_the_one_with_all_of_it():
    bars = weekday_bars()
    probability, fold = signal(bars)
    one = run_backtest(specification(), bars, probability, fold, COSTS, seed=2)
    twins = [TradedSeries(named(bars, symbol), probability, fold, COSTS) for symbol in ("ONE", "TWO")]
    both = run_portfolio(specification(), twins, seed=2)
    assert both.equity.equity == pytest.approx(one.equity.equity, rel=1e-12)
    expected, found = one.report.metrics.model_dump(), both.report.metrics.model_dump()
    assert found.pop("n_trades") == 2 * expected.pop("n_trades")
    for name, value in expected.items():  # a twin that turns at an open is seen by the other at its last close
        assert found[name] == pytest.approx(value, rel=1e-4 if name in ("exposure", "turnover") else 1e-9), name
    expected, found = one.report.baselines.model_dump(), both.report.baselines.model_dump()
    for part in ("buy_and_hold", "random_entry"):  # turned together, or the draws would be calmer than the one's
        assert found[part] == pytest.approx(expected[part], rel=1e-9)
    fitted = np.where(np.arange(len(bars)) < 900, np.nan_to_num(probability, nan=0.6), np.nan)
    betas = measure_portfolio_betas(specification(), [FittedSeries(each.bars, [fitted], COSTS) for each in twins])
    assert betas == pytest.approx(measure_market_betas(specification(), bars, [fitted], COSTS))


def test_the_ruin_of_a_share_ends_that_share_and_of_the_whole_everything():
    bars = weekday_bars(600)
    _, fold = signal(bars)
    calm, jump = named(bars, "CALM"), 350
    flat = np.where(np.arange(600) < jump, 100.0, 150.0)  # a short loses half of its share
    ruinous = {150.0: 1.5, 250.0: 2.5, 500.0: 5.0}
    for level in ruinous:
        price = np.where(flat > 100, level, flat)
        wild = named(bars, "WILD", open=price, high=price * 1.0001, low=price * 0.9999, close=price)
        short = np.where(fold > 0, 0.1, np.nan)
        series = [TradedSeries(each, short, fold, FREE) for each in (calm, wild)]
        outcome = run_portfolio(specification(risk={}), series)
        curve, trades = outcome.equity, outcome.trades
        assert round(trades.net.sum(), 2) == round(curve.equity[-1] - INITIAL_EQUITY, 2)
        late = trades.entry_time > bars.timestamp[jump]
        row = int(np.searchsorted(curve.timestamp, bars.timestamp[jump]))
        if level == 150.0:
            assert set(trades.symbol[late]) == {"CALM", "WILD"}
        elif level == 250.0:  # gone and in debt, but the whole still has something
            assert set(trades.symbol[late]) == {"CALM"}
            assert curve.equity.min() > 0
        else:
            assert not late.any()
            assert (curve.equity[row:] == curve.equity[row]).all()
            assert curve.equity[row] < 0
            last = trades.exit_time == bars.known_at[jump]
            assert set(trades.symbol[last]) == {"CALM", "WILD"}
            assert set(trades.reason[last]) == {ExitReason.RUIN}
            assert outcome.report.metrics.max_drawdown > 1
