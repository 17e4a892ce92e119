"""The shapes a fuzzy set may have, and their memberships."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
ShapeKind = Literal["triangle", "trapezoid", "gaussian", "left_shoulder", "right_shoulder"]

_N_POINTS: dict[ShapeKind, int] = {
    "triangle": 3,
    "trapezoid": 4,
    "gaussian": 2,
    "left_shoulder": 2,
    "right_shoulder": 2,
}


@dataclass(frozen=True, slots=True)
class Shape:
    """One membership function, of values from 0 to 1.

    - `triangle` [a, b, c]: 0 outside a..c, 1 at b, straight in between; a = b or b = c is a step.
    - `trapezoid` [a, b, c, d]: the same with 1 from b to c.
    - `gaussian` [centre, width]: exp(-((x - centre) / width)^2 / 2).
    - `left_shoulder` [a, b]: 1 up to a, 0 from b; `right_shoulder` [a, b]: 0 up to a, 1 from b.

    Raises:
        ValueError: Another number of points, a point that is not finite, points not sorted, or no width.
    """

    kind: ShapeKind
    points: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.kind not in get_args(ShapeKind):
            raise ValueError(f"need a shape of {', '.join(get_args(ShapeKind))}, was {self.kind!r}")
        if len(self.points) != _N_POINTS[self.kind] or not all(map(math.isfinite, self.points)):
            raise ValueError(f"a {self.kind} needs {_N_POINTS[self.kind]} finite points, was {self.points!r}")
        if self.kind == "gaussian":
            if self.points[1] <= 0:
                raise ValueError(f"a gaussian needs a width above 0, was {self.points[1]!r}")
        elif list(self.points) != sorted(self.points) or self.points[0] == self.points[-1]:
            raise ValueError(f"a {self.kind} needs points from low to high, was {self.points!r}")

    def corners(self) -> tuple[float, float, float, float]:
        """Return the four corners of the shape as a trapezoid; (centre, width, nan, nan) for a gaussian."""
        p = self.points
        if self.kind == "triangle":
            return p[0], p[1], p[1], p[2]
        if self.kind == "trapezoid":
            return p[0], p[1], p[2], p[3]
        if self.kind == "left_shoulder":
            return -math.inf, -math.inf, p[0], p[1]
        if self.kind == "right_shoulder":
            return p[0], p[1], math.inf, math.inf
        return p[0], p[1], math.nan, math.nan


def shape_memberships(shapes: Sequence[Shape], values: FloatArray) -> FloatArray:
    """Return the membership of every value (n,) in every shape, float64 (n, n_shapes); NaN for a NaN."""
    corners = np.array([shape.corners() for shape in shapes], dtype=np.float64).reshape(-1, 4)
    memberships: FloatArray = _memberships(np.ascontiguousarray(values, dtype=np.float64), corners)
    return memberships


@njit(cache=True, error_model="numpy")
def _memberships(values: FloatArray, corners: FloatArray) -> FloatArray:
    n, n_shapes = values.shape[0], corners.shape[0]
    result = np.empty((n_shapes, n))  # one row per shape: consecutive writes let the compiler use SIMD
    for s in range(n_shapes):
        a, b, c, d = corners[s]
        row = result[s]
        if np.isnan(d):
            for i in range(n):
                distance = (values[i] - a) / b
                row[i] = np.exp(-0.5 * distance * distance)
            continue
        has_rise, has_fall = b > a, d > c  # else that side is a step (or a shoulder without end)
        for i in range(n):
            x = values[i]
            rise = (x - a) / (b - a) if has_rise else (1.0 if x >= a else 0.0)
            fall = (d - x) / (d - c) if has_fall else (1.0 if x <= d else 0.0)
            lower = rise if rise < fall else fall
            lower = 1.0 if lower > 1.0 else lower
            lower = 0.0 if lower < 0.0 else lower
            row[i] = lower if x == x else np.nan
    return result.T
