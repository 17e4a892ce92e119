"""The gates at their very limits."""

import inspect
import math
import re
from functools import partial

import pytest

from ktrdr.agents import gates
from ktrdr.agents.gates import (
    REMEDIES,
    BacktestGateMetrics,
    BacktestLimits,
    TrainingLimits,
    TrainingMetrics,
    check_backtest_gate,
    check_training_gate,
)
from ktrdr.errors import OperationFailed

TRAINING = TrainingLimits("default", min_accuracy=0.45, max_final_loss=0.8, needs_skill=False)
STRICT = TrainingLimits("strict", min_accuracy=0.45, max_final_loss=0.8, needs_skill=True)
BACKTEST = BacktestLimits("default", min_profit_factor=0.8, max_drawdown=0.40, min_sharpe_ratio=-0.5)
GOOD = {"n_trades": 30, "profit_factor": 1.2, "max_drawdown": 0.1, "sharpe_ratio": 0.4}


@pytest.mark.parametrize(
    ("accuracy", "final_loss", "reason"),
    [
        (0.45, 0.8, "passed"),
        (0.4499, 0.1, "accuracy_below_threshold"),
        (0.4499, 0.9, "accuracy_below_threshold"),
        (0.45, 0.8001, "loss_too_high"),
    ],
)
def test_training_gate_at_its_limits(accuracy, final_loss, reason):
    verdict = check_training_gate(TrainingMetrics(accuracy, final_loss, 0.99), TRAINING)
    assert (verdict.passed, verdict.reason) == (reason == "passed", reason)


@pytest.mark.parametrize(
    ("accuracy", "final_loss", "to_beat", "reason", "threshold"),
    [
        (0.5301, 0.7, 0.53, "passed", 0.53),
        (0.53, 0.7, 0.53, "no_skill", 0.53),
        (0.44, 0.7, 0.40, "accuracy_below_threshold", 0.45),
        (0.60, 0.9, 0.53, "loss_too_high", 0.8),
    ],
)
def test_the_strict_profile_also_asks_for_skill(accuracy, final_loss, to_beat, reason, threshold):
    verdict = check_training_gate(TrainingMetrics(accuracy, final_loss, to_beat), STRICT)
    assert (verdict.passed, verdict.reason, verdict.threshold) == (reason == "passed", reason, threshold)


@pytest.mark.parametrize(
    ("changed", "reason", "observed", "threshold"),
    [
        ({"profit_factor": 0.8, "max_drawdown": 0.40, "sharpe_ratio": -0.5}, "passed", -0.5, -0.5),
        ({"profit_factor": 0.7999}, "profit_factor_below_threshold", 0.7999, 0.8),
        ({"max_drawdown": 0.4001}, "drawdown_too_high", 0.4001, 0.40),
        ({"sharpe_ratio": -0.5001}, "sharpe_below_threshold", -0.5001, -0.5),
        ({"profit_factor": 0.1, "max_drawdown": 0.9, "sharpe_ratio": -9.0}, "profit_factor_below_threshold", 0.1, 0.8),
    ],
)
def test_backtest_gate_at_its_limits(changed, reason, observed, threshold):
    verdict = check_backtest_gate(BacktestGateMetrics(**(GOOD | changed)), BACKTEST)
    assert (verdict.passed, verdict.reason) == (reason == "passed", reason)
    assert (verdict.observed, verdict.threshold) == (observed, threshold)


def test_no_trades_is_judged_before_the_ratios_that_do_not_exist_then():
    metrics = BacktestGateMetrics(n_trades=0, profit_factor=None, max_drawdown=0.0, sharpe_ratio=None)
    assert check_backtest_gate(metrics, BACKTEST).reason == "no_trades"


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "name", ["accuracy", "final_loss", "accuracy_to_beat", "n_trades", "profit_factor", "max_drawdown", "sharpe_ratio"]
)
def test_a_missing_or_non_finite_metric_is_an_error_not_a_zero(name, value):
    backtest = BacktestGateMetrics(**(GOOD | ({name: value} if name in GOOD else {})))
    good = {"accuracy": 0.5, "final_loss": 0.6, "accuracy_to_beat": 0.4}
    training = TrainingMetrics(**(good | ({} if name in GOOD else {name: value})))
    check = (
        partial(check_backtest_gate, backtest, BACKTEST)
        if name in GOOD
        else partial(check_training_gate, training, STRICT)
    )
    with pytest.raises(OperationFailed, match=name) as caught:
        check()
    assert caught.value.reason == "metric_missing"


def test_every_refusal_names_what_to_change():
    assert set(re.findall(r'GateVerdict\(False, "(\w+)"', inspect.getsource(gates))) == REMEDIES.keys()
