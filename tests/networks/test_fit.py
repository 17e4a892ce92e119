import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ktrdr.errors import OperationFailed
from ktrdr.networks.chance import NetworkKey
from ktrdr.networks.fit import FitRows, FitSettings, FitState, NetworkTask, fit_stack
from ktrdr.networks.mlp import MlpShape, MlpStack

N_INPUTS = 5


def rows(n_fitted: int, n_validation: int, seed: int) -> FitRows:
    """Two classes with a weak linear signal, so that a small network soon overfits."""
    generator = np.random.default_rng(seed)
    inputs = generator.standard_normal((n_fitted + n_validation, N_INPUTS)).astype(np.float32)
    chance = 1 / (1 + np.exp(-inputs[:, 0]))
    targets = (generator.random(len(inputs)) < chance).astype(np.float32)
    return FitRows(inputs[:n_fitted], targets[:n_fitted], inputs[n_fitted:], targets[n_fitted:])


PARTS = [rows(97, 40, 1), rows(230, 60, 2), rows(333, 80, 3)]
TASKS = [
    NetworkTask(f"part {part}, seed {seed}", NetworkKey(11, (part, seed)), part)
    for part in range(3)
    for seed in range(2)
]
STACK = MlpStack(MlpShape(N_INPUTS, (12, 6), dropout=0.2))
SETTINGS = FitSettings(epochs=6, batch_size=64, learning_rate=0.01, patience=6)


def ignore(state: FitState) -> None:
    pass


def fit_with_pytorch(task: NetworkTask, stack: MlpStack, settings: FitSettings) -> list[tuple[float, float]]:
    """Train one network with PyTorch's layers, loss and Adam; return (validation loss, accuracy) per epoch."""
    part = PARTS[task.rows]
    arrays = stack.unpack(stack.initial_parameters(task.key.initial_generator()).unsqueeze(0))
    modules: list[torch.nn.Module] = []
    for number in range(len(stack.shape.hidden) + 1):
        weight = torch.from_numpy(arrays[f"layers.{number}.weight"][0])
        linear = torch.nn.Linear(*weight.shape)
        with torch.no_grad():
            linear.weight.copy_(weight.T)
            linear.bias.copy_(torch.from_numpy(arrays[f"layers.{number}.bias"][0]))
        modules += [linear, torch.nn.ReLU()]
    model = torch.nn.Sequential(*modules[:-1])
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    loss_of = torch.nn.BCEWithLogitsLoss()
    inputs, targets = torch.from_numpy(part.fitted_inputs), torch.from_numpy(part.fitted_targets)
    history = []
    for epoch in range(settings.epochs):
        order = task.key.row_order(epoch, len(targets))
        for batch in np.array_split(order, math.ceil(len(order) / settings.batch_size)):
            optimiser.zero_grad()
            loss_of(model(inputs[batch]).squeeze(1), targets[batch]).backward()
            optimiser.step()
        with torch.no_grad():
            logits = model(torch.from_numpy(part.validation_inputs)).squeeze(1)
            truth = torch.from_numpy(part.validation_targets)
            accuracy = ((logits > 0) == (truth == 1)).double().mean().item()
            history.append((loss_of(logits, truth).item(), accuracy))
    return history


def test_every_network_of_a_stack_trains_as_a_plain_pytorch_network_does():
    stack = MlpStack(MlpShape(N_INPUTS, (12, 6)))
    state = fit_stack(stack, PARTS, TASKS, SETTINGS, on_epoch=ignore)
    for network, task in enumerate(TASKS):
        history = fit_with_pytorch(task, stack, SETTINGS)
        best = int(np.argmin([loss for loss, _ in history]))
        assert state.best_epoch[network] == best + 1
        assert state.best_loss[network] == pytest.approx(history[best][0], abs=2e-5)
        assert state.best_accuracy[network] == pytest.approx(history[best][1])


def test_a_network_does_not_depend_on_the_others_in_its_stack():
    settings = FitSettings(epochs=6, batch_size=256, learning_rate=0.01, patience=6)  # above two parts' rows
    together = fit_stack(STACK, PARTS, TASKS, settings, on_epoch=ignore)
    for network in (0, 3, 5):
        task = replace(TASKS[network], rows=0)
        alone = fit_stack(STACK, [PARTS[TASKS[network].rows]], [task], settings, on_epoch=ignore)
        # Bit-identical where it was measured (AVX-512, MKL); another machine may round its products otherwise.
        torch.testing.assert_close(alone.best_parameters[0], together.best_parameters[network], rtol=1e-4, atol=1e-5)
        assert alone.best_epoch[0] == together.best_epoch[network]


def test_the_best_weights_are_restored_and_not_the_last():
    history: list[torch.Tensor] = []
    settings = FitSettings(epochs=40, batch_size=32, learning_rate=0.03, patience=5)
    state = fit_stack(STACK, PARTS, TASKS, settings, on_epoch=lambda state: history.append(state.parameters.clone()))
    assert (state.best_epoch < state.epochs_run).all()  # every network went on past its best epoch
    for network, best in enumerate(state.best_epoch):
        assert torch.equal(state.best_parameters[network], history[best - 1][network])
        assert not torch.equal(state.best_parameters[network], state.parameters[network])


def test_a_network_stops_after_its_patience_and_then_never_changes():
    history: list[torch.Tensor] = []
    settings = FitSettings(epochs=40, batch_size=32, learning_rate=0.03, patience=3)
    state = fit_stack(STACK, PARTS, TASKS, settings, on_epoch=lambda state: history.append(state.parameters.clone()))
    assert state.is_stopped.all()
    assert len(set(state.epochs_run)) > 1  # some rested while others learned
    assert state.epoch == state.epochs_run.max() < 40
    assert (state.epochs_run == state.best_epoch + 3).all()
    for network, last in enumerate(state.epochs_run):
        assert all(torch.equal(later[network], history[last - 1][network]) for later in history[last:])
        assert not torch.equal(history[last - 2][network], history[last - 1][network])


def test_a_stack_learns_what_no_linear_model_can():
    generator = np.random.default_rng(4)
    inputs = generator.standard_normal((1200, 2)).astype(np.float32)
    targets = (inputs[:, 0] * inputs[:, 1] > 0).astype(np.float32)
    part = FitRows(inputs[:1000], targets[:1000], inputs[1000:], targets[1000:])
    tasks = [NetworkTask(f"seed {seed}", NetworkKey(seed, (0,)), 0) for seed in range(3)]
    stack = MlpStack(MlpShape(2, (16, 8), dropout=0.05))
    state = fit_stack(stack, [part], tasks, FitSettings(60, 64, 0.01, 60), on_epoch=ignore)
    assert (state.best_accuracy > 0.95).all()
    assert (state.best_loss < 0.15).all()


def test_a_loss_that_is_not_finite_fails_and_says_what_to_lower():
    with pytest.raises(OperationFailed, match=r"part 0, seed 0 has a validation loss of .*lower training") as failure:
        fit_stack(STACK, PARTS, TASKS, FitSettings(6, 64, 1e30, 6), on_epoch=ignore)
    assert failure.value.reason == "training_diverged"
