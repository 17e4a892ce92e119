"""A stack of multilayer perceptrons of one shape: batched forward pass and gradient.

All parameters of one network are one row of a `(n_networks, n_parameters)` tensor, so that an optimiser, a
copy of the best weights or a checkpoint is a single operation, whatever the layers are.

Padded units (`networks/stack.py` says why) have zero weights and therefore zero gradients: they stay zero and change
no result.
"""

import math
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ktrdr.networks.rule_frame import RuleFrame
from ktrdr.networks.stack import LINE_FLOATS, WIDTH_MULTIPLE, at_least_two, in_chunks, round_up


@dataclass(frozen=True, slots=True)
class MlpShape:
    """What all networks of a stack share: inputs, widths of the hidden layers, dropout after each of them."""

    n_inputs: int
    hidden: tuple[int, ...]
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.n_inputs < 1 or not self.hidden or min(self.hidden) < 1 or not 0 <= self.dropout < 1:
            raise ValueError(f"need inputs, hidden widths >= 1 and 0 <= dropout < 1, was {self!r}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Width of every layer from the inputs to the one logit."""
        return (self.n_inputs, *self.hidden, 1)


@dataclass(frozen=True, slots=True)
class _Layer:
    """Where one layer lies in a parameter row; true extents and padded ones."""

    n_in: int
    n_out: int
    padded_in: int
    padded_out: int
    weight_start: int
    bias_start: int


def _lay_out(shape: MlpShape) -> tuple[tuple[_Layer, ...], int]:
    layers = []
    start = 0
    last = len(shape.widths) - 1
    for number, (n_in, n_out) in enumerate(pairwise(shape.widths), start=1):
        padded_in = round_up(n_in, WIDTH_MULTIPLE)
        padded_out = n_out if number == last else round_up(n_out, WIDTH_MULTIPLE)
        bias_start = start + round_up(padded_in * padded_out, LINE_FLOATS)
        layers.append(_Layer(n_in, n_out, padded_in, padded_out, start, bias_start))
        start = bias_start + round_up(padded_out, LINE_FLOATS)
    return tuple(layers), start


@dataclass(frozen=True, slots=True)
class MlpStack:
    """The arithmetic of a stack of networks: linear layers, ReLU, dropout, one logit.

    It holds no parameters; every method takes them as a float32 tensor `(n_networks, n_parameters)`.
    """

    shape: MlpShape
    n_parameters: int = field(init=False)
    _layers: tuple[_Layer, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        layers, n_parameters = _lay_out(self.shape)
        object.__setattr__(self, "_layers", layers)
        object.__setattr__(self, "n_parameters", n_parameters)

    @property
    def dropout(self) -> float:
        """Share of hidden units to drop while fitting."""
        return self.shape.dropout

    @property
    def hidden_widths(self) -> tuple[int, ...]:
        """Padded widths of the hidden layers, as a dropout mask must have them."""
        return tuple(layer.padded_out for layer in self._layers[:-1])

    def initial_parameters(
        self,
        generator: np.random.Generator,
        frame: RuleFrame | None = None,
    ) -> Tensor:
        """Draw one network's parameters `(n_parameters,)`, uniform within 1/sqrt(inputs) of the layer.

        Source:
            The initialisation of `torch.nn.Linear`.
        """
        arrays: dict[str, NDArray[np.float32]] = {}
        for number, layer in enumerate(self._layers):
            bound = 1.0 / math.sqrt(layer.n_in)
            weight = generator.uniform(-bound, bound, (1, layer.n_in, layer.n_out))
            arrays[f"layers.{number}.weight"] = weight.astype(np.float32)
            bias = generator.uniform(-bound, bound, (1, layer.n_out))
            arrays[f"layers.{number}.bias"] = bias.astype(np.float32)
        return self.pack(arrays)[0]

    def pack(self, arrays: dict[str, NDArray[np.float32]]) -> Tensor:
        """Return the parameters `(n_networks, n_parameters)` that `unpack` gave out as named arrays.

        Raises:
            ValueError: A layer is missing or has another shape than this stack.
        """
        expected = {name for number in range(len(self._layers)) for name in _names(number)}
        if set(arrays) != expected:
            raise ValueError(f"need the arrays {sorted(expected)}, was {sorted(arrays)}")
        n_networks = len(arrays["layers.0.weight"])
        parameters = torch.zeros(n_networks, self.n_parameters)
        for number, (layer, (weight, bias)) in enumerate(zip(self._layers, self._views(parameters), strict=True)):
            weight_name, bias_name = _names(number)
            found = (arrays[weight_name].shape, arrays[bias_name].shape)
            if found != ((n_networks, layer.n_in, layer.n_out), (n_networks, layer.n_out)):
                raise ValueError(f"layer {number} needs {n_networks=} of {layer!r}, was {found}")
            weight[:, : layer.n_in, : layer.n_out] = torch.from_numpy(arrays[weight_name])
            bias[:, 0, : layer.n_out] = torch.from_numpy(arrays[bias_name])
        return parameters

    def unpack(self, parameters: Tensor) -> dict[str, NDArray[np.float32]]:
        """Return copies without padding: `layers.i.weight (n, in, out)` and `layers.i.bias (n, out)`."""
        arrays: dict[str, NDArray[np.float32]] = {}
        for number, (layer, (weight, bias)) in enumerate(zip(self._layers, self._views(parameters), strict=True)):
            weight_name, bias_name = _names(number)
            arrays[weight_name] = weight[:, : layer.n_in, : layer.n_out].numpy().copy()
            arrays[bias_name] = bias[:, 0, : layer.n_out].numpy().copy()
        return arrays

    def prepare(self, rows: NDArray[np.floating]) -> Tensor:
        """Return `rows (n_rows, n_inputs)` as a float32 tensor with padded width; rows are not padded."""
        if rows.ndim != 2 or rows.shape[1] != self.shape.n_inputs:
            raise ValueError(f"need rows of {self.shape.n_inputs} inputs, was {rows.shape}")
        prepared = torch.zeros(len(rows), self._layers[0].padded_in)
        prepared[:, : rows.shape[1]] = torch.from_numpy(rows.astype(np.float32))
        return prepared

    def logits(self, parameters: Tensor, prepared: Tensor) -> Tensor:
        """Return every network's logits `(n_networks, n_rows)` for the same rows, without dropout."""
        return in_chunks(
            parameters, prepared, lambda stacked, batch: self._forward(stacked, batch, None)[-1].squeeze(2)
        )

    def gradient(
        self,
        parameters: Tensor,
        inputs: Tensor,
        *,
        targets: Tensor,
        weights: Tensor,
        kept: tuple[Tensor, ...] | None = None,
    ) -> Tensor:
        """Return the gradient `(n_networks, n_parameters)` of each network's weighted cross-entropy.

        The loss of network i is the sum over rows of weight * (softplus(logit) - target * logit), in nats.

        Args:
            parameters: One row per network.
            inputs: Prepared inputs `(n_networks, padded rows, padded inputs)`.
            targets: 0 or 1, `(n_networks, padded rows)`.
            weights: Weight of each row, 0 for padding; 1/rows makes the loss a mean.
            kept: Per hidden layer `(n_networks, padded rows, padded width)`: 0 where a unit is dropped, else
                1/(1 - dropout); None to drop nothing.
        """
        n_networks = len(parameters)
        if n_networks == 1:
            parameters, inputs, targets, weights = map(at_least_two, (parameters, inputs, targets, weights))
            kept = None if kept is None else tuple(map(at_least_two, kept))
        *activations, logits = self._forward(parameters, inputs, kept)
        gradient = torch.zeros_like(parameters)
        slots = self._views(gradient)
        backward = torch.sigmoid(logits).sub_(targets.unsqueeze(2)).mul_(weights.unsqueeze(2))
        views = self._views(parameters)
        for number in range(len(self._layers) - 1, -1, -1):
            weight_slot, bias_slot = slots[number]
            weight_slot.copy_(torch.bmm(activations[number].transpose(1, 2), backward))
            bias_slot.copy_(backward.sum(dim=1, keepdim=True))
            if number == 0:
                break
            backward = torch.bmm(backward, views[number][0].transpose(1, 2))
            backward = torch.ops.aten.threshold_backward(backward, activations[number], 0)  # that of ReLU
            if kept is not None:
                backward.mul_(kept[number - 1])
        return gradient[:n_networks]

    def _forward(self, parameters: Tensor, inputs: Tensor, kept: tuple[Tensor, ...] | None) -> list[Tensor]:
        """Return the inputs of every layer and, last, the logits `(n_networks, rows, 1)`."""
        activations = [inputs]
        views = self._views(parameters)
        for number, (weight, bias) in enumerate(views):
            outputs = torch.baddbmm(bias, activations[-1], weight)
            if number < len(views) - 1:
                outputs.relu_()
                if kept is not None:
                    outputs.mul_(kept[number])
            activations.append(outputs)
        return activations

    def _views(self, parameters: Tensor) -> list[tuple[Tensor, Tensor]]:
        n_networks = len(parameters)
        views = []
        for layer in self._layers:
            weight_end = layer.weight_start + layer.padded_in * layer.padded_out
            weight = parameters[:, layer.weight_start : weight_end]
            bias = parameters[:, layer.bias_start : layer.bias_start + layer.padded_out]
            views.append(
                (
                    weight.view(n_networks, layer.padded_in, layer.padded_out),
                    bias.view(n_networks, 1, layer.padded_out),
                )
            )
        return views


def _names(number: int) -> tuple[str, str]:
    return f"layers.{number}.weight", f"layers.{number}.bias"
