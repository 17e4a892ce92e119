"""The two gates of a research cycle. Pure: no settings, no clock, no model call."""

import math
from dataclasses import dataclass

from ktrdr.errors import OperationFailed

# Everything that each gate may answer, in the order in which it looks.
GATE_RESULTS = {
    "training": ("accuracy_below_threshold", "loss_too_high", "no_skill", "passed"),
    "backtest": (
        "no_trades",
        "profit_factor_below_threshold",
        "drawdown_too_high",
        "sharpe_below_threshold",
        "passed",
    ),
}


@dataclass(frozen=True, slots=True)
class TrainingLimits:
    """What training must reach. `max_final_loss` is a mean cross-entropy in nats.

    `needs_skill`: the accuracy must also be above what the recipe's nulls show, as profile `strict` asks.
    """

    profile: str
    min_accuracy: float
    max_final_loss: float
    needs_skill: bool


@dataclass(frozen=True, slots=True)
class BacktestLimits:
    """What a backtest must reach. `max_drawdown` is a fraction of peak equity."""

    profile: str
    min_profit_factor: float
    max_drawdown: float
    min_sharpe_ratio: float


@dataclass(frozen=True, slots=True)
class TrainingMetrics:
    """Those of the validation segments, averaged over folds and seeds.

    `accuracy_to_beat`: what no skill shows there, the shifted labels' 95th percentile or the commoner class.
    """

    accuracy: float | None
    final_loss: float | None
    accuracy_to_beat: float | None


@dataclass(frozen=True, slots=True)
class BacktestGateMetrics:
    """Out of sample, net of costs. The ratios are None iff there are no trades."""

    n_trades: int | None
    profit_factor: float | None
    max_drawdown: float | None
    sharpe_ratio: float | None


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """Outcome of one gate. `reason` is a stable slug: dashboards group by it."""

    passed: bool
    reason: str
    observed: float
    threshold: float


REMEDIES = {
    "accuracy_below_threshold": "it is wrong more often than a coin: look at labels and direction, or drop the idea",
    "loss_too_high": "it is surer than it is right: lower training.learning_rate, or make the network smaller "
    "(model.hidden, model.rules)",
    "no_skill": "it learns no more than from shifted labels: other indicators or another idea are needed",
    "no_trades": "no probability reached decision.enter: lower it, or choose labels that can be told further apart",
    "profit_factor_below_threshold": "it loses more than it wins, costs included: trade less often "
    "(decision.min_bars_between_trades, a longer horizon), or drop the idea",
    "drawdown_too_high": "lower risk.sizing, or set risk.stop_loss",
    "sharpe_below_threshold": "it loses steadily, costs included: trade less often or drop the idea",
}
"""What to change after a refusal, by its reason."""


def check_training_gate(metrics: TrainingMetrics, limits: TrainingLimits) -> GateVerdict:
    """Judge a training.

    Raises:
        OperationFailed: A metric is missing or not finite (`metric_missing`).
    """
    accuracy = _finite("accuracy", metrics.accuracy)
    final_loss = _finite("final_loss", metrics.final_loss)
    if accuracy < limits.min_accuracy:
        return GateVerdict(False, "accuracy_below_threshold", accuracy, limits.min_accuracy)
    if final_loss > limits.max_final_loss:
        return GateVerdict(False, "loss_too_high", final_loss, limits.max_final_loss)
    if limits.needs_skill:
        to_beat = _finite("accuracy_to_beat", metrics.accuracy_to_beat)
        if accuracy <= to_beat:
            return GateVerdict(False, "no_skill", accuracy, to_beat)
        return GateVerdict(True, "passed", accuracy, to_beat)
    return GateVerdict(True, "passed", accuracy, limits.min_accuracy)


def check_backtest_gate(metrics: BacktestGateMetrics, limits: BacktestLimits) -> GateVerdict:
    """Judge a backtest.

    Raises:
        OperationFailed: A metric is missing or not finite (`metric_missing`).
    """
    n_trades = _finite("n_trades", metrics.n_trades)
    if n_trades == 0:  # first: without trades the ratios do not exist
        return GateVerdict(False, "no_trades", 0.0, 1.0)
    profit_factor = _finite("profit_factor", metrics.profit_factor)
    max_drawdown = _finite("max_drawdown", metrics.max_drawdown)
    sharpe_ratio = _finite("sharpe_ratio", metrics.sharpe_ratio)
    if profit_factor < limits.min_profit_factor:
        return GateVerdict(False, "profit_factor_below_threshold", profit_factor, limits.min_profit_factor)
    if max_drawdown > limits.max_drawdown:
        return GateVerdict(False, "drawdown_too_high", max_drawdown, limits.max_drawdown)
    if sharpe_ratio < limits.min_sharpe_ratio:
        return GateVerdict(False, "sharpe_below_threshold", sharpe_ratio, limits.min_sharpe_ratio)
    return GateVerdict(True, "passed", sharpe_ratio, limits.min_sharpe_ratio)


def _finite(name: str, value: float | None) -> float:
    if value is None or not math.isfinite(value):
        raise OperationFailed(f"{name}: need a finite number, was {value!r}", reason="metric_missing")
    return float(value)
