"""Which bars a network can learn from."""

import numpy as np

from ktrdr.errors import OperationFailed
from ktrdr.features.inputs import FeatureInputs
from ktrdr.labels.label import Labels
from ktrdr.training.splits import RowArray


def usable_rows(inputs: FeatureInputs, labels: Labels) -> RowArray:
    """Return the bars with valid features and a label, ascending.

    Raises:
        OperationFailed: `no_labels`: there is none.
    """
    rows = np.flatnonzero(labels.value >= 0)
    rows = rows[rows >= inputs.first_row]
    if len(rows) == 0:
        raise OperationFailed(
            f"none of the {len(labels.value)} bars has both features (from bar {inputs.first_row} on) and a label; "
            "every row needs both: lower labels.horizon, labels.threshold or the indicators' periods, or import more "
            "bars",
            reason="no_labels",
        )
    return rows
