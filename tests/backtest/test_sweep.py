"""Every variant of a sweep is what a plain backtest of the strategy so changed is, to the bit."""

from dataclasses import replace

import numpy as np
import pytest
from test_backtest_run import COSTS, signal, specification, weekday_bars

from ktrdr.backtest.market_beta import FittedSeries, measure_portfolio_betas
from ktrdr.backtest.portfolio import TradedSeries
from ktrdr.backtest.report import TrialHistory
from ktrdr.backtest.run import run_portfolio
from ktrdr.backtest.sweep import run_sweep
from ktrdr.evaluation.sweep_verdicts import reach_sweep_verdicts
from ktrdr.evaluation.verdict import reach_verdict
from ktrdr.strategy.variants import expand_grid, parse_axes

N_TRIALS = 7
AXES = {
    "decision.enter": "0.5:0.9:0.2",
    "decision.direction": "both,long",
    "risk.stop_loss": "none,1.5",
}

VOLATILITY_AXES = {"decision.enter": "0.6,0.7", "risk.sizing.lookback": "50,100", "risk.stop_loss": "none,2"}


@pytest.fixture(scope="module")
def one_symbol():
    """A signal that knows a little, of a strategy without limits: some variants need an ATR, others do not."""
    bars = weekday_bars(n_bars=4000)
    probability, fold = signal(bars)
    ahead = np.append(np.diff(np.log(bars.close)), 0.0)
    probability = np.clip(probability + 25 * ahead, 0, 1)
    fitted = [np.where(np.arange(len(bars)) < 600 * number, signal(bars, seed=9)[0], np.nan) for number in range(1, 6)]
    return [TradedSeries(bars, probability, fold, COSTS)], [FittedSeries(bars, fitted, COSTS)]


def with_another(traded, fitted):
    """The same and a second symbol that has half the bars, a signal without knowledge and dearer fills."""
    (one,), (learned,) = traded, fitted
    bars = one.bars.take(np.arange(0, len(one.bars), 2))
    bars = replace(bars, symbol="OTHER")
    costs = replace(COSTS, slippage_bps=3.0)
    second = TradedSeries(bars, signal(one.bars, seed=5)[0][::2], one.fold[::2], costs)
    return [*traded, second], [*fitted, FittedSeries(bars, [each[::2] for each in learned.probability], costs)]


@pytest.mark.parametrize("n_symbols", [1, 2])
@pytest.mark.parametrize("risk", [{}, {"sizing": {"type": "volatility_target", "lookback": 100}}])
def test_a_variant_is_a_plain_backtest_and_its_verdict_the_plain_one(one_symbol, risk, n_symbols):
    traded, fitted = one_symbol if n_symbols == 1 else with_another(*one_symbol)
    axes = VOLATILITY_AXES if risk else AXES
    grid = expand_grid(specification(risk=risk), parse_axes(axes, most=100))
    variants = [each.specification for each in (grid.stored, *grid.variants)]
    outcome = run_sweep(variants, traded, fitted)
    verdicts = reach_sweep_verdicts(outcome, n_trials=N_TRIALS, seed=3)
    seen = set()
    for number, variant in enumerate(variants):
        plain = run_portfolio(variant, traded, seed=3)
        metrics = plain.report.metrics.model_copy(update={"sharpe_ci95": None})
        assert outcome.metrics[number] == metrics, variant.decision
        assert (outcome.net_return[number] == plain.equity.daily_returns().net_return).all()
        betas = measure_portfolio_betas(variant, fitted)
        assert [*outcome.market_betas[number]] == betas
        verdict = reach_verdict(plain, betas, TrialHistory(n_trials=N_TRIALS), seed=3)
        found = verdicts[number]
        assert (found.value, found.reason, found.psr) == (verdict.value, verdict.reason, verdict.psr)
        seen.add(verdict.value)
    if n_symbols == 1:
        assert {"candidate", "disproven"} & seen if risk else {"candidate", "inconclusive"} <= seen
