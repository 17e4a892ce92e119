"""A confidence interval of the Sharpe ratio that respects dependence from day to day: the stationary bootstrap."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ktrdr.statistics.performance import RATIO_CAP
from ktrdr.statistics.returns import FloatArray

N_DRAWS = 2000
CONFIDENCE = 0.95
FEWEST_DAYS = 10  # below, an interval of them would say nothing
_DRAWS_AT_ONCE = 100  # bounds the memory


def sharpe_interval(
    net_returns: FloatArray, *, days_per_year: float, shortest_block: float, seed: int
) -> tuple[float, float]:
    """Return the ends of the 95 % percentile interval of the annualised Sharpe ratio.

    Resamples blocks of days whose lengths are geometric with a mean of Politis' and White's choice, but at least
    `shortest_block`: days on which one position was held are not independent of each other. Equal arguments give
    equal intervals. Below `RATIO_CAP` in magnitude, as the ratio itself is.

    Args:
        net_returns: (n_days,) net returns per session day, at least ten; they may all be equal.
        days_per_year: Measured session days a calendar year; > 0.
        shortest_block: Least mean block length in days, as the mean holding of a position; at most n_days count.
        seed: What the draws derive from; >= 0.

    Raises:
        ValueError: Too few days, or a non-finite return.

    Source:
        Politis & Romano (1994), "The Stationary Bootstrap".
    """
    n_days = len(net_returns)
    if n_days < FEWEST_DAYS or not np.isfinite(net_returns).all():
        raise ValueError(f"need at least {FEWEST_DAYS} finite daily returns, was {n_days} days")
    block = min(max(optimal_block_length(net_returns), shortest_block, 1.0), float(n_days))
    generator = np.random.Generator(np.random.PCG64(seed))
    drawn = resampled_ratios(net_returns, generator, N_DRAWS, 1.0 / block)
    annual = np.clip(drawn * math.sqrt(days_per_year), -RATIO_CAP, RATIO_CAP)
    low, high = np.quantile(annual, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def optimal_block_length(series: FloatArray) -> float:
    """Return the mean block length (in observations) that estimates the variance of a mean best; 0 for a constant.

    Source:
        Politis & White (2004), "Automatic Block-Length Selection for the Dependent Bootstrap", with the correction
        of Patton, Politis & White (2009), for the stationary bootstrap.
    """
    n = len(series)
    centred = series - series.mean()
    if not centred.any():
        return 0.0
    n_insignificant = max(5, int(math.log10(n)))
    last_lag = min(math.ceil(math.sqrt(n)) + n_insignificant, n - 1)
    products = np.array([centred[lag:] @ centred[: n - lag] for lag in range(last_lag + 1)])
    squares = np.concatenate(([0.0], np.cumsum(centred**2)))
    lags = np.arange(last_lag + 1)
    # Of each lag's correlation, as the reference implementation (arch) measures it: lag + 1 values left out.
    later, earlier = squares[-1] - squares[lags + 1], squares[n - lags - 1]
    scale = np.sqrt(later * earlier)
    correlation = np.abs(np.divide(products, scale, out=np.zeros_like(products), where=scale > 0))
    bandwidth = _bandwidth(correlation < 2 * math.sqrt(math.log10(n) / n), n_insignificant, last_lag)
    covariance = products[1 : bandwidth + 1] / n
    k = lags[1 : bandwidth + 1]
    taper = np.where(k / bandwidth <= 0.5, 1.0, 2 * (1 - k / bandwidth))
    slope = 2 * float((taper * k * covariance).sum())
    long_run_variance = products[0] / n + 2 * float((taper * covariance).sum())
    longest = math.ceil(min(3 * math.sqrt(n), n / 3))
    if long_run_variance == 0.0:
        return float(longest)
    return min(float((slope**2 / long_run_variance**2 * n) ** (1 / 3)), float(longest))


def _bandwidth(is_insignificant: NDArray[np.bool_], run: int, last_lag: int) -> int:
    """Return twice the lag before the first `run` correlations in a row that do not matter, at most the last lag."""
    for lag in range(run, last_lag + 1):
        if is_insignificant[lag - run : lag].all():
            return min(2 * max(lag - run, 1), last_lag)
    return last_lag


def resampled_ratios(
    returns: FloatArray, generator: np.random.Generator, n_draws: int, new_block_probability: float
) -> FloatArray:
    """Return mean over standard deviation (ddof 1) of each of `n_draws` stationary resamples, 0 for 0 / 0."""
    ratios = np.empty(n_draws)
    values = np.ascontiguousarray(returns)
    for first in range(0, n_draws, _DRAWS_AT_ONCE):
        chunk = ratios[first : first + _DRAWS_AT_ONCE]
        shape = (len(chunk), len(values))
        begins = generator.random(shape, dtype=np.float32) < new_block_probability
        _measure_resamples(values, begins, generator.integers(0, len(values), shape, dtype=np.int32), chunk)
    return ratios


@njit(cache=True, nogil=True, error_model="numpy")
def _measure_resamples(
    returns: FloatArray, begins: NDArray[np.bool_], starts: NDArray[np.int32], ratios: FloatArray
) -> None:
    n = len(returns)
    for draw in range(len(ratios)):
        total, squares = 0.0, 0.0
        place = 0
        for step in range(n):
            if step == 0 or begins[draw, step]:
                place = starts[draw, step]
            value = returns[place]
            total += value
            squares += value * value
            place = place + 1 if place + 1 < n else 0
        mean = total / n
        variance = (squares - n * mean * mean) / (n - 1)
        # Equal returns leave a variance of rounding errors only.
        if variance > 1e-14 * squares / n:
            ratios[draw] = mean / math.sqrt(variance)
        elif mean == 0.0:
            ratios[draw] = 0.0
        else:
            ratios[draw] = math.copysign(RATIO_CAP, mean)


def resampling_counts(n: int, generator: np.random.Generator, n_draws: int, new_block_probability: float) -> FloatArray:
    """Return how often each of n observations comes up in each stationary resample (n_draws, n); rows add up to n.

    With it a resampled mean of many series at once is one matrix product.
    """
    counts = np.zeros((n_draws, n))
    for first in range(0, n_draws, _DRAWS_AT_ONCE):
        chunk = counts[first : first + _DRAWS_AT_ONCE]
        begins = generator.random(chunk.shape, dtype=np.float32) < new_block_probability
        _count_resamples(begins, generator.integers(0, n, chunk.shape, dtype=np.int32), chunk)
    return counts


@njit(cache=True, nogil=True)
def _count_resamples(begins: NDArray[np.bool_], starts: NDArray[np.int32], counts: FloatArray) -> None:
    n_draws, n = counts.shape
    for draw in range(n_draws):
        place = 0
        for step in range(n):
            if step == 0 or begins[draw, step]:
                place = starts[draw, step]
            counts[draw, place] += 1.0
            place = place + 1 if place + 1 < n else 0
