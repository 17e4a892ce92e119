"""The bar rises so that many looks pass by luck in at most 5 %; its power is what simulation shows."""

import math
from datetime import date

import numpy as np
import pytest
from scipy.stats import norm

from ktrdr.evaluation.exam_power import exam_power, required_psr
from ktrdr.evaluation.model_knowledge import knowledge_of


def test_all_looks_together_pass_by_luck_in_at_most_five_per_cent():
    allowed = [1 - required_psr(look) for look in range(1, 2001)]
    assert allowed[:3] == pytest.approx([0.025, 0.05 / 6, 0.05 / 12])
    assert 0.0499 < sum(allowed) < 0.05
    with pytest.raises(ValueError, match="look >= 1"):
        required_psr(0)


@pytest.mark.parametrize(("sharpe", "years", "look"), [(0.0, 1.0, 1), (1.5, 1.0, 1), (2.5, 1.4, 3)])
def test_power_agrees_with_simulated_exams(sharpe, years, look):
    n_days = round(252 * years)
    returns = np.random.default_rng(5).normal(sharpe / math.sqrt(252), 1.0, (6_000, n_days))
    ratio = returns.mean(axis=1) / returns.std(axis=1, ddof=1)
    centred = (returns - returns.mean(axis=1, keepdims=True)) / returns.std(axis=1, keepdims=True)
    error = np.sqrt(1 - (centred**3).mean(axis=1) * ratio + ((centred**4).mean(axis=1) - 1) / 4 * ratio**2)
    passed = norm.cdf(ratio * math.sqrt(n_days - 1) / error) >= 1 - 0.05 / (look * (look + 1))
    expected = exam_power(sharpe, years=n_days / 252, days_per_year=252, look=look)
    assert passed.mean() == pytest.approx(expected, abs=0.02)


def test_years_that_a_language_model_may_have_read_of_are_named():
    first, last = date(2025, 1, 1), date(2026, 1, 31)
    standing = {
        "offline": "no_llm",
        "claude-sonnet-5": "before_cutoff",
        "claude-haiku-4-5-20251001": "partly_before_cutoff",
        "claude-sonnet-9": "unknown",
        "mcp:Claude Desktop": "unknown",
        None: "unknown",
    }
    assert {each: knowledge_of(each, first, last).standing for each in standing} == standing
    assert knowledge_of("claude-opus-5-5", date(2026, 7, 1), date(2026, 9, 1)).standing == "after_cutoff"
