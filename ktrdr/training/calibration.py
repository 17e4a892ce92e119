"""Whether a probability means what it says."""

import numpy as np
from numpy.typing import NDArray

from ktrdr.training.report import Calibration, ReliabilityBin

_N_BINS = 10


def measure_calibration(probability: NDArray[np.float64], target: NDArray[np.float64]) -> Calibration:
    """Return Brier score and reliability of probabilities (n,) of class 1 against what came, 0 or 1 (n,); n >= 1."""
    number = np.minimum((probability * _N_BINS).astype(int), _N_BINS - 1)
    bins = [
        ReliabilityBin(
            lower=each / _N_BINS,
            upper=(each + 1) / _N_BINS,
            n=int((number == each).sum()),
            mean_probability=float(probability[number == each].mean()),
            share=float(target[number == each].mean()),
        )
        for each in np.unique(number).tolist()
    ]
    return Calibration(brier_score=float(((probability - target) ** 2).mean()), bins=bins)
