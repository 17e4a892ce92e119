"""A trained model: networks with their encoder and scaling, and the file that keeps them (never pickle)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ktrdr.errors import OperationFailed
from ktrdr.features.encoder import FuzzyEncoder
from ktrdr.features.inputs import FeatureInputs
from ktrdr.networks.runtime import torch_runtime
from ktrdr.networks.stack import NetworkStack
from ktrdr.strategy.specification import Model
from ktrdr.training.network import make_stack, network_columns
from ktrdr.training.scaling import FeatureScaling

FloatArray = NDArray[np.float64]
_METADATA_KEY = "ktrdr"  # one key only: the order of several is not stable in the file


class ModelDescription(BaseModel):
    """What is kept beside the weights.

    Attributes:
        strategy_sha256: Names the specification.
        snapshot: Names the bars; of several symbols, as `name_snapshots` names theirs.
        seed: What all randomness of the training derives from.
        n_seeds: Networks whose probabilities are averaged.
        model: The network, as the strategy describes it.
        feature_names: The network's inputs in order, as `rsi.oversold`; of an `anfis`, as `rsi`.
        fitted_rows: Bars that the weights were fitted on.
        validation_rows: Bars that chose the epoch.
        accuracy: 0..1 on them, mean over seeds.
        loss: Cross-entropy there, nats.
        best_epochs: Epoch whose weights were kept, per seed.
        snapshots: The series of every symbol; empty in files of earlier versions, which know one symbol.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy_sha256: str
    snapshot: str
    seed: int
    n_seeds: int
    model: Model
    feature_names: tuple[str, ...]
    fitted_rows: int
    validation_rows: int
    accuracy: float
    loss: float
    best_epochs: tuple[int, ...]
    snapshots: dict[str, str] = {}

    def snapshot_of(self, symbol: str) -> str:
        """Return what names the bars of one of the symbols."""
        return self.snapshots.get(symbol, self.snapshot)


class _Metadata(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[2] = 2
    description: ModelDescription
    encoder: dict[str, object]
    scaling: dict[str, list[float]]


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModel:
    """Networks of one recipe, one per seed, with all that turns a bar's inputs into their probability.

    `weights` holds the float32 arrays that the networks' stack unpacks; of an `mlp`,
    `layers.i.weight (n_seeds, in, out)` and `layers.i.bias (n_seeds, out)`.
    """

    description: ModelDescription
    encoder: FuzzyEncoder
    scaling: FeatureScaling
    weights: dict[str, NDArray[np.float32]]

    def predict(self, inputs: FeatureInputs, *, threads: int = 1) -> FloatArray:
        """Return the probability of class 1 for every bar `(n_bars,)`, mean over seeds, NaN in the warm-up."""
        features = network_columns(self.description.model, self.encoder, inputs)
        probability = np.full(len(features), np.nan)
        scaled = self.scaling.apply(features[inputs.first_row :])
        stack = make_stack(self.description.model, self.encoder)
        with torch_runtime(threads):
            probability[inputs.first_row :] = mean_probability(stack, stack.pack(self.weights), scaled)
        return probability

    def to_safetensors(self) -> bytes:
        """Return the file; equal models give equal bytes."""
        metadata = _Metadata(
            description=self.description, encoder=self.encoder.to_dict(), scaling=self.scaling.to_dict()
        )
        text = json.dumps(metadata.model_dump(mode="json"), separators=(",", ":"), allow_nan=False)
        return bytes(save(self.weights, metadata={_METADATA_KEY: text}))


def read_model(path: Path) -> TrainedModel:
    """Read what `TrainedModel.to_safetensors` wrote.

    Raises:
        OperationFailed: `model_unusable`: no such file, or it is not a model of ours.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {})[_METADATA_KEY]
            weights = {name: file.get_tensor(name) for name in sorted(file.keys())}
        metadata = _Metadata.model_validate_json(text)
        encoder = FuzzyEncoder.from_dict(metadata.encoder)
        scaling = FeatureScaling.from_dict(metadata.scaling)
    except (OSError, SafetensorError, KeyError, TypeError, ValidationError, ValueError) as error:
        raise OperationFailed(
            f"{path} cannot be used as a model: {type(error).__name__}: {error}; the model.safetensors of a "
            "finished training is needed: train the strategy again",
            reason="model_unusable",
        ) from error
    return TrainedModel(metadata.description, encoder, scaling, weights)


def mean_probability(stack: NetworkStack, parameters: torch.Tensor, scaled: NDArray[np.float32]) -> FloatArray:
    """Return the mean over networks of the probability of class 1, float64 `(n_rows,)`."""
    logits = stack.logits(parameters, stack.prepare(scaled))
    probability: FloatArray = torch.sigmoid(logits.double()).mean(dim=0).numpy()
    return probability
