"""What the recipe shows where there is nothing to learn: labels shifted in time, and the commoner class."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch

from ktrdr.labels.label import Labels
from ktrdr.networks.chance import NetworkKey
from ktrdr.networks.fit import FitRows, FitSettings, NetworkTask, fit_stack
from ktrdr.networks.stack import NetworkStack
from ktrdr.training.parts import TrainingPart
from ktrdr.training.pool import PoolRows
from ktrdr.training.report import CircularShifts, MajorityClass, Nulls
from ktrdr.training.splits import RowArray

N_SHIFTS = 20
_SHIFTS_AT_ONCE = 5  # 25 networks: a wide stack, and still groups enough to share among workers
_PLACE = 1000  # of the nulls among the keys of a run; no training part has it
_LEVEL = 0.95


def measure_nulls(
    stack: NetworkStack,
    folds: Sequence[TrainingPart],
    rows: RowArray,
    labels: Labels,
    settings: FitSettings,
    *,
    pool: PoolRows,
    n_shifts: int,
    seed: int,
    workers: int,
    known: Sequence[float] = (),
    on_shifts: Callable[[Sequence[float]], None],
) -> Nulls:
    """Fit the same recipe on shifted labels and return what it shows by chance.

    In each shift the labels of every fold's training part are turned around that part by an offset of its own, beyond
    the longest label, so that features and labels keep their own course in time and lose each other. Fitted and
    validation rows, scaling, fuzzy sets, batches and the choice of the epoch are the recipe's. It differs in one
    thing: one network per fold instead of one per seed, so that a shift's accuracy is a little more scattered than
    the mean over seeds that is compared with it, and the comparison a little stricter than its level says.

    Args:
        stack: The arithmetic of the networks.
        folds: Training parts of the folds, without that of the final model.
        rows: Bars with features and a label, ascending.
        labels: Of all bars.
        settings: The recipe.
        pool: Whose rows they are; the labels of all symbols are turned by the same time.
        n_shifts: Shifts to fit, >= 1; with fewer than 19 no percentile is as strict as its level says.
        seed: What the offsets and the networks derive from.
        workers: Groups of networks fitted at the same time; the result does not depend on it.
        known: Accuracies of the first shifts, as `on_shifts` was told them when the same nulls were measured before.
        on_shifts: Called with the accuracies of the shifts fitted so far, in their order, after each group of them.

    Raises:
        OperationFailed: `training_diverged`.
    """
    fitter = _ShiftFitter(stack, folds, rows, labels, settings, pool, seed)
    firsts = range(len(known), n_shifts, _SHIFTS_AT_ONCE)
    groups = [range(first, min(first + _SHIFTS_AT_ONCE, n_shifts)) for first in firsts]
    accuracies = [*known]
    # Each thread with one of PyTorch's: two of those in one thread wait for each other at every small product.
    threads = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        for of_group in threads.map(fitter.accuracies, groups):
            accuracies += of_group
            on_shifts(tuple(accuracies))
    finally:
        threads.shutdown(cancel_futures=True)  # whoever is interrupted does not wait for groups that have not begun
    return Nulls(
        majority_class=MajorityClass(
            accuracy=sum(max(part.base_rate, 1 - part.base_rate) for part in folds) / len(folds)
        ),
        circular_shifts=CircularShifts(
            n=len(accuracies),
            accuracy_mean=sum(accuracies) / len(accuracies),
            accuracy_p95=percentile_to_beat(accuracies),
        ),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _ShiftFitter:
    """What all groups of shifts share; arguments as of `measure_nulls`."""

    stack: NetworkStack
    folds: Sequence[TrainingPart]
    rows: RowArray
    labels: Labels
    settings: FitSettings
    pool: PoolRows
    seed: int

    def accuracies(self, shifts: range) -> list[float]:
        """Fit some shifts as one stack and return the accuracy of each, mean over folds."""
        tasks: list[NetworkTask] = []
        parts: list[FitRows] = []
        for shift in shifts:
            for number, part in enumerate(self.folds):
                place = (_PLACE, shift, number)
                bits = np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=place))
                tasks.append(NetworkTask(f"shift {shift + 1} of {part.name}", NetworkKey(self.seed, place), len(parts)))
                parts.append(shift_labels(part, self.rows, self.labels, np.random.Generator(bits), pool=self.pool))
        state = fit_stack(self.stack, parts, tasks, self.settings, on_epoch=lambda state: None)
        by_shift = state.best_accuracy.reshape(len(shifts), len(self.folds))
        return [float(of_folds.mean()) for of_folds in by_shift]


def shift_labels(
    part: TrainingPart, rows: RowArray, labels: Labels, generator: np.random.Generator, *, pool: PoolRows
) -> FitRows:
    """Return the part's rows with labels turned around it by an offset beyond its longest label.

    The purged rows between the fitted and the validation ones turn too: without them the two would come closer.
    """
    fitted, validation = part.training.fitted, part.training.validation
    first, last = np.searchsorted(rows, (fitted[0], validation[-1]))
    span = rows[first : last + 1]
    moment = pool.moment
    n_moments = len(np.unique(moment[span]))
    reach = int((moment[labels.end[span]] - moment[span]).max()) + 1
    nearest = min(reach, n_moments // 2)
    offset = int(generator.integers(nearest, n_moments - nearest, endpoint=True))
    turned = pool.turn(span, labels.value[span].astype(np.float32), offset)
    return replace(
        part.rows,
        fitted_targets=turned[np.searchsorted(span, fitted)],
        validation_targets=turned[np.searchsorted(span, validation)],
    )


def percentile_to_beat(values: Sequence[float]) -> float:
    """Return the order statistic that one more value of the same kind exceeds in at most 5 % of all cases.

    Of 20 values it is the largest; interpolating between the two largest would let twice as many through.
    """
    place = min(math.ceil(_LEVEL * (len(values) + 1)), len(values))
    return sorted(values)[place - 1]
