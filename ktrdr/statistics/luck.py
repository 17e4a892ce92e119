"""How probable a Sharpe ratio is to be real, given its length, its tails and how many others were tried.

All Sharpe ratios here are per observation (a session day), never annualised.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from ktrdr.statistics.performance import RATIO_CAP
from ktrdr.statistics.returns import FloatArray

_NORMAL = NormalDist()
_EULER_GAMMA = 0.5772156649015329
_LEAST_VARIANCE = 1e-12


@dataclass(frozen=True, slots=True)
class SharpeEstimate:
    """A Sharpe ratio with what its error depends on.

    Attributes:
        n: Observations, at least three.
        sharpe: Mean over standard deviation (ddof 1).
        skewness: Third standardised moment.
        kurtosis: Fourth standardised moment, 3 for a normal distribution.
    """

    n: int
    sharpe: float
    skewness: float
    kurtosis: float

    @property
    def error_factor(self) -> float:
        """Standard error times sqrt(n - 1): 1 for a Sharpe ratio of zero; more with a heavy lower tail.

        Source:
            Bailey & Lopez de Prado (2012), "The Sharpe Ratio Efficient Frontier".
        """
        variance = 1 - self.skewness * self.sharpe + (self.kurtosis - 1) / 4 * self.sharpe**2
        return math.sqrt(max(variance, _LEAST_VARIANCE))


def estimate_sharpe(returns: FloatArray) -> SharpeEstimate | None:
    """Return the estimate of (n,) returns; None where they do not vary, so that there is no ratio.

    Raises:
        ValueError: Fewer than three returns, or one that is not finite.
    """
    if len(returns) < 3 or not np.isfinite(returns).all():
        raise ValueError(f"need at least three finite returns, was {len(returns)}")
    centred = returns - returns.mean()
    spread = float(np.sqrt((centred**2).mean()))
    if spread <= 1e-12 * float(np.abs(returns).max()):
        return None
    standard = centred / spread
    sharpe = float(returns.mean()) / float(returns.std(ddof=1))
    return SharpeEstimate(
        n=len(returns),
        sharpe=max(-RATIO_CAP, min(RATIO_CAP, sharpe)),
        skewness=float((standard**3).mean()),
        kurtosis=float((standard**4).mean()),
    )


def probabilistic_sharpe(estimate: SharpeEstimate, benchmark: float) -> float:
    """Return the probability that the true Sharpe ratio lies above `benchmark`, 0..1.

    Source:
        Bailey & Lopez de Prado (2012), "The Sharpe Ratio Efficient Frontier".
    """
    distance = (estimate.sharpe - benchmark) * math.sqrt(estimate.n - 1)
    return _NORMAL.cdf(distance / estimate.error_factor)


def expected_maximum_normal(n_trials: int) -> float:
    """Return about the largest of `n_trials` independent standard normals; 0 for one, which selects nothing.

    Raises:
        ValueError: `n_trials` is below 1.

    Source:
        Bailey & Lopez de Prado (2014), "The Deflated Sharpe Ratio".
    """
    if n_trials < 1:
        raise ValueError(f"need n_trials >= 1, was {n_trials!r}")
    if n_trials == 1:
        return 0.0
    near, far = _NORMAL.inv_cdf(1 - 1 / n_trials), _NORMAL.inv_cdf(1 - 1 / (n_trials * math.e))
    return (1 - _EULER_GAMMA) * near + _EULER_GAMMA * far


def years_to_confidence(
    estimate: SharpeEstimate, *, days_per_year: float, n_trials: int, confidence: float
) -> float | None:
    """Return the years of record after which a Sharpe ratio like this one reaches the confidence; None if it is <= 0.

    After so many years with the same moments, `probabilistic_sharpe` against the best of `n_trials` without skill,
    c_N / sqrt(n - 1), is `confidence`. If the true ratio is the measured one, half of all records do so (power 50 %).
    """
    if estimate.sharpe <= 0:
        return None
    needed = _NORMAL.inv_cdf(confidence) * estimate.error_factor + expected_maximum_normal(n_trials)
    return (1 + (needed / estimate.sharpe) ** 2) / days_per_year
