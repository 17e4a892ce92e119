"""A training's checkpoint as a file: written now and then, so that an interrupted training need not start again."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from ktrdr.artifacts.files import write_bytes_atomically
from ktrdr.artifacts.shelf import Shelf
from ktrdr.errors import ArtifactsUnavailable, CheckpointUnusable
from ktrdr.networks.checkpoint import FitCheckpoint, read_checkpoint
from ktrdr.networks.fit import FitState
from ktrdr.training.train import Recalled

CHECKPOINT_FILE = "training.safetensors"
MAX_COST_SHARE = 0.01  # of the time between two of them

_logger = logging.getLogger(__name__)


class CheckpointFile:
    """The memory of one operation's training.

    Args:
        shelf: Where checkpoints are kept; this one appears with the first of the operation.
        operation_id: The training.
        interval_s: Seconds between two checkpoints, at least. A shorter training is quicker done again than kept.
        clock_s: Seconds from any beginning, monotonic.
    """

    def __init__(
        self, shelf: Shelf, operation_id: str, interval_s: float, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._shelf = shelf
        self._unit = operation_id
        self._path = shelf.folder(operation_id) / CHECKPOINT_FILE
        self._interval_s = interval_s
        self._clock_s = clock_s
        self._due_s = clock_s() + interval_s
        self._identity: Mapping[str, str] = {}

    def recall(self, identity: Mapping[str, str], start: FitState) -> Recalled:
        """Return where the training stood; from the start where the file is of another training, or damaged."""
        self._identity = identity
        self._due_s = self._clock_s() + self._interval_s
        self._shelf.bring(self._unit)
        try:
            kept = read_checkpoint(self._path.read_bytes(), identity=identity, like=start)
        except FileNotFoundError:
            return Recalled(None)
        except CheckpointUnusable as error:
            _logger.warning("%s: %s; the training starts again", self._path, error.message)
            return Recalled(None, note=f"started again: {error.message}")
        place, n_shifts = f"epoch {kept.state.epoch}", len(kept.null_accuracies)
        if n_shifts:
            place += f" and {n_shifts} shifts of the labels"
        _logger.info("%s: the training goes on after %s", self._path, place)
        return Recalled(kept.state, kept.null_accuracies, f"went on after {place}")

    def keep(self, state: FitState, null_accuracies: Sequence[float] = ()) -> None:
        """Write the file, where enough time has gone by for that to cost next to nothing."""
        began_s = self._clock_s()
        if began_s < self._due_s:
            return
        data = FitCheckpoint(state, self._identity, null_accuracies).to_bytes()
        try:
            self._shelf.write(self._unit, CHECKPOINT_FILE, data)
        except ArtifactsUnavailable as error:
            _logger.warning("%s; the checkpoint is kept on this machine only", error.message)
            write_bytes_atomically(self._path, data)
        ended_s = self._clock_s()
        self._due_s = ended_s + max(self._interval_s, (ended_s - began_s) / MAX_COST_SHARE)
