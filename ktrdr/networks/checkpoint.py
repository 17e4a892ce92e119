"""Where an interrupted training stood, as bytes: tensors and JSON (never pickle)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from ktrdr.errors import CheckpointUnusable
from ktrdr.networks.adam import AdamState
from ktrdr.networks.fit import FitState

_KEY = "identity"
_ADAM = "adam."
_NULLS = "null_accuracies"
_OWN = [name.name for name in fields(FitState) if name.name not in ("epoch", "adam")]
_MOMENTS = [name.name for name in fields(AdamState)]
# safetensors keeps its metadata in its header, whose length is the first eight bytes.
_LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True)
class FitCheckpoint:
    """A state, and what must be equal for another process to end where this one would have ended.

    `null_accuracies`: 0..1, of the fits on shifted labels that have ended, in their order.
    """

    state: FitState
    identity: Mapping[str, str]
    null_accuracies: Sequence[float] = ()

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        state = self.state
        arrays = {name: _array(getattr(state, name)) for name in _OWN}
        arrays |= {_ADAM + name: _array(getattr(state.adam, name)) for name in _MOMENTS}
        arrays["epoch"] = np.array([state.epoch], dtype=np.int64)
        arrays[_NULLS] = np.array(self.null_accuracies, dtype=np.float64)
        return bytes(save(arrays, metadata={_KEY: json.dumps(dict(self.identity), sort_keys=True)}))


def read_checkpoint(data: bytes, *, identity: Mapping[str, str], like: FitState) -> FitCheckpoint:
    """Return what a checkpoint of the same fit holds.

    Args:
        data: What `FitCheckpoint.to_bytes` gave out.
        identity: What the checkpoint's own must equal.
        like: The state before the first epoch: names every shape and type.

    Raises:
        CheckpointUnusable: It is damaged, or of another fit.
    """
    found = _read_identity(data)
    changed = sorted(name for name in {*found, *identity} if found.get(name) != identity.get(name))
    if changed:
        differences = ", ".join(f"{name} {found.get(name)!r} and now {identity.get(name)!r}" for name in changed)
        raise CheckpointUnusable(f"the checkpoint is of another run: {differences}")
    try:
        arrays = load(data)
        moments: dict[str, Any] = {name: _like(getattr(like.adam, name), arrays[_ADAM + name]) for name in _MOMENTS}
        own: dict[str, Any] = {name: _like(getattr(like, name), arrays[name]) for name in _OWN}
        state = FitState(epoch=int(arrays["epoch"][0]), adam=AdamState(**moments), **own)
        return FitCheckpoint(state, identity, _accuracies(arrays[_NULLS]))
    except (SafetensorError, KeyError, ValueError, IndexError) as error:
        raise CheckpointUnusable(f"the checkpoint is damaged: {type(error).__name__}") from None


def _read_identity(data: bytes) -> dict[str, str]:
    try:
        length = int.from_bytes(data[:_LENGTH_BYTES], "little")
        header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length])
        identity: dict[str, str] = json.loads(header["__metadata__"][_KEY])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointUnusable(f"the checkpoint is damaged: {type(error).__name__}") from None
    return identity


def _accuracies(array: NDArray[np.generic]) -> list[float]:
    if array.ndim != 1 or array.dtype != np.float64:
        raise ValueError(f"need float64 (n,), was {array.dtype} {array.shape}")
    accuracies: list[float] = array.tolist()
    return accuracies


def _array(value: Tensor | NDArray[np.generic]) -> NDArray[np.generic]:
    array: NDArray[np.generic] = value.cpu().numpy() if isinstance(value, Tensor) else value
    return np.ascontiguousarray(array)


def _like(model: Tensor | NDArray[np.generic], array: NDArray[np.generic]) -> Tensor | NDArray[np.generic]:
    """Return a copy of the array as what `model` is, and where it is.

    Raises:
        ValueError: Another shape or type.
    """
    expected = _array(model)
    if (array.shape, array.dtype) != (expected.shape, expected.dtype):
        raise ValueError(f"need {expected.dtype} {expected.shape}, was {array.dtype} {array.shape}")
    return torch.from_numpy(array.copy()).to(model.device) if isinstance(model, Tensor) else array.copy()
