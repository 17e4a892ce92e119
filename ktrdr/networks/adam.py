"""Adam over a stack of networks, each with its own count of updates."""

from dataclasses import dataclass

import torch
from torch import Tensor

_FIRST_DECAY = 0.9
_SECOND_DECAY = 0.999
_EPSILON = 1e-8


@dataclass(slots=True)
class AdamState:
    """Moments `(n_networks, n_parameters)` and updates made so far `(n_networks,)`, float64."""

    first: Tensor
    second: Tensor
    n_updates: Tensor

    @classmethod
    def zeros_like(cls, parameters: Tensor) -> "AdamState":
        """Return the state before the first update."""
        return cls(
            torch.zeros_like(parameters),
            torch.zeros_like(parameters),
            torch.zeros(len(parameters), dtype=torch.float64, device=parameters.device),
        )

    def on_cpu(self) -> "AdamState":
        """Return the state with its tensors on the CPU."""
        return AdamState(self.first.cpu(), self.second.cpu(), self.n_updates.cpu())

    def select(self, networks: Tensor) -> "AdamState":
        """Return a copy that holds the given networks only."""
        return AdamState(self.first[networks], self.second[networks], self.n_updates[networks])

    def assign(self, networks: Tensor, state: "AdamState") -> None:
        """Write back what `select` gave out."""
        self.first[networks] = state.first
        self.second[networks] = state.second
        self.n_updates[networks] = state.n_updates


def update_parameters(parameters: Tensor, gradient: Tensor, state: AdamState, learning_rate: float) -> None:
    """Move the first `len(gradient)` networks of the stack by one Adam update, in place; leave the rest alone.

    Source:
        Kingma & Ba (2015), "Adam: A Method for Stochastic Optimization", as `torch.optim.Adam` computes it.
    """
    n_networks = len(gradient)
    first, second = state.first[:n_networks], state.second[:n_networks]
    n_updates = state.n_updates[:n_networks].add_(1)
    first.lerp_(gradient, 1 - _FIRST_DECAY)
    second.mul_(_SECOND_DECAY).addcmul_(gradient, gradient, value=1 - _SECOND_DECAY)
    step_size = (learning_rate / (1 - _FIRST_DECAY**n_updates)).to(torch.float32).unsqueeze(1)
    second_correction = (1 - _SECOND_DECAY**n_updates).sqrt().to(torch.float32).unsqueeze(1)
    denominator = second.sqrt().div_(second_correction).add_(_EPSILON)
    parameters[:n_networks].sub_(first.div(denominator).mul_(step_size))
