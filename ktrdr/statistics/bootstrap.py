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
    block = _block_length(net_returns, shortest_block)
    generator = np.random.Generator(np.random.PCG64(seed))
    drawn = resampled_ratios(net_returns, generator, N_DRAWS, 1.0 / block)
    annual = np.clip(drawn * math.sqrt(days_per_year), -RATIO_CAP, RATIO_CAP)
    low, high = np.quantile(annual, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def intervals_below_zero(
    net_returns: FloatArray, *, days_per_year: float, shortest_blocks: FloatArray, seed: int
) -> NDArray[np.bool_]:
    """Return of many series whether `sharpe_interval` of each ends at zero or below, for a fraction of its work.

    The resamples are the same. A ratio has the sign of its sum, which is quicker; and a series is left as soon as so
    many are above zero that the upper end must be, which for most is after a few. Where rounding could decide, or the
    end lies between two resamples of different signs, the interval itself is asked.

    Args:
        net_returns: (n_series, n_days), as for `sharpe_interval`.
        days_per_year: As for `sharpe_interval`.
        shortest_blocks: (n_series,), as for `sharpe_interval`.
        seed: As for `sharpe_interval`.
    """
    # The upper end lies at this place among the sorted resamples, counted from the lowest.
    place = (1 + CONFIDENCE) / 2 * (N_DRAWS - 1)
    enough = N_DRAWS - math.floor(place)
    blocks = [_block_length(each, float(least)) for each, least in zip(net_returns, shortest_blocks, strict=True)]
    n_above, is_doubtful = np.zeros(len(blocks), dtype=np.int64), np.zeros(len(blocks), dtype=np.bool_)
    rounding = 1e-9 * np.abs(net_returns).sum(axis=1)
    doubled = np.concatenate((net_returns, net_returns), axis=1)  # a block that goes on at the beginning stays in it
    generator = np.random.Generator(np.random.PCG64(seed))
    undecided = np.arange(len(blocks))
    for _ in range(N_DRAWS // _DRAWS_AT_ONCE):
        drawn_uniform, drawn_starts = _draw_blocks(generator, (_DRAWS_AT_ONCE, net_returns.shape[1]))
        uniform, starts = np.ascontiguousarray(drawn_uniform.T), np.ascontiguousarray(drawn_starts.T)
        for number in undecided:
            sums = _sum_resamples(doubled[number], uniform, starts, np.float32(1.0 / blocks[number]))
            n_above[number] += (sums > rounding[number]).sum()
            is_doubtful[number] |= ((sums != 0) & (np.abs(sums) <= rounding[number])).any()
        undecided = undecided[n_above[undecided] < enough]
    is_below = n_above < enough
    for number in np.flatnonzero(is_below & (is_doubtful | (n_above >= N_DRAWS - math.ceil(place)))):
        least = float(shortest_blocks[number])
        interval = sharpe_interval(net_returns[number], days_per_year=days_per_year, shortest_block=least, seed=seed)
        is_below[number] = interval[1] <= 0
    return is_below


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_resamples(
    doubled: FloatArray, uniform: NDArray[np.float32], starts: NDArray[np.int32], new_block_probability: np.float32
) -> FloatArray:
    # Draws lie side by side, and each loop does one thing: so the compiler does several draws at once.
    n, n_draws = uniform.shape
    places = starts[0].copy()
    sums: FloatArray = doubled[places]
    for step in range(1, n):
        for draw in range(n_draws):
            begins = uniform[step, draw] < new_block_probability
            places[draw] = starts[step, draw] if begins else places[draw] + np.int32(1)
        for draw in range(n_draws):
            sums[draw] += doubled[places[draw]]
    return sums


def _block_length(net_returns: FloatArray, shortest_block: float) -> float:
    n_days = len(net_returns)
    if n_days < FEWEST_DAYS or not np.isfinite(net_returns).all():
        raise ValueError(f"need at least {FEWEST_DAYS} finite daily returns, was {n_days} days")
    return min(max(optimal_block_length(net_returns), shortest_block, 1.0), float(n_days))


def _draw_blocks(
    generator: np.random.Generator, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return what decides at each step whether a block begins, and where it would."""
    return generator.random(shape, dtype=np.float32), generator.integers(0, shape[1], shape, dtype=np.int32)


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
        uniform, starts = _draw_blocks(generator, (len(chunk), len(values)))
        _measure_resamples(values, uniform < new_block_probability, starts, chunk)
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
        uniform, starts = _draw_blocks(generator, (len(chunk), n))
        _count_resamples(uniform < new_block_probability, starts, chunk)
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
