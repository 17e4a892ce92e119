"""What a rule network starts from: the fuzzy sets as smooth bells, and which combinations of them are rules."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ktrdr.fuzzy.shape import Shape
from ktrdr.fuzzy.variable import FuzzyVariable

FloatArray = NDArray[np.float64]

HALF = math.sqrt(2 * math.log(2))
"""Where a bell's membership is one half, in widths beyond its plateau."""
_NARROWEST = 0.02  # standard deviations: a step must stay differentiable
FAR = 1e6
"""Standard deviations; a plateau that reaches so far has no end, as that of a shoulder."""


@dataclass(frozen=True, slots=True, eq=False)
class RuleFrame:
    """Bells and rules of one training part, in standard deviations of its fitted rows.

    A bell is 1 from `low` to `high` and falls off on both sides like a gaussian of that side's width:
    exp(-((low - x) / left)^2 / 2) below, and so above.

    Attributes:
        input_of_set: Input of each set `(n_sets,)`.
        low, high: Ends of the plateau `(n_sets,)`.
        left, right: Widths of the flanks `(n_sets,)`.
        rules: For each rule the set of every input `(n_rules, n_inputs)`, most supported first.
    """

    input_of_set: NDArray[np.intp]
    low: FloatArray
    high: FloatArray
    left: FloatArray
    right: FloatArray
    rules: NDArray[np.intp]


def build_frame(
    variables: Sequence[FuzzyVariable],
    mean: FloatArray,
    deviation: FloatArray,
    fitted: FloatArray,
    *,
    most_rules: int,
) -> RuleFrame:
    """Return the frame of a training part.

    A row belongs to the combination of the set of each input in which it is most; the rules are the combinations with
    the most fitted rows. Labels play no part, so that a recipe on shifted labels has the same rules.

    Args:
        variables: Fuzzy variables, one per input, fitted on this part.
        mean: Of each input over the fitted rows `(n_inputs,)`.
        deviation: Standard deviations `(n_inputs,)`.
        fitted: Inputs of the fitted rows as they are, `(n_rows, n_inputs)`.
        most_rules: Rules to choose; fewer where the rows fall into fewer combinations.
    """
    bells, input_of_set = [], []
    for number, variable in enumerate(variables):
        for shape in variable.shapes:
            bells.append(_bell(shape, float(mean[number]), float(deviation[number])))
            input_of_set.append(number)
    low, high, left, right = np.array(bells).T
    owner = np.array(input_of_set, dtype=np.intp)
    scaled = (fitted - mean) / deviation
    log_membership = log_bells(scaled[:, owner], low, high, left, right)
    strongest = np.empty(fitted.shape, dtype=np.intp)
    for number in range(len(variables)):
        own = np.flatnonzero(owner == number)
        strongest[:, number] = own[log_membership[:, own].argmax(axis=1)]
    combinations, counts = np.unique(strongest, axis=0, return_counts=True)
    by_support = np.argsort(-counts, kind="stable")[:most_rules]  # equal counts: in the order of the file's sets
    return RuleFrame(owner, low, high, left, right, combinations[by_support])


def log_bells(x: FloatArray, low: FloatArray, high: FloatArray, left: FloatArray, right: FloatArray) -> FloatArray:
    """Return the logarithm of the memberships of `x (n_rows, n_sets)`, one column per bell."""
    beyond = np.maximum(x - high, 0) / right + np.minimum(x - low, 0) / left
    result: FloatArray = -0.5 * beyond**2
    return result


def _bell(shape: Shape, mean: float, deviation: float) -> tuple[float, float, float, float]:
    """Return low, high, left and right of the bell that is one half where the shape is, a gaussian unchanged."""
    start, low, high, stop = shape.corners()
    if shape.kind == "gaussian":
        centre, width = (start - mean) / deviation, low / deviation
        return centre, centre, max(width, _NARROWEST), max(width, _NARROWEST)
    left = max((low - start) / 2 / HALF / deviation, _NARROWEST) if math.isfinite(low) else 1.0
    right = max((stop - high) / 2 / HALF / deviation, _NARROWEST) if math.isfinite(high) else 1.0
    return max((low - mean) / deviation, -FAR), min((high - mean) / deviation, FAR), left, right
