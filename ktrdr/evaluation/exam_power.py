"""What an exam asks for, and how likely a strategy of a given merit is to give it: to be known before the look."""

import math
from statistics import NormalDist

FAMILY_ERROR = 0.05
FEWEST_EXAM_BARS = 250
FEWEST_EXAM_DAYS = 60
"""Sealed session days below which the test's normal distribution is none, and its power next to nothing."""

ASSUMED_SHARPES = (0.5, 1.0, 1.5, 2.0)
_NORMAL = NormalDist()


def required_psr(look: int) -> float:
    """Return what the k-th look must show.

    The allowances 0.05 / (k (k + 1)) add up to 5 %: so often does any of a workspace's looks pass by luck, at most.

    Raises:
        ValueError: `look` is below 1.
    """
    if look < 1:
        raise ValueError(f"need a look >= 1, was {look}")
    return 1 - FAMILY_ERROR / (look * (look + 1))


def exam_power(sharpe_annual: float, *, years: float, days_per_year: float, look: int) -> float:
    """Return the probability that a strategy of this true annual Sharpe ratio passes the look, 0..1.

    Of normal returns: heavy tails take some of it.

    Args:
        sharpe_annual: The true ratio, which nobody knows.
        years: Of sealed bars.
        days_per_year: Session days a year.
        look: Its number, from 1.
    """
    n_days = years * days_per_year
    if n_days <= 1:
        return 0.0
    ratio = sharpe_annual / math.sqrt(days_per_year)
    error_factor = math.sqrt(1 + ratio**2 / 2)
    return _NORMAL.cdf(ratio * math.sqrt(n_days - 1) / error_factor - _NORMAL.inv_cdf(required_psr(look)))
