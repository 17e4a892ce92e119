"""Which network a strategy asks for, and the columns of a bar that it sees."""

import numpy as np
from numpy.typing import NDArray

from ktrdr.features.encoder import FuzzyEncoder
from ktrdr.features.inputs import FeatureInputs
from ktrdr.networks.anfis import AnfisShape, AnfisStack
from ktrdr.networks.mlp import MlpShape, MlpStack
from ktrdr.networks.rule_frame import RuleFrame, build_frame
from ktrdr.networks.stack import NetworkStack
from ktrdr.strategy.specification import AnfisSpecification, Model
from ktrdr.training.scaling import FeatureScaling

FloatArray = NDArray[np.float64]


def make_stack(model: Model, encoder: FuzzyEncoder) -> NetworkStack:
    """Return the arithmetic of the strategy's networks; any fold's encoder will do, all have the same sets."""
    if isinstance(model, AnfisSpecification):
        return make_rule_stack(model, encoder)
    return MlpStack(MlpShape(len(encoder.feature_names), model.hidden, model.dropout))


def make_rule_stack(model: AnfisSpecification, encoder: FuzzyEncoder) -> AnfisStack:
    """Return the arithmetic of rule networks over the encoder's sets."""
    owners = (number for number, variable in enumerate(encoder.variables) for _ in variable.set_names)
    return AnfisStack(AnfisShape(tuple(owners), model.rules, model.learn_memberships))


def column_names(model: Model, encoder: FuzzyEncoder) -> tuple[str, ...]:
    """Return what the network's columns are called: `rsi.oversold`, or `rsi` for a network with sets of its own."""
    if isinstance(model, AnfisSpecification):
        return tuple(variable.name for variable in encoder.variables)
    return encoder.feature_names


def network_columns(model: Model, encoder: FuzzyEncoder, inputs: FeatureInputs) -> FloatArray:
    """Return what the network sees, before scaling, float64 (n_bars, n_columns); NaN before `inputs.first_row`.

    An `mlp` sees memberships. An `anfis` computes memberships itself, as it may learn them, and sees the inputs.
    """
    if isinstance(model, AnfisSpecification):
        return inputs.values
    return encoder.transform(inputs)


def network_frame(
    model: Model, encoder: FuzzyEncoder, scaling: FeatureScaling, fitted_columns: FloatArray
) -> RuleFrame | None:
    """Return sets and rules that an `anfis` starts from, chosen on fitted rows alone; None for an `mlp`."""
    if not isinstance(model, AnfisSpecification):
        return None
    return build_frame(encoder.variables, scaling.mean, scaling.deviation, fitted_columns, most_rules=model.rules)
