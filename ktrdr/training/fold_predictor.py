"""What the fitted folds say of bars: of their test blocks, of the rows they learned from, of their validation rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ktrdr.features.inputs import FeatureInputs
from ktrdr.networks.fit import FitState
from ktrdr.networks.stack import NetworkStack
from ktrdr.strategy.specification import Model
from ktrdr.training.calibration import measure_calibration
from ktrdr.training.model import mean_probability
from ktrdr.training.network import network_columns
from ktrdr.training.parts import TrainingPart
from ktrdr.training.predictions import Predictions
from ktrdr.training.report import Calibration
from ktrdr.training.splits import RowArray


@dataclass(frozen=True, slots=True, eq=False)
class FoldPredictor:
    """The best networks of all folds; those of fold f (from 0) and seed s have the place f * n_seeds + s in `state`.

    Every probability is the mean over the fold's seeds.
    """

    model: Model
    stack: NetworkStack
    folds: Sequence[TrainingPart]
    state: FitState
    n_seeds: int

    def test_blocks(self) -> Predictions:
        """Return every fold's probabilities of its own test block, in time order."""
        return self._collect([(part.test_bars, part.test_inputs) for part in self.folds])

    def fitted_rows(self, inputs: FeatureInputs) -> Predictions:
        """Return every fold's probabilities of all bars from its first fitted row to its last one."""
        wanted = []
        for part in self.folds:
            bars = np.arange(part.training.fitted[0], part.training.fitted[-1] + 1)
            wanted.append((bars, part.scaling.apply(network_columns(self.model, part.encoder, inputs)[bars])))
        return self._collect(wanted)

    def calibration(self) -> Calibration:
        """Measure the probabilities of all validation rows."""
        probability = [self._predict(fold, part.rows.validation_inputs) for fold, part in enumerate(self.folds)]
        target = [part.rows.validation_targets.astype(np.float64) for part in self.folds]
        return measure_calibration(np.concatenate(probability), np.concatenate(target))

    def _collect(self, wanted: Sequence[tuple[RowArray, NDArray[np.float32]]]) -> Predictions:
        return Predictions(
            bar_index=np.concatenate([bars for bars, _ in wanted]).astype(np.int64),
            fold=np.repeat(np.arange(1, len(wanted) + 1, dtype=np.int8), [len(bars) for bars, _ in wanted]),
            probability=np.concatenate([self._predict(fold, rows) for fold, (_, rows) in enumerate(wanted)]),
        )

    def _predict(self, fold: int, scaled: NDArray[np.float32]) -> NDArray[np.float64]:
        best: torch.Tensor = self.state.best_parameters[fold * self.n_seeds : (fold + 1) * self.n_seeds]
        return mean_probability(self.stack, best, scaled)
