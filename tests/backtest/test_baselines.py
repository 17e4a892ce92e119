"""Holding the market by hand, and random entries whose p-value is uniform without skill."""

import numpy as np
import pytest
import scipy.stats
from test_backtest_run import COSTS, signal, specification, weekday_bars

from ktrdr.backtest.baselines import trade_at_random_times
from ktrdr.backtest.engine import simulate, simulate_turned
from ktrdr.backtest.engine_inputs import prepare_engine
from ktrdr.backtest.market_beta import measure_market_betas
from ktrdr.backtest.outcome import INITIAL_EQUITY
from ktrdr.backtest.portfolio import TradedSeries, prepare_portfolio
from ktrdr.backtest.run import run_backtest
from ktrdr.market.costs import CostModel

FREE = CostModel(commission_bps=0, half_spread_bps=0, slippage_bps=0, financing_long=0, financing_short=0)


def test_buy_and_hold_is_what_a_holder_would_work_out_by_hand():
    bars = weekday_bars()
    probability, fold = signal(bars)
    costs = CostModel(commission_bps=0.2, half_spread_bps=0.5, slippage_bps=0.5, financing_long=0, financing_short=0)
    outcome = run_backtest(specification(), bars, probability, fold, costs)
    equity = 1.0
    for number in range(1, 6):
        first, last = np.flatnonzero(fold == number)[[1, -1]]  # decided at the block's first close
        growth = bars.close[last] / bars.open[first]
        equity *= 1 + (growth - 1) - 1.2e-4 * (1 + growth)
    held = outcome.report.baselines.buy_and_hold
    assert held.total_return == pytest.approx(equity - 1, rel=1e-9)
    assert outcome.buy_and_hold.equity[-1] == pytest.approx(INITIAL_EQUITY * equity)
    assert (outcome.report.window.n_session_days, held.max_drawdown > 0) == (
        len(outcome.buy_and_hold.daily_returns()),
        True,
    )


def test_a_turned_signal_trades_as_the_engine_trades_it():
    bars = weekday_bars(900)
    probability, fold = signal(bars)
    inputs = prepare_engine(specification(), bars, probability, fold, COSTS)
    offsets = np.array([[0, 0, 0, 0, 0], [7, 100, 1, 149, 33]])
    marks = inputs.window[::3]
    found = simulate_turned(
        inputs.market, inputs.rules, inputs.charges, inputs.folds, offsets=offsets, marks=marks, initial_equity=1e5
    )
    for equity, by_fold in zip(found, offsets, strict=True):
        turned = probability.copy()
        for (first, stop), offset in zip(inputs.folds, by_fold, strict=True):
            turned[first:stop] = np.roll(probability[first:stop], offset)
        market = inputs.market._replace(probability=turned)
        expected = simulate(market, inputs.rules, inputs.charges, inputs.folds, initial_equity=1e5)
        assert np.array_equal(equity, expected.equity[marks])


def test_random_entries_keep_directions_and_holding_and_lose_the_timing():
    bars = weekday_bars()
    probability, fold = signal(bars)
    strategy = specification(decision={"direction": "long"}, risk={})
    inputs = prepare_engine(strategy, bars, probability, fold, FREE)
    own = simulate(inputs.market, inputs.rules, inputs.charges, inputs.folds, initial_equity=1e5)
    portfolio = prepare_portfolio(strategy, [TradedSeries(bars, probability, fold, FREE)])
    drawn = trade_at_random_times(portfolio, 400, np.random.default_rng(1), np.arange(len(inputs.window)))
    # Without costs and stops equity stands still on exactly the bars on which nothing is held.
    moving = (np.diff(drawn, axis=1) != 0).sum(axis=1)
    own_moving = int((np.diff(own.equity[inputs.window]) != 0).sum())
    assert 500 < own_moving
    assert np.abs(moving - own_moving).max() <= 3 * len(inputs.folds)  # a signal cut in two where it is turned
    assert len(np.unique(drawn[:, -1])) > 390


def test_the_p_value_of_a_strategy_without_skill_is_uniform_and_of_a_clairvoyant_one_the_least():
    found = []
    for seed in range(50):
        bars = weekday_bars(900, seed=seed)
        outcome = run_backtest(specification(), bars, *signal(bars, seed=1000 + seed), COSTS, seed=seed)
        found.append(outcome.report.baselines.random_entry.p_value)
    assert scipy.stats.kstest(found, "uniform").pvalue > 0.01
    bars = weekday_bars(900)
    _, fold = signal(bars)
    tomorrow = np.append(np.sign(np.diff(bars.close)), 0)
    clairvoyant = np.where(fold > 0, 0.5 + 0.4 * tomorrow, np.nan)
    report = run_backtest(specification(risk={}), bars, clairvoyant, fold, COSTS).report
    assert report.baselines.random_entry.p_value == 1 / 1001
    assert report.metrics.sharpe_ratio > report.baselines.random_entry.sharpe_p95


@pytest.mark.slow
@pytest.mark.parametrize("risk", [{}, {"stop_loss": 1.0, "take_profit": 2.0, "max_holding_bars": 24}])
def test_the_p_value_stays_uniform_over_many_strategies(risk):
    found = []
    for seed in range(600):
        bars = weekday_bars(900, seed=seed)
        outcome = run_backtest(specification(risk=risk), bars, *signal(bars, seed=9000 + seed), COSTS, seed=seed)
        found.append(outcome.report.baselines.random_entry.p_value)
    assert scipy.stats.kstest(found, "uniform").pvalue > 0.01
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.025)


def test_the_seed_alone_decides_the_draws():
    bars = weekday_bars(900)
    first, again, other = (
        run_backtest(specification(), bars, *signal(bars), COSTS, seed=seed).report for seed in (1, 1, 2)
    )
    assert first == again
    assert first.baselines.random_entry != other.baselines.random_entry
    assert first.metrics.sharpe_ci95 != other.metrics.sharpe_ci95
    assert first.baselines.buy_and_hold == other.baselines.buy_and_hold


def test_the_beta_of_a_strategy_is_the_share_of_the_market_that_it_holds():
    bars = weekday_bars(1200)
    n_bars = len(bars)
    risk = {"sizing": {"type": "fixed", "exposure": 0.5}}
    places = np.arange(n_bars)
    long = np.where(places < 400, 0.9, np.nan)
    short = np.where(places < 800, 0.1, np.nan)
    coin = np.where(places < 800, np.where(np.random.default_rng(1).random(n_bars) < 0.5, 0.1, 0.9), np.nan)
    never = np.where(places < 800, 0.5, np.nan)
    betas = measure_market_betas(specification(risk=risk), bars, [long, short, coin, never], FREE)
    assert betas[:2] == pytest.approx([0.5, -0.5], abs=0.03)
    assert abs(betas[2]) < 0.1
    assert betas[3] == 0.0


def test_the_beta_of_a_volatility_target_is_measured_where_the_volatility_is_known():
    bars = weekday_bars(1200)
    long = np.where(np.arange(len(bars)) < 800, 0.9, np.nan)
    sizing = {"type": "volatility_target", "annual_volatility": 0.01, "lookback": 300, "max_exposure": 1.0}
    (beta,) = measure_market_betas(specification(risk={"sizing": sizing}), bars, [long], FREE)
    # One entry, at the first bar that knows 300 returns; hourly steps of 0.1 % over a year of working days.
    volatility = np.std(np.diff(np.log(bars.close[:301]))) * np.sqrt(
        300 / ((bars.known_at[300] - bars.known_at[0]) / 3.15576e10)
    )
    assert beta == pytest.approx(0.01 / volatility, rel=0.05)
