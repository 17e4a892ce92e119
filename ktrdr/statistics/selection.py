"""What choosing the best of several strategies is worth: whether it holds up elsewhere, whether any beats cash.

Both take the returns of all of them on the same days; one alone cannot be chosen from.
"""

import math
from itertools import combinations

import numpy as np

from ktrdr.statistics.bootstrap import resampling_counts
from ktrdr.statistics.returns import FloatArray

N_BLOCKS = 10  # 252 ways to choose half of them
FEWEST_OBSERVATIONS = 5 * N_BLOCKS
_N_DRAWS = 1000


def overfitting_probability(returns: FloatArray) -> float:
    """Return how often the best of one half of the time is in the lower half of the others in the remaining time.

    Args:
        returns: (n_days, n_strategies), both at least `FEWEST_OBSERVATIONS` and 2; no column constant.

    Raises:
        ValueError: Too few days or strategies.

    Source:
        Bailey, Borwein, Lopez de Prado & Zhu (2015), "The Probability of Backtest Overfitting": combinatorially
        symmetric cross-validation by the Sharpe ratio.
    """
    _require_choice(returns)
    blocks = np.array_split(returns, N_BLOCKS)
    sizes = np.array([len(block) for block in blocks], dtype=np.float64)
    sums = np.array([block.sum(axis=0) for block in blocks])
    squares = np.array([(block**2).sum(axis=0) for block in blocks])
    is_chosen = np.zeros((math.comb(N_BLOCKS, N_BLOCKS // 2), N_BLOCKS))
    for row, chosen in enumerate(combinations(range(N_BLOCKS), N_BLOCKS // 2)):
        is_chosen[row, chosen] = 1.0
    inside, outside = (_ratios(weight, sizes, sums, squares) for weight in (is_chosen, 1.0 - is_chosen))
    best = inside.argmax(axis=1)[:, None]
    of_best = np.take_along_axis(outside, best, axis=1)
    below, equal = (outside < of_best).sum(axis=1), (outside == of_best).sum(axis=1)
    rank = below + (equal + 1) / 2
    # logit(rank / (n + 1)) <= 0
    return float((2 * rank <= returns.shape[1] + 1).mean())


def superior_ability_p_value(returns: FloatArray, *, block: float, seed: int) -> float:
    """Return the probability that the best of strategies none of which earns anything looks as good as the best here.

    Args:
        returns: (n_days, n_strategies) over cash, both at least `FEWEST_OBSERVATIONS` and 2; no column constant.
        block: Mean length of the resampled blocks of days; >= 1.
        seed: What the draws derive from.

    Raises:
        ValueError: Too few days or strategies.

    Source:
        Hansen (2005), "A Test for Superior Predictive Ability": studentised, the consistent recentring.
    """
    _require_choice(returns)
    n_days = len(returns)
    generator = np.random.Generator(np.random.PCG64(seed))
    counts = resampling_counts(n_days, generator, _N_DRAWS, 1.0 / block)
    mean = returns.mean(axis=0)
    drawn = counts @ (returns - mean) / n_days
    deviation = drawn.std(axis=0)
    # Those far below zero cannot be the best; left where they are they take no part.
    recentred = np.where(mean >= -deviation * math.sqrt(2 * math.log(math.log(n_days))), 0.0, mean)
    statistic = max(float((mean / deviation).max()), 0.0)
    by_luck = np.maximum(((drawn + recentred) / deviation).max(axis=1), 0.0)
    return float((1 + (by_luck >= statistic).sum()) / (1 + _N_DRAWS))


def _ratios(weight: FloatArray, sizes: FloatArray, sums: FloatArray, squares: FloatArray) -> FloatArray:
    n = (weight @ sizes)[:, None]
    mean = weight @ sums / n
    variance = np.maximum((weight @ squares - n * mean**2) / (n - 1), 0.0)
    # Where nothing was traded in these blocks the mean is zero too.
    return np.divide(mean, np.sqrt(variance), out=np.zeros_like(mean), where=variance > 0)


def _require_choice(returns: FloatArray) -> None:
    if returns.ndim != 2 or len(returns) < FEWEST_OBSERVATIONS or returns.shape[1] < 2:
        raise ValueError(f"need at least {FEWEST_OBSERVATIONS} days of 2 strategies, was {returns.shape}")
