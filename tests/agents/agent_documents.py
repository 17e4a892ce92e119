"""A strategy and results that several test files share."""

from datetime import UTC, datetime

import numpy as np

from ktrdr.agents.task import AssessmentContext
from ktrdr.backtest.report import (
    BacktestMetrics,
    BacktestReport,
    Baselines,
    BuyAndHold,
    CostReport,
    RandomEntries,
    SelectionReport,
    SharpeTest,
    TrialHistory,
    VerdictReport,
    WindowReport,
)
from ktrdr.strategy.validation import validate_strategy
from ktrdr.training.report import (
    Calibration,
    CircularShifts,
    Fidelity,
    FoldDates,
    FoldReport,
    MajorityClass,
    Nulls,
    PurgedCounts,
    RowCounts,
    Rule,
    RulesReport,
    TrainingReport,
)

SPAN = (datetime(2017, 1, 2, tzinfo=UTC), datetime(2017, 9, 1, tzinfo=UTC))


def strategy_document(name="reversion_by_hand", *, symbol="EURUSD", timeframe="1h", timeperiod=14):
    return {
        "schema": 1,
        "name": name,
        "hypothesis": "An oversold RSI reverts within a day.",
        "market": {"symbols": [symbol], "timeframe": timeframe},
        "indicators": {"rsi": {"type": "RSI", "timeperiod": timeperiod}},
        "fuzzy_sets": {"rsi": {"input": "rsi", "partition": ["low", "middle", "high"]}},
        "labels": {"type": "forward_return", "horizon": 24},
    }


def detailed_strategy_document(name="reversion_in_calm", *, timeperiod=14, adx=14):
    """A strategy as long as those that a language model writes."""
    return strategy_document(name, timeperiod=timeperiod) | {
        "hypothesis": (
            "Stops below recent lows are run in thin hours; dealers who bought from the stopped sell back at a profit "
            "within a day. It persists because leveraged retail positions keep being stopped. It should fail in strong "
            "trends, where the lows are news and not stops."
        ),
        "indicators": {
            "rsi": {"type": "RSI", "timeperiod": timeperiod},
            "adx": {"type": "ADX", "timeperiod": adx},
            "bands": {"type": "BBANDS", "timeperiod": 20, "nbdevup": 2, "nbdevdn": 2},
        },
        "fuzzy_sets": {
            "stretch": {"input": "rsi", "partition": ["oversold", "neutral", "overbought"]},
            "trend": {"input": "adx", "partition": ["weak", "fair", "strong"]},
            "place": {"input": "bands.lowerband", "relative_to": "close", "partition": ["far", "near", "below"]},
        },
        "labels": {"type": "triple_barrier", "horizon": 24, "take_profit": 1.5, "stop_loss": 1.5},
        "decision": {"enter": 0.56, "exit": 0.5, "direction": "both", "min_bars_between_trades": 2},
        "risk": {"stop_loss": 2.0, "take_profit": 3.0, "max_holding_bars": 24},
    }


def rules_report(r_squared):
    conditions = {"stretch": "oversold", "trend": "weak", "place": "below"}
    told = " AND ".join(f"{variable} is {name}" for variable, name in conditions.items())
    rules = [
        Rule(text=f"IF {told} THEN p(up) = {p:.2f}", conditions=conditions, p=p, coverage=1 / 12)
        for p in np.linspace(0.6, 0.49, 12).tolist()
    ]
    fidelity = Fidelity(rows=420, agreement=0.93, commoner_side=0.6, r_squared=r_squared)
    return RulesReport(source="surrogate", fidelity=fidelity, rules=rules)


def training_report(*, accuracy=0.53, base_rate=0.5, accuracy_sd=0.004, coverage=1.0, shifted=0.52, r_squared=0.71):
    fold = FoldReport(
        fold=1,
        rows=RowCounts(fitted=600, validation=100, test=800),
        dates=FoldDates(fitted=SPAN, validation=SPAN, test=SPAN),
        purged=PurgedCounts(before_test=24, before_validation=24),
        base_rate=base_rate,
        accuracy=accuracy,
        loss=0.69,
        epochs=[20, 21, 22],
        best_epochs=[14, 15, 16],
    )
    return TrainingReport(
        accuracy=accuracy,
        final_loss=0.69,
        accuracy_sd=accuracy_sd,
        final_loss_sd=0.001,
        folds=[fold.model_copy(update={"fold": n}) for n in range(1, 6)],
        nulls=Nulls(
            majority_class=MajorityClass(accuracy=max(base_rate, 1 - base_rate)),
            circular_shifts=CircularShifts(n=20, accuracy_mean=shifted - 0.02, accuracy_p95=shifted),
        ),
        calibration=Calibration(brier_score=0.249, bins=[]),
        coverage={"rsi": coverage, "rsi.low": 0.4, "rsi.middle": 0.4, "rsi.high": 0.4},
        rules=rules_report(r_squared),
        seed=1,
        snapshot="ab" * 32,
        strategy_sha256="cd" * 32,
    )


def verdict_report(*, value="inconclusive", n_trials=7, expected_best_sharpe=0.68, psr=0.41, years_needed=14.3):
    test = SharpeTest(sharpe_ratio=0.8, sharpe_ci95=(-0.2, 1.8), psr=psr, dsr=psr, years_needed=years_needed)
    return VerdictReport(
        value=value,
        reason={"candidate": "above_luck", "disproven": "interval_below_zero"}.get(value, "not_above_luck"),
        n_trials=n_trials,
        psr=psr,
        dsr=psr,
        years_needed=years_needed,
        power=0.5,
        n_trades=64,
        expected_best_sharpe=expected_best_sharpe,
        net=test,
        market_adjusted=test,
        market_betas=[0.1] * 5,
        history=TrialHistory(n_trials=n_trials),
        selection=SelectionReport(n_trials=n_trials, n_days=1012, pbo=0.4321, spa_p_value=0.3217),
    )


def backtest_report(
    *,
    sharpe=0.8,
    profit_factor=1.3,
    n_trades=64,
    drawdown=0.12,
    total_return=0.08,
    costs_paid=0.02,
    years=4.0,
    p_value=0.04,
    verdict=None,
):
    traded = n_trades > 0
    return BacktestReport(
        metrics=BacktestMetrics(
            sharpe_ratio=sharpe if traded else None,
            sharpe_ci95=(sharpe - 1, sharpe + 1) if traded else None,
            sortino_ratio=1.1 if traded else None,
            max_drawdown=drawdown,
            total_return=total_return,
            cagr=0.02,
            calmar_ratio=0.2 if traded else None,
            win_rate=0.52 if traded else None,
            profit_factor=profit_factor if traded else None,
            n_trades=n_trades,
            exposure=0.4,
            turnover=30.0,
            costs_paid=costs_paid,
            days_per_year=252.0,
        ),
        baselines=Baselines(
            buy_and_hold=BuyAndHold(sharpe_ratio=0.3, total_return=0.05, cagr=0.012, max_drawdown=0.2),
            random_entry=RandomEntries(
                n=1000, sharpe_mean=-0.1, sharpe_p95=0.7, total_return_mean=-0.01, p_value=p_value
            )
            if traded
            else None,
        ),
        verdict=verdict or verdict_report(),
        costs=CostReport(
            commission_bps=0.2,
            half_spread_bps=0.5,
            half_spread_from="instrument",
            slippage_bps=0.5,
            financing_long=0.0,
            financing_short=0.0,
        ),
        window=WindowReport(
            symbol="EURUSD",
            timeframe="1h",
            snapshot="ab" * 32,
            first=SPAN[0],
            last=SPAN[1],
            n_bars=4000,
            n_session_days=170,
            n_folds=5,
            years=years,
            initial_equity=100_000.0,
        ),
    )


def gate(name, *, passed=True, reason="passed", bypassed=False):
    return {
        "gate": name,
        "profile": "default",
        "passed": passed,
        "reason": reason,
        "observed": 0.53,
        "threshold": 0.45,
        "bypassed": bypassed,
    }


def subject(*, training=None, backtest=None, gates=None, n_trials=7, **document):
    return AssessmentContext(
        specification=validate_strategy(strategy_document(**document)),
        training=training or training_report(),
        backtest=backtest or backtest_report(),
        gates=gates or (gate("training"), gate("backtest")),
        n_trials=n_trials,
    )
