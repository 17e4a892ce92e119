"""Fit a stack of networks, each on its own rows, with early stopping by its own validation loss.

Every network trains exactly as it would alone. In an epoch it sees each of its fitted rows once, in an order of
its own, in ceil(rows / batch_size) batches of equal size (the sizes differ by at most one row, so that no
update comes from a handful of left-over rows). Networks with fewer batches have finished their epoch earlier and
rest until the next one; a network that has stopped leaves the stack.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ktrdr.errors import OperationFailed
from ktrdr.networks.adam import AdamState, update_parameters
from ktrdr.networks.chance import NetworkKey, draw_kept_units
from ktrdr.networks.rule_frame import RuleFrame
from ktrdr.networks.stack import NetworkStack, padded_rows


@dataclass(frozen=True, slots=True)
class FitRows:
    """The rows of one training part: inputs float `(n_rows, n_inputs)`, targets 0 or 1 `(n_rows,)`.

    `frame`: what its networks start from, where they are rule networks.
    """

    fitted_inputs: NDArray[np.float32]
    fitted_targets: NDArray[np.float32]
    validation_inputs: NDArray[np.float32]
    validation_targets: NDArray[np.float32]
    frame: RuleFrame | None = None


@dataclass(frozen=True, slots=True)
class NetworkTask:
    """One network of the stack: what to call it in a message, where its randomness comes from, its rows."""

    name: str
    key: NetworkKey
    rows: int  # index into the sequence of FitRows


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How to fit; `patience` is the number of epochs without a better validation loss that ends a network.

    `device`: where PyTorch computes. What is random is drawn on the CPU and moved there.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    patience: int
    device: str = "cpu"


@dataclass(slots=True)
class FitState:
    """All that a fit changes, one entry per network in the order of the tasks: enough to go on from.

    The best values are those of the epoch with the lowest validation loss; `best_parameters` are copies.
    """

    epoch: int
    parameters: Tensor
    adam: AdamState
    epochs_run: NDArray[np.int64]
    is_stopped: NDArray[np.bool_]
    best_parameters: Tensor
    best_epoch: NDArray[np.int64]
    best_loss: NDArray[np.float64]
    best_accuracy: NDArray[np.float64]

    def on_cpu(self) -> "FitState":
        """Return the state with all its tensors on the CPU."""
        return replace(
            self,
            parameters=self.parameters.cpu(),
            best_parameters=self.best_parameters.cpu(),
            adam=self.adam.on_cpu(),
        )


def start_state(
    stack: NetworkStack, rows: Sequence[FitRows], tasks: Sequence[NetworkTask], device: str = "cpu"
) -> FitState:
    """Return the state before the first epoch: every network with its own initial weights."""
    parameters = torch.stack(
        [stack.initial_parameters(task.key.initial_generator(), rows[task.rows].frame) for task in tasks]
    ).to(device)
    n_networks = len(tasks)
    return FitState(
        epoch=0,
        parameters=parameters,
        adam=AdamState.zeros_like(parameters),
        epochs_run=np.zeros(n_networks, dtype=np.int64),
        is_stopped=np.zeros(n_networks, dtype=np.bool_),
        best_parameters=parameters.clone(),
        best_epoch=np.zeros(n_networks, dtype=np.int64),
        best_loss=np.full(n_networks, math.inf),
        best_accuracy=np.zeros(n_networks),
    )


def fit_stack(
    stack: NetworkStack,
    rows: Sequence[FitRows],
    tasks: Sequence[NetworkTask],
    settings: FitSettings,
    *,
    on_epoch: Callable[[FitState], None],
    state: FitState | None = None,
) -> FitState:
    """Fit every task's network and return the state at its end.

    Args:
        stack: The arithmetic of the networks.
        rows: The training parts that tasks refer to.
        tasks: The networks.
        settings: The recipe, the same for all.
        on_epoch: Called after every epoch with the state, which it must not change.
        state: Where an interrupted fit stood after an epoch, on the settings' device; None starts anew.

    Raises:
        OperationFailed: `training_diverged`: a validation loss is not finite.
    """
    state = start_state(stack, rows, tasks, settings.device) if state is None else state
    feed = _Feed.build(stack, rows, settings.batch_size, settings.device)
    while state.epoch < settings.epochs and not state.is_stopped.all():
        running = np.flatnonzero(~state.is_stopped).tolist()
        # Most batches first (a stable sort): the networks still busy at a step are then a prefix of the stack.
        running.sort(key=lambda network: -feed.n_batches[tasks[network].rows])
        _run_epoch(stack, feed, [tasks[i] for i in running], state, running, settings)
        state.epoch += 1
        _validate(stack, feed, tasks, running, state, settings)
        on_epoch(state)
    return state


@dataclass(frozen=True, slots=True)
class _Feed:
    """All training parts as tensors: fitted rows end to end, and how each part's rows fall into batches."""

    fitted_inputs: Tensor
    fitted_targets: Tensor
    first_row: list[int]
    n_rows: list[int]
    n_batches: list[int]
    batch_rows: int  # rows of a batch, padding included
    slots: list[NDArray[np.int64]]  # place of the i-th row of an epoch among n_batches * batch_rows
    slot_weights: list[NDArray[np.float32]]  # 1 / rows of its batch
    validation_inputs: list[Tensor]
    validation_targets: list[Tensor]
    device: str

    @classmethod
    def build(cls, stack: NetworkStack, rows: Sequence[FitRows], batch_size: int, device: str) -> "_Feed":
        n_rows = [len(part.fitted_targets) for part in rows]
        n_batches = [math.ceil(n / batch_size) for n in n_rows]
        # Not the longest part's rows: a network's dropout must not depend on which others share the stack.
        batch_rows = padded_rows(batch_size)
        slots, slot_weights = [], []
        for n, batches in zip(n_rows, n_batches, strict=True):
            pieces = np.array_split(np.arange(n), batches)
            places = [number * batch_rows + np.arange(len(piece)) for number, piece in enumerate(pieces)]
            slots.append(np.concatenate(places))
            shares = [np.full(len(piece), 1 / len(piece), dtype=np.float32) for piece in pieces]
            slot_weights.append(np.concatenate(shares))
        return cls(
            fitted_inputs=torch.cat([stack.prepare(part.fitted_inputs) for part in rows]).to(device),
            fitted_targets=torch.cat([torch.from_numpy(part.fitted_targets) for part in rows]).to(device),
            first_row=np.cumsum([0, *n_rows[:-1]]).tolist(),
            n_rows=n_rows,
            n_batches=n_batches,
            batch_rows=batch_rows,
            slots=slots,
            slot_weights=slot_weights,
            validation_inputs=[stack.prepare(part.validation_inputs).to(device) for part in rows],
            validation_targets=[torch.from_numpy(part.validation_targets).double().to(device) for part in rows],
            device=device,
        )

    def draw_epoch(self, tasks: Sequence[NetworkTask], epoch: int) -> tuple[Tensor, Tensor]:
        """Return row numbers and weights `(n_batches, n_networks, batch_rows)`; padding has weight 0."""
        steps = max(self.n_batches[task.rows] for task in tasks)
        index = np.zeros((len(tasks), steps * self.batch_rows), dtype=np.int64)
        weights = np.zeros((len(tasks), steps * self.batch_rows), dtype=np.float32)
        for place, task in enumerate(tasks):
            slots = self.slots[task.rows]
            order = task.key.row_order(epoch, self.n_rows[task.rows])
            index[place, slots] = order + self.first_row[task.rows]
            weights[place, slots] = self.slot_weights[task.rows]
        by_step = (len(tasks), steps, self.batch_rows)
        return (
            torch.from_numpy(np.ascontiguousarray(index.reshape(by_step).swapaxes(0, 1))).to(self.device),
            torch.from_numpy(np.ascontiguousarray(weights.reshape(by_step).swapaxes(0, 1))).to(self.device),
        )


def _run_epoch(
    stack: NetworkStack,
    feed: _Feed,
    tasks: list[NetworkTask],
    state: FitState,
    running: list[int],
    settings: FitSettings,
) -> None:
    """Update the running networks, sorted by their number of batches, by one epoch."""
    members = torch.tensor(running, device=settings.device)
    parameters = state.parameters[members]
    adam = state.adam.select(members)
    index, weights = feed.draw_epoch(tasks, state.epoch)
    sources = [task.key.dropout_bits(state.epoch) for task in tasks]
    n_batches = np.array([feed.n_batches[task.rows] for task in tasks])
    for step in range(len(index)):
        n_busy = int((n_batches > step).sum())
        chosen = index[step, :n_busy].reshape(-1)
        gradient = stack.gradient(
            parameters[:n_busy],
            feed.fitted_inputs.index_select(0, chosen).view(n_busy, feed.batch_rows, -1),
            targets=feed.fitted_targets.index_select(0, chosen).view(n_busy, feed.batch_rows),
            weights=weights[step, :n_busy],
            kept=draw_kept_units(
                sources[:n_busy], feed.batch_rows, stack.hidden_widths, stack.dropout, settings.device
            ),
        )
        update_parameters(parameters, gradient, adam, settings.learning_rate)
    state.parameters[members] = parameters
    state.adam.assign(members, adam)


def _validate(
    stack: NetworkStack,
    feed: _Feed,
    tasks: Sequence[NetworkTask],
    running: list[int],
    state: FitState,
    settings: FitSettings,
) -> None:
    """Measure the running networks on their validation rows; keep the best weights, stop the impatient."""
    for part in sorted({tasks[i].rows for i in running}):
        members = [network for network in running if tasks[network].rows == part]
        chosen = torch.tensor(members, device=settings.device)
        logits = stack.logits(state.parameters[chosen], feed.validation_inputs[part])
        losses, accuracies = measure(logits, feed.validation_targets[part])
        for network, loss, accuracy in zip(members, losses, accuracies, strict=True):
            if not math.isfinite(loss):
                raise _diverged(tasks[network].name, state.epoch, loss, settings.learning_rate)
            state.epochs_run[network] = state.epoch
            if loss < state.best_loss[network]:
                state.best_loss[network] = loss
                state.best_accuracy[network] = accuracy
                state.best_epoch[network] = state.epoch
                state.best_parameters[network] = state.parameters[network]
            state.is_stopped[network] = state.epoch - state.best_epoch[network] >= settings.patience


def measure(logits: Tensor, targets: Tensor) -> tuple[list[float], list[float]]:
    """Return each network's mean cross-entropy (nats) and accuracy.

    Args:
        logits: `(n_networks, n_rows)`; above 0 means class 1.
        targets: 0 or 1, float64 `(n_rows,)`.
    """
    exact = logits.double()
    losses = (torch.nn.functional.softplus(exact) - targets * exact).mean(dim=1)
    accuracies = ((exact > 0) == (targets > 0.5)).double().mean(dim=1)
    return losses.tolist(), accuracies.tolist()


def _diverged(name: str, epoch: int, loss: float, learning_rate: float) -> OperationFailed:
    return OperationFailed(
        f"training diverged: {name} has a validation loss of {loss} after epoch {epoch}, where a finite number "
        f"is needed; lower training.learning_rate (it is {learning_rate:g}) or make the network smaller "
        "(model.hidden, model.rules)",
        reason="training_diverged",
    )
