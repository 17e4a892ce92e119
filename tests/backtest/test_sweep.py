"""Every variant of a sweep is what a plain backtest of the strategy so changed is, to the bit."""

import numpy as np
import pytest
from test_backtest_run import COSTS, signal, specification, weekday_bars

from ktrdr.backtest.market_beta import measure_market_betas
from ktrdr.backtest.report import TrialHistory
from ktrdr.backtest.run import run_backtest
from ktrdr.backtest.sweep import TradedSymbol, run_sweep
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
def traded():
    """A signal that knows a little, of a strategy without limits: some variants need an ATR, others do not."""
    bars = weekday_bars(n_bars=4000)
    probability, fold = signal(bars)
    ahead = np.append(np.diff(np.log(bars.close)), 0.0)
    probability = np.clip(probability + 25 * ahead, 0, 1)
    fitted = [np.where(np.arange(len(bars)) < 600 * number, signal(bars, seed=9)[0], np.nan) for number in range(1, 6)]
    fitted = [np.where(np.isnan(each), np.nan, each) for each in fitted]
    return bars, TradedSymbol(bars, probability, fold, fitted, COSTS)


@pytest.mark.parametrize("risk", [{}, {"sizing": {"type": "volatility_target", "lookback": 100}}])
def test_a_variant_is_a_plain_backtest_and_its_verdict_the_plain_one(traded, risk):
    bars, symbol = traded
    axes = VOLATILITY_AXES if risk else AXES
    grid = expand_grid(specification(risk=risk), parse_axes(axes, most=100))
    variants = [each.specification for each in (grid.stored, *grid.variants)]
    outcome = run_sweep(variants, [symbol])
    verdicts = reach_sweep_verdicts(outcome, n_trials=N_TRIALS, seed=3)
    seen = set()
    for number, variant in enumerate(variants):
        plain = run_backtest(variant, bars, symbol.probability_by_bar, symbol.fold_by_bar, COSTS, seed=3)
        metrics = plain.report.metrics.model_copy(update={"sharpe_ci95": None})
        assert outcome.metrics[number] == metrics, variant.decision
        assert (outcome.net_return[number] == plain.equity.daily_returns().net_return).all()
        betas = measure_market_betas(variant, bars, symbol.fitted_probability, COSTS)
        assert [*outcome.market_betas[number]] == betas
        verdict = reach_verdict(plain, betas, TrialHistory(n_trials=N_TRIALS), seed=3)
        found = verdicts[number]
        assert (found.value, found.reason, found.psr) == (verdict.value, verdict.reason, verdict.psr)
        seen.add(verdict.value)
    assert {"candidate", "disproven"} & seen if risk else {"candidate", "inconclusive"} <= seen
