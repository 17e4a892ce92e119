"""Every random number of a network, drawn from its own key and the epoch alone.

Nothing here holds a state: an epoch's order and dropout follow from (entropy, key, epoch), so they do not depend
on which other networks share the stack, and a resumed fit needs no generator from before.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_INITIAL, _ORDER, _DROPOUT = range(3)
_LEVELS = 1 << 16  # dropout is drawn with 16 bits a unit


@dataclass(frozen=True, slots=True)
class NetworkKey:
    """What a network's randomness derives from: the run's seed and the network's own place in it."""

    entropy: int
    path: tuple[int, ...]

    def initial_generator(self) -> np.random.Generator:
        """Return the generator of the network's first weights."""
        return np.random.Generator(self._bits(_INITIAL, 0))

    def row_order(self, epoch: int, n_rows: int) -> NDArray[np.int64]:
        """Return the order in which the network sees its fitted rows in `epoch`."""
        return np.random.Generator(self._bits(_ORDER, epoch)).permutation(n_rows)

    def dropout_bits(self, epoch: int) -> np.random.SFC64:
        """Return the source of the network's dropout in `epoch`, read batch after batch."""
        return self._bits(_DROPOUT, epoch)

    def _bits(self, purpose: int, epoch: int) -> np.random.SFC64:
        return np.random.SFC64(np.random.SeedSequence(self.entropy, spawn_key=(*self.path, purpose, epoch)))


def draw_kept_units(
    sources: list[np.random.SFC64], n_rows: int, widths: tuple[int, ...], dropout: float, device: str = "cpu"
) -> tuple[Tensor, ...] | None:
    """Return for each hidden layer `(n_networks, n_rows, width)`: 0 for a dropped unit, else 1/(1 - dropout).

    Args:
        sources: One per network, read in turn.
        n_rows: Rows of a batch, padding included; a multiple of 4 as are the widths.
        widths: Padded widths of the hidden layers.
        dropout: Share of units to drop, exact to 1/65536; 0 draws nothing and gives None.
        device: Where the result goes.
    """
    if dropout == 0:
        return None
    n_words = n_rows * sum(widths) * 2 // 8
    words = np.empty((len(sources), n_words), dtype="<u8")
    for row, source in zip(words, sources, strict=True):
        row[:] = source.random_raw(n_words)
    levels = words.view("<u2")
    threshold = round(dropout * _LEVELS)
    scale = np.float32(1 / (1 - threshold / _LEVELS))
    kept = []
    start = 0
    for width in widths:
        of_layer = levels[:, start : start + n_rows * width].reshape(len(sources), n_rows, width)
        kept.append(torch.from_numpy((of_layer >= threshold) * scale).to(device))
        start += n_rows * width
    return tuple(kept)
