import numpy as np
import pytest
import torch

from ktrdr.errors import CheckpointUnusable
from ktrdr.networks.chance import NetworkKey
from ktrdr.networks.checkpoint import FitCheckpoint, read_checkpoint
from ktrdr.networks.fit import FitRows, FitSettings, NetworkTask, fit_stack, start_state
from ktrdr.networks.mlp import MlpShape, MlpStack

STACK = MlpStack(MlpShape(3, (8, 4), dropout=0.2))
SETTINGS = FitSettings(epochs=9, batch_size=32, learning_rate=0.03, patience=3)
TASKS = [NetworkTask(f"seed {seed}", NetworkKey(5, (0, seed)), 0) for seed in range(4)]
IDENTITY = {"torch": "2.13", "seed": "5"}


def made_up_rows() -> FitRows:
    generator = np.random.default_rng(1)
    inputs = generator.standard_normal((300, 3)).astype(np.float32)
    targets = (generator.random(300) < 0.5).astype(np.float32)
    return FitRows(inputs[:240], targets[:240], inputs[240:], targets[240:])


PART = made_up_rows()


@pytest.fixture(scope="module")
def whole():
    """A fit to its end, and the bytes kept after each of its epochs."""
    kept = []
    ended = fit_stack(
        STACK, [PART], TASKS, SETTINGS, on_epoch=lambda state: kept.append(FitCheckpoint(state, IDENTITY).to_bytes())
    )
    assert len(set(ended.epochs_run)) > 1  # some networks stopped while others learned
    return ended, kept


def read(data, identity=IDENTITY, stack=STACK):
    return read_checkpoint(data, identity=identity, like=start_state(stack, [PART], TASKS))


def test_a_fit_interrupted_after_any_epoch_ends_with_the_bits_of_an_undisturbed_one(whole):
    ended, kept = whole
    end = FitCheckpoint(ended, IDENTITY).to_bytes()
    for data in kept:
        resumed = fit_stack(STACK, [PART], TASKS, SETTINGS, on_epoch=lambda _: None, state=read(data).state)
        assert FitCheckpoint(resumed, IDENTITY).to_bytes() == end
    assert torch.equal(read(end).state.best_parameters, ended.best_parameters)
    accuracies = [0.1 + 0.2, 0.5, 1 / 3]
    assert read(FitCheckpoint(ended, IDENTITY, accuracies).to_bytes()).null_accuracies == accuracies


@pytest.mark.parametrize(
    ("identity", "difference"),
    [
        ({"torch": "2.14", "seed": "5"}, "torch '2.13' and now '2.14'"),
        ({"torch": "2.13", "seed": "5", "processor": "A"}, "processor None and now 'A'"),
        ({"torch": "2.13"}, "seed '5' and now None"),
    ],
)
def test_a_checkpoint_of_another_fit_is_refused_and_says_what_differs(whole, identity, difference):
    with pytest.raises(CheckpointUnusable, match=difference):
        read(whole[1][0], identity)


def test_a_checkpoint_of_networks_of_another_shape_is_refused(whole):
    with pytest.raises(CheckpointUnusable, match="damaged"):
        read(whole[1][0], stack=MlpStack(MlpShape(3, (9, 4))))


def test_a_checkpoint_cut_short_anywhere_or_emptied_is_refused(whole):
    data = whole[1][0]
    for length in [*range(0, 200, 7), len(data) // 2, len(data) - 1]:
        with pytest.raises(CheckpointUnusable):
            read(data[:length])
    with pytest.raises(CheckpointUnusable):
        read(bytes(len(data)))
