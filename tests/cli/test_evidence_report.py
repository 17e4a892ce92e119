"""Verdict, baselines and nulls in words, whatever a report holds or lacks."""

import pytest

from ktrdr.cli.evidence_report import baseline_lines, null_line, verdict_lines

TEST = {"sharpe_ratio": 0.8, "sharpe_ci95": [-0.2, 1.8], "psr": 0.41, "dsr": 0.5, "years_needed": 14.3}
VERDICT = {
    "value": "inconclusive",
    "reason": "not_above_luck",
    "n_trials": 12,
    "psr": 0.41,
    "years_needed": 14.3,
    "expected_best_sharpe": 0.68,
    "net": TEST,
    "market_adjusted": {**TEST, "sharpe_ratio": 0.7},
}


@pytest.mark.parametrize(
    ("changed", "said", "unsaid"),
    [
        ({}, "INCONCLUSIVE: positive, but no better than the luckiest", "proven"),
        ({}, "net Sharpe ratio 0.80 (95% interval -0.20 to 1.80); less its share of buy-and-hold 0.70 (95%", "None"),
        ({}, "trials counted: 12; the luckiest of so many without skill would show about 0.68", "None"),
        ({}, "an even chance to show it takes about 14.3 more years", "None"),
        ({"years_needed": None, "reason": "no_positive_edge"}, "nothing positive left", "more years"),
        (
            {"value": "candidate", "reason": "above_luck", "years_needed": 0.0},
            "a candidate is not proven",
            "more years",
        ),
        ({"value": "disproven", "reason": "interval_below_zero"}, "DISPROVEN: a loss that bad luck", "more years"),
        ({"psr": None, "net": {}, "reason": "no_trades"}, "INCONCLUSIVE: it never traded", "probability"),
        ({"reason": "a_rule_of_later_days"}, "INCONCLUSIVE: a_rule_of_later_days", "None"),
    ],
)
def test_a_verdict_is_said_with_what_it_rests_on(changed, said, unsaid):
    text = "\n".join(verdict_lines({"verdict": VERDICT | changed}))
    assert said in text
    assert unsaid not in text


def test_reports_of_an_earlier_version_are_shown_without_what_they_lack():
    assert list(verdict_lines({"verdict": None})) == ["There is no verdict: backtest it again to get one."]
    assert baseline_lines({"baselines": None}) == []
    assert "the commoner class has -;" in null_line({"nulls": None})


def test_baselines_and_nulls_are_said_with_their_figures():
    held = {"sharpe_ratio": 0.31, "total_return": 0.12, "max_drawdown": 0.3}
    drawn = {"n": 1000, "sharpe_mean": -0.4, "p_value": 0.043}
    lines = baseline_lines({"baselines": {"buy_and_hold": held, "random_entry": drawn}})
    assert "Sharpe ratio 0.31, total return 12.00%, max drawdown 30.00%" in lines[0]
    assert "(1000 draws): Sharpe ratio -0.40 on average; 4.3% of them do as well" in lines[1]
    assert len(baseline_lines({"baselines": {"buy_and_hold": held, "random_entry": None}})) == 1
    nulls = {"majority_class": {"accuracy": 0.51}, "circular_shifts": {"accuracy_mean": 0.52, "accuracy_p95": 0.55}}
    assert "has 0.510; the same recipe on labels shifted in time has 0.520 on average and 0.550" in null_line(
        {"nulls": nulls}
    )
