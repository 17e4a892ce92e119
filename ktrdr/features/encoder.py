"""From inputs to the columns that the network sees: memberships in fuzzy sets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ktrdr.errors import OperationFailed
from ktrdr.features.inputs import FeatureInputs
from ktrdr.fuzzy.shape import Shape
from ktrdr.fuzzy.variable import FuzzyVariable, fit_partition
from ktrdr.strategy.specification import FuzzySetSpecification, StrategySpecification

FloatArray = NDArray[np.float64]

COVERED_ABOVE = 0.05
"""A value counts as covered by a set in which its membership is above this."""


@dataclass(frozen=True, slots=True)
class FuzzyEncoder:
    """The fuzzy variables of a strategy, their partitions fitted on the rows of one fold."""

    variables: tuple[FuzzyVariable, ...]

    @classmethod
    def fit(cls, specification: StrategySpecification, inputs: FeatureInputs, fitted_rows: NDArray[np.intp]) -> Self:
        """Return the encoder whose partitions are quantiles of the fitted rows, and of no other.

        Args:
            specification: The strategy that `inputs` come from.
            inputs: Values for the whole series.
            fitted_rows: Bar indices (n_rows,) that training fits on, none before `inputs.first_row`.

        Raises:
            ValueError: No fitted rows, or one before the first row.
            OperationFailed: `fuzzy_set_degenerate`, a partition's sets coincide.
        """
        if len(fitted_rows) == 0 or fitted_rows.min() < inputs.first_row:
            raise ValueError(f"need fitted rows from {inputs.first_row} on, was {fitted_rows!r}")
        columns = inputs.values[fitted_rows]
        variables = (
            _fit_variable(name, specification.fuzzy_sets[name], columns[:, column])
            for column, name in enumerate(inputs.names)
        )
        return cls(tuple(variables))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features in column order, such as `rsi.oversold`."""
        return tuple(f"{each.name}.{set_name}" for each in self.variables for set_name in each.set_names)

    def transform(self, inputs: FeatureInputs) -> FloatArray:
        """Return the features, float64 (n_bars, n_features) from 0 to 1; rows before `first_row` are NaN.

        Raises:
            ValueError: The inputs are those of other fuzzy variables.
        """
        known = tuple(variable.name for variable in self.variables)
        if inputs.names != known:
            raise ValueError(f"need the inputs of {known}, was {inputs.names}")
        features = np.full((len(inputs.values), len(self.feature_names)), np.nan)
        stop = 0
        for column, variable in enumerate(self.variables):
            start, stop = stop, stop + len(variable.set_names)
            settled = inputs.values[inputs.first_row :, column]
            features[inputs.first_row :, start:stop] = variable.memberships(settled)
        return features

    def coverage(self, inputs: FeatureInputs, rows: NDArray[np.intp]) -> dict[str, float]:
        """Return the share of `rows` that belongs to each set, and to any set of each fuzzy variable.

        Args:
            inputs: As for `transform`.
            rows: Bar indices (n_rows,), at least one, none before `inputs.first_row`.

        Returns:
            `{"rsi": 0.98, "rsi.oversold": 0.2, ...}`, fractions; belonging means a membership above 0.05. A
            variable well below 1 has a dead zone; a set at 0 is a feature that never speaks.

        Raises:
            ValueError: No rows, one before the first row, or inputs of other fuzzy variables.
        """
        if len(rows) == 0 or rows.min() < inputs.first_row:
            raise ValueError(f"need rows from {inputs.first_row} on, was {rows!r}")
        belongs = self.transform(inputs)[rows] > COVERED_ABOVE
        shares: dict[str, float] = {}
        stop = 0
        for variable in self.variables:
            start, stop = stop, stop + len(variable.set_names)
            shares[variable.name] = float(belongs[:, start:stop].any(axis=1).mean())
            for set_name, column in zip(variable.set_names, range(start, stop), strict=True):
                shares[f"{variable.name}.{set_name}"] = float(belongs[:, column].mean())
        return shares

    def refuse_empty_sets(self, inputs: FeatureInputs, rows: NDArray[np.intp]) -> None:
        """Return if some of `rows` belong to every set; arguments and belonging as of `coverage`.

        Raises:
            OperationFailed: `fuzzy_set_empty`, with every such set and where the values of its input lie.
        """
        shares = self.coverage(inputs, rows)
        lowest, highest = inputs.values[rows].min(axis=0), inputs.values[rows].max(axis=0)
        empty = [
            f"fuzzy_sets.{variable.name}.sets.{name} (its input lies in {lowest[column]:.4g} to {highest[column]:.4g})"
            for column, variable in enumerate(self.variables)
            for name in variable.set_names
            if shares[f"{variable.name}.{name}"] == 0.0
        ]
        if empty:
            raise OperationFailed(
                f"none of the {len(rows)} fitted rows belongs to {', '.join(empty)}: move the points to where the "
                "values are, remove the set, or use a partition",
                reason="fuzzy_set_empty",
            )

    def to_dict(self) -> dict[str, object]:
        """Return a JSON document from which `from_dict` makes an equal encoder."""
        return {"variables": [variable.to_dict() for variable in self.variables]}

    @classmethod
    def from_dict(cls, document: Mapping[str, object]) -> Self:
        """Rebuild an encoder from `to_dict`.

        Raises:
            ValueError: The document is not one that `to_dict` writes.
        """
        variables = document.get("variables")
        if not isinstance(variables, list):
            raise ValueError(f"need a list of fuzzy variables, was {document!r}")
        return cls(tuple(FuzzyVariable.from_dict(each) for each in variables))


def _fit_variable(name: str, specification: FuzzySetSpecification, fitted: FloatArray) -> FuzzyVariable:
    if specification.partition is not None:
        return fit_partition(name, specification.partition, fitted)
    if specification.sets is None:
        raise ValueError(f"fuzzy set {name!r} has neither sets nor partition")
    shapes = tuple(Shape(each.shape, each.points) for each in specification.sets.values())
    return FuzzyVariable(name, tuple(specification.sets), shapes)
