"""Standardisation of features, measured on fitted rows alone."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class FeatureScaling:
    """Mean and standard deviation per feature, float64 `(n_features,)`; a constant feature has 1."""

    mean: FloatArray
    deviation: FloatArray

    @classmethod
    def fit(cls, fitted_features: FloatArray) -> "FeatureScaling":
        """Measure the fitted rows `(n_rows, n_features)`."""
        deviation = fitted_features.std(axis=0)
        # The sd of equal numbers is often some 1e-17, not 0: compare the values.
        is_constant = (fitted_features == fitted_features[0]).all(axis=0) | (deviation == 0)
        return cls(fitted_features.mean(axis=0), np.where(is_constant, 1.0, deviation))

    def apply(self, features: FloatArray) -> NDArray[np.float32]:
        """Return standardised rows as the network takes them."""
        return ((features - self.mean) / self.deviation).astype(np.float32)

    def to_dict(self) -> dict[str, list[float]]:
        """Return a JSON document; floats survive it exactly."""
        return {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}

    @classmethod
    def from_dict(cls, document: Mapping[str, list[float]]) -> "FeatureScaling":
        """Read what `to_dict` gave out.

        Raises:
            KeyError: One of the two is missing.
        """
        return cls(np.array(document["mean"]), np.array(document["deviation"]))
