"""What every kind of network offers to a fit: the arithmetic of a stack of copies, one parameter row each.

A network's numbers must not depend on how many others share its stack. The batched product (MKL) rounds
differently when a matrix does not start on a 64-byte line, and when the stack holds one matrix only. So widths
are padded to a multiple of 4, rows to a multiple of 64 and every block of a parameter row to 16 floats (any
product of two padded extents is then whole lines), and a stack of one is computed as two.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ktrdr.networks.rule_frame import RuleFrame

WIDTH_MULTIPLE = 4
LINE_FLOATS = 16
_ROW_MULTIPLE = 64
_ROWS_PER_CHUNK = 8192  # bounds the memory of a forward pass over a long series


class NetworkStack(Protocol):
    """The arithmetic of networks of one shape; parameters are a float32 tensor `(n_networks, n_parameters)`."""

    @property
    def dropout(self) -> float:
        """Share of hidden units to drop while fitting."""
        ...

    @property
    def hidden_widths(self) -> tuple[int, ...]:
        """Padded widths of the layers that units are dropped from; none where there is no dropout."""
        ...

    def initial_parameters(self, generator: np.random.Generator, frame: RuleFrame | None = None) -> Tensor:
        """Draw one network's parameters `(n_parameters,)`; `frame`: what its training part gives it to start from."""
        ...

    def pack(self, arrays: dict[str, NDArray[np.float32]]) -> Tensor:
        """Return the parameters that `unpack` gave out as named arrays.

        Raises:
            ValueError: They are those of another shape.
        """
        ...

    def unpack(self, parameters: Tensor) -> dict[str, NDArray[np.float32]]:
        """Return copies without padding, the first axis of each the networks."""
        ...

    def prepare(self, rows: NDArray[np.floating]) -> Tensor:
        """Return scaled rows `(n_rows, n_inputs)` as the stack reads them."""
        ...

    def logits(self, parameters: Tensor, prepared: Tensor) -> Tensor:
        """Return every network's logits `(n_networks, n_rows)` for the same rows, without dropout."""
        ...

    def gradient(
        self,
        parameters: Tensor,
        inputs: Tensor,
        *,
        targets: Tensor,
        weights: Tensor,
        kept: tuple[Tensor, ...] | None = None,
    ) -> Tensor:
        """Return the gradient of each network's cross-entropy, as `MlpStack.gradient` defines it."""
        ...


def round_up(count: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is >= `count`."""
    return -(-count // multiple) * multiple


def padded_rows(n_rows: int) -> int:
    """Return the number of rows, padding included, that a batch of `n_rows` occupies."""
    return round_up(n_rows, _ROW_MULTIPLE)


def at_least_two(stacked: Tensor) -> Tensor:
    """Return the stack, or its one network twice (one memory: read it only)."""
    return stacked if len(stacked) > 1 else stacked.expand(2, *stacked.shape[1:])


def in_chunks(parameters: Tensor, prepared: Tensor, forward: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return `(n_networks, n_rows)`: `forward` of the parameters and the same rows for each network, in chunks.

    Args:
        parameters: One row per network.
        prepared: Prepared rows `(n_rows, width)`.
        forward: Takes at least two networks and padded rows `(n_networks, padded rows, width)`; gives one number
            for each, `(n_networks, padded rows)`.
    """
    n_networks, n_rows = len(parameters), len(prepared)
    stacked = at_least_two(parameters)
    out = torch.empty(n_networks, n_rows, device=parameters.device)
    for start in range(0, n_rows, _ROWS_PER_CHUNK):
        chunk = prepared[start : start + _ROWS_PER_CHUNK]
        padded = torch.zeros(padded_rows(len(chunk)), chunk.shape[1], device=chunk.device)
        padded[: len(chunk)] = chunk
        values = forward(stacked, padded.expand(len(stacked), -1, -1))
        out[:, start : start + len(chunk)] = values[:n_networks, : len(chunk)]
    return out
