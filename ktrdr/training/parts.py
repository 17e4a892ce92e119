"""Training parts: the rows of a fold, or of the final model, with what was fitted on them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ktrdr.errors import OperationFailed
from ktrdr.features.encoder import FuzzyEncoder
from ktrdr.features.inputs import FeatureInputs
from ktrdr.labels.label import Labels
from ktrdr.networks.fit import FitRows
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.training.network import network_columns, network_frame
from ktrdr.training.scaling import FeatureScaling
from ktrdr.training.splits import RowArray, TrainingRows

MINIMUM_FITTED_ROWS = 100
MINIMUM_VALIDATION_ROWS = 30


@dataclass(frozen=True, slots=True, eq=False)
class TrainingPart:
    """One training part, ready to fit.

    Attributes:
        name: What a message calls it: "fold 2", "the final model".
        training: Its rows.
        encoder: Fuzzy sets, fitted on the fitted rows alone.
        scaling: Standardisation, measured on the fitted rows alone.
        rows: Scaled features and targets of the fitted and the validation rows.
        test_bars: Bars to predict, ascending; none for the final model.
        test_inputs: Their scaled features.
        base_rate: Share of class 1 in the validation rows.
    """

    name: str
    training: TrainingRows
    encoder: FuzzyEncoder
    scaling: FeatureScaling
    rows: FitRows
    test_bars: RowArray
    test_inputs: NDArray[np.float32]
    base_rate: float


def prepare_part(
    specification: StrategySpecification,
    inputs: FeatureInputs,
    labels: Labels,
    *,
    name: str,
    training: TrainingRows,
    test_bars: RowArray,
) -> TrainingPart:
    """Fit encoder and scaling on the part's fitted rows and turn its rows into network inputs.

    Raises:
        OperationFailed: `too_few_bars` or `single_class_labels`: the part cannot be trained on; and what
            `FuzzyEncoder.fit` raises.
    """
    _check_counts(name, training)
    targets = labels.value.astype(np.float32)
    _check_classes(name, targets[training.fitted])
    encoder = FuzzyEncoder.fit(specification, inputs, training.fitted)
    features = network_columns(specification.model, encoder, inputs)
    scaling = FeatureScaling.fit(features[training.fitted])
    return TrainingPart(
        name=name,
        training=training,
        encoder=encoder,
        scaling=scaling,
        rows=FitRows(
            fitted_inputs=scaling.apply(features[training.fitted]),
            fitted_targets=targets[training.fitted],
            validation_inputs=scaling.apply(features[training.validation]),
            validation_targets=targets[training.validation],
            frame=network_frame(specification.model, encoder, scaling, features[training.fitted]),
        ),
        test_bars=test_bars,
        test_inputs=scaling.apply(features[test_bars]),
        base_rate=float(targets[training.validation].mean(dtype=np.float64)),
    )


def _check_counts(name: str, training: TrainingRows) -> None:
    n_fitted, n_validation = len(training.fitted), len(training.validation)
    if n_fitted >= MINIMUM_FITTED_ROWS and n_validation >= MINIMUM_VALIDATION_ROWS:
        return
    n_purged = training.purged_before_test + training.purged_before_validation
    raise OperationFailed(
        f"{name} has {n_fitted} rows to fit and {n_validation} to validate ({n_purged} more were purged because "
        f"their labels reach too far); at least {MINIMUM_FITTED_ROWS} and {MINIMUM_VALIDATION_ROWS} are needed: "
        "import a longer series, choose a smaller timeframe, or lower labels.horizon, labels.threshold or the "
        "indicators' periods",
        reason="too_few_bars",
    )


def _check_classes(name: str, targets: NDArray[np.float32]) -> None:
    if targets.min() < targets.max():
        return
    raise OperationFailed(
        f"all {len(targets)} fitted rows of {name} have the label {targets[0]:.0f}; both classes are needed: "
        "change labels.horizon, labels.threshold or the barriers so that both outcomes occur",
        reason="single_class_labels",
    )
