"""Trainings that are interrupted, and a clock that a test moves."""

import itertools
import json
from contextlib import nullcontext

import numpy as np
import pytest
from safetensors.numpy import load, save
from training.training_samples import random_walk, strategy

from ktrdr.artifacts.remote_folder import RemoteFolder
from ktrdr.artifacts.shared_shelf import SharedShelf
from ktrdr.artifacts.shelf import PlainShelf
from ktrdr.jobs.checkpoint_file import CHECKPOINT_FILE, CheckpointFile
from ktrdr.networks.chance import NetworkKey
from ktrdr.networks.fit import FitRows, NetworkTask, start_state
from ktrdr.networks.mlp import MlpShape, MlpStack
from ktrdr.training.artifacts import write_training
from ktrdr.training.train import train_strategy

BARS = random_walk(1500)
RECIPE = {"epochs": 8, "batch_size": 64, "learning_rate": 0.01, "patience": 8, "seeds": 2}
SPECIFICATION = strategy(training=RECIPE)


class Interrupted(Exception):
    pass


class Watcher:
    """Listens to a training, for which time passes at each word, and interrupts it after an epoch or some shifts."""

    def __init__(self, clock, seconds, stop_after=None):
        self.steps = []
        self._clock = clock
        self._seconds = seconds
        self._stop_after = stop_after
        self.laps = {}

    def lap(self, name, figures):
        self.laps[name] = figures

    def __call__(self, percentage, step):
        self.steps.append(step)
        self._clock.now_s += self._seconds
        if step.startswith((f"epoch {self._stop_after} of", f"fitted {self._stop_after} of")):
            raise Interrupted

    @property
    def epochs(self):
        return [int(step.split()[1]) for step in self.steps if step.startswith("epoch ")]

    @property
    def shifts(self):
        return [int(step.split()[1]) for step in self.steps if step.startswith("fitted ")]


class Clock:
    """Seconds that pass with each look."""

    def __init__(self, step_s):
        self.now_s = 0.0
        self._step_s = step_s

    def __call__(self):
        self.now_s += self._step_s
        return self.now_s


def train(folder, *, seed=1, stop_after=None, epoch_s=100.0, specification=SPECIFICATION, shelf=None, workers=1):
    clock = Clock(0.0)
    watcher = Watcher(clock, epoch_s, stop_after)
    memory = CheckpointFile(shelf or PlainShelf(folder), "checkpoints", 5.0, clock)
    outcome = train_strategy(
        specification, BARS, seed=seed, on_progress=watcher, on_lap=watcher.lap, memory=memory, workers=workers
    )
    write_training(folder / "out", outcome, BARS)
    return watcher, {path.name: path.read_bytes() for path in (folder / "out").iterdir()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return train(tmp_path_factory.mktemp("undisturbed"))[1]


def test_a_training_interrupted_twice_goes_on_and_leaves_the_same_bytes(tmp_path, undisturbed):
    for epoch in (3, 5):
        with pytest.raises(Interrupted):
            train(tmp_path, stop_after=epoch)
    watcher, files = train(tmp_path)
    assert watcher.epochs == [6, 7, 8]
    assert "(went on after epoch 5)" in watcher.steps[-3]
    assert files == undisturbed


def test_a_training_interrupted_between_its_nulls_fits_only_the_missing_ones(tmp_path, undisturbed):
    for shifts in (5, 15):  # the second time with two threads
        with pytest.raises(Interrupted):
            train(tmp_path, stop_after=shifts, workers=1 + shifts // 15)
    path = tmp_path / "checkpoints" / CHECKPOINT_FILE
    kept = path.read_bytes()
    watcher, files = train(tmp_path)
    assert (watcher.epochs, watcher.shifts) == ([], [20])
    assert (watcher.laps["training.nulls"]["shifts"], watcher.laps["training.nulls"]["first_shift"]) == (5, 16)
    assert "(went on after epoch 8 and 15 shifts of the labels)" in watcher.steps[-3]
    assert files == undisturbed
    # What is kept is what counts: raised by a tenth, the mean of all twenty rises by fifteen twentieths of it.
    arrays = load(kept)
    before = arrays["null_accuracies"]
    header = json.loads(kept[8 : 8 + int.from_bytes(kept[:8], "little")])
    path.write_bytes(save({**arrays, "null_accuracies": before + 0.1}, metadata=header["__metadata__"]))
    nulls = [json.loads(each["training.json"])["nulls"]["circular_shifts"] for each in (files, train(tmp_path)[1])]
    assert len(before) == 15
    assert nulls[1]["accuracy_mean"] - nulls[0]["accuracy_mean"] == pytest.approx(0.1 * 15 / 20)


def test_a_training_goes_on_upon_another_machine_from_what_the_store_keeps(tmp_path, undisturbed):
    (tmp_path / "store").mkdir()

    def machine(name):
        remote = RemoteFolder(f"file://{tmp_path / 'store'}", patience_s=0, waits=True)
        remote.open()
        root, cache = tmp_path / name / "checkpoints", tmp_path / name / "cache"
        return SharedShelf("checkpoints", root, remote, cache_folder=cache, lock=nullcontext)

    with pytest.raises(Interrupted):
        train(tmp_path / "one", stop_after=5, shelf=machine("one"))
    watcher, files = train(tmp_path / "two", shelf=machine("two"))
    assert watcher.epochs == [6, 7, 8]
    assert files == undisturbed


@pytest.mark.parametrize("change", ["seed", "strategy", "damage"])
def test_what_is_not_the_same_training_starts_again_and_says_why(tmp_path, change):
    with pytest.raises(Interrupted):
        train(tmp_path, stop_after=3)
    if change == "seed":
        arguments, why = {"seed": 2}, "seed '1' and now '2'"
    elif change == "strategy":
        arguments, why = {"specification": strategy(training={**RECIPE, "learning_rate": 0.02})}, "strategy "
    else:
        (tmp_path / "checkpoints" / CHECKPOINT_FILE).write_bytes(b"half")
        arguments, why = {}, "damaged"
    watcher, _ = train(tmp_path, **arguments)
    assert watcher.epochs[0] == 1
    assert "started again" in watcher.steps[-3]
    assert why in watcher.steps[-3]


def test_a_short_training_keeps_nothing(tmp_path):
    train(tmp_path, epoch_s=0.4)
    assert not (tmp_path / "checkpoints").exists()


def test_writing_takes_at_most_a_hundredth_of_the_time_however_slow_the_disk_is(tmp_path):
    # Each look at the clock takes 4 s, and a checkpoint looks when it begins and when it ends: it takes 4 s too.
    clock, file = Clock(4.0), tmp_path / CHECKPOINT_FILE
    memory = CheckpointFile(PlainShelf(tmp_path.parent), tmp_path.name, 5.0, clock)
    rows = FitRows(*(np.zeros((0, 3), dtype=np.float32), np.zeros(0, dtype=np.float32)) * 2)
    state = start_state(MlpStack(MlpShape(3, (4,))), [rows], [NetworkTask("one", NetworkKey(1, (0,)), 0)])
    memory.recall({}, state)
    written_at = []
    while clock.now_s < 2000:
        memory.keep(state)
        if file.exists():
            written_at.append(clock.now_s)
            file.unlink()
    assert len(written_at) == 5
    assert min(later - earlier for earlier, later in itertools.pairwise(written_at)) >= 400
