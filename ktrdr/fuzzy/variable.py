"""A fuzzy variable: named sets over one input."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import numpy as np

from ktrdr.errors import OperationFailed
from ktrdr.fuzzy.shape import FloatArray, Shape, ShapeKind, shape_memberships


@dataclass(frozen=True, slots=True)
class FuzzyVariable:
    """Sets over one input, in the order of the strategy file.

    Raises:
        ValueError: No sets, repeated names, or not one shape per name.
    """

    name: str
    set_names: tuple[str, ...]
    shapes: tuple[Shape, ...]

    def __post_init__(self) -> None:
        if not self.set_names or len(set(self.set_names)) != len(self.set_names):
            raise ValueError(f"{self.name}: need at least one set and different names, was {self.set_names!r}")
        if len(self.shapes) != len(self.set_names):
            raise ValueError(f"{self.name}: need {len(self.set_names)} shapes, was {len(self.shapes)}")

    def memberships(self, values: FloatArray) -> FloatArray:
        """Return the memberships of `values` (n,), float64 (n, n_sets) from 0 to 1; NaN where a value is NaN."""
        return shape_memberships(self.shapes, values)

    def to_dict(self) -> dict[str, object]:
        """Return a JSON document from which `from_dict` makes an equal variable."""
        sets = {
            name: {"shape": shape.kind, "points": list(shape.points)}
            for name, shape in zip(self.set_names, self.shapes, strict=True)
        }
        return {"name": self.name, "sets": sets}

    @classmethod
    def from_dict(cls, document: Mapping[str, object]) -> "FuzzyVariable":
        """Rebuild a variable from `to_dict`.

        Raises:
            ValueError: The document is not one that `to_dict` writes.
        """
        name, sets = document.get("name"), document.get("sets")
        if not isinstance(name, str) or not isinstance(sets, Mapping):
            raise ValueError(f"need a fuzzy variable with name and sets, was {document!r}")
        return cls(name, tuple(sets), tuple(_shape_from(name, each) for each in sets.values()))


def fit_partition(name: str, set_names: Sequence[str], training_values: FloatArray) -> FuzzyVariable:
    """Return sets whose peaks are the quantiles (i + 0.5) / n of the training values, i = 0..n-1.

    Every value belongs to the two sets whose peaks surround it, with memberships that sum to 1 (a Ruspini
    partition); beyond the first and last peak the outer sets stay at 1, so no value is in no set.

    Args:
        name: The variable, for messages.
        set_names: From the lowest set to the highest; at least 2.
        training_values: Finite values (n_rows,) of the fitted rows only.

    Raises:
        ValueError: Fewer than 2 sets, no training values, or one that is not finite.
        OperationFailed: `fuzzy_set_degenerate`, two peaks coincide because too many values are equal.
    """
    values = np.asarray(training_values, dtype=np.float64)
    n_sets = len(set_names)
    if n_sets < 2 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"{name}: need >= 2 sets and finite training values, was {n_sets=}, {values.size=}")
    peaks = [float(peak) for peak in np.quantile(values, (np.arange(n_sets) + 0.5) / n_sets)]
    for i, (lower, upper) in enumerate(pairwise(peaks)):
        if not lower < upper:
            raise OperationFailed(
                f"the sets {set_names[i]!r} and {set_names[i + 1]!r} of fuzzy set {name!r} coincide at {lower:g}: too "
                "many training values are equal; use fewer sets, explicit sets, or another indicator",
                reason="fuzzy_set_degenerate",
            )
    middle = (Shape("triangle", (peaks[i - 1], peaks[i], peaks[i + 1])) for i in range(1, n_sets - 1))
    left, right = (peaks[0], peaks[1]), (peaks[-2], peaks[-1])
    shapes = (Shape("left_shoulder", left), *middle, Shape("right_shoulder", right))
    return FuzzyVariable(name, tuple(set_names), shapes)


def _shape_from(name: str, document: object) -> Shape:
    if not isinstance(document, Mapping) or not isinstance(document.get("points"), list):
        raise ValueError(f"{name}: need shape and points, was {document!r}")
    kind = cast(ShapeKind, document.get("shape"))  # Shape refuses any other
    return Shape(kind, tuple(float(point) for point in document["points"]))
