"""Train a strategy: five walk-forward folds and the final model, all seeds, as one stack of networks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ktrdr.errors import InvalidInput, OperationFailed
from ktrdr.market.bars import Bars
from ktrdr.networks.chance import NetworkKey
from ktrdr.networks.fit import FitSettings, FitState, NetworkTask, fit_stack, start_state
from ktrdr.networks.runtime import machine_identity, torch_runtime
from ktrdr.networks.stack import NetworkStack
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.training.fold_predictor import FoldPredictor
from ktrdr.training.model import ModelDescription, TrainedModel
from ktrdr.training.network import column_names, make_stack
from ktrdr.training.nulls import N_SHIFTS, measure_nulls
from ktrdr.training.parts import TrainingPart, prepare_part
from ktrdr.training.pool import Pool, PoolRows, compute_pool
from ktrdr.training.predictions import Predictions
from ktrdr.training.purging import require_purged
from ktrdr.training.report import (
    Calibration,
    FoldDates,
    FoldReport,
    Nulls,
    PurgedCounts,
    RowCounts,
    RulesReport,
    TrainingReport,
)
from ktrdr.training.rows import usable_rows
from ktrdr.training.rules import read_rules
from ktrdr.training.splits import Fold, RowArray, block_bounds, split_training_part, walk_forward

ProgressCallback = Callable[[float, str], None]
LapCallback = Callable[[str, dict[str, int]], None]

_PERCENT_BEFORE_FIT = 5.0
_PERCENT_AFTER_FIT = 30.0
_PERCENT_AFTER_NULLS = 97.0  # they are most of the work: twenty times the folds, where the fit has three seeds


@dataclass(frozen=True, slots=True)
class Recalled:
    """Where a training goes on (None: from the start), and a word about it for whoever watches ("": nothing to say).

    `null_accuracies`: of the shifts of its nulls that need not be fitted again, the first ones in their order.
    """

    state: FitState | None
    null_accuracies: Sequence[float] = ()
    note: str = ""


class FitMemory(Protocol):
    """Keeps where a training's fits stand, so that another process can go on with them."""

    def recall(self, identity: Mapping[str, str], start: FitState) -> Recalled:
        """Return what was kept of the fit of this identity; `start` is its state before the first epoch."""
        ...

    def keep(self, state: FitState, null_accuracies: Sequence[float] = ()) -> None:
        """Take note of a state, which must not be changed: called after every epoch, and then after groups of nulls."""
        ...


class NoMemory:
    """Keeps nothing."""

    def recall(self, identity: Mapping[str, str], start: FitState) -> Recalled:
        """Return the start."""
        return Recalled(None)

    def keep(self, state: FitState, null_accuracies: Sequence[float] = ()) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingOutcome:
    """What a training gives: its report, the predictions of test blocks and of fitted rows, the final model.

    `machine`: what the last digits of all of them rest on.
    """

    report: TrainingReport
    predictions: Predictions
    fitted_predictions: Predictions
    model: TrainedModel
    machine: Mapping[str, str]


def train_strategy(
    specification: StrategySpecification,
    bars: Bars | Sequence[Bars],
    *,
    seed: int,
    on_progress: ProgressCallback,
    on_lap: LapCallback = lambda name, attributes: None,
    memory: FitMemory | None = None,
    device: str = "cpu",
    threads: int = 1,
    workers: int = 1,
    n_shifts: int = N_SHIFTS,
) -> TrainingOutcome:
    """Train on the research window; equal arguments give bit-identical outcomes on one machine.

    Args:
        specification: The strategy.
        bars: Its research bars; of several symbols in any order, for which one network learns of all.
        seed: What all randomness derives from; >= 0.
        on_progress: Called with a percentage (0..100) and a text, once an epoch and a few times more.
        on_lap: Called with the name of each part of the work and its figures when it ends.
        memory: Where an equal training on an equal machine was interrupted, to end with its bits; None: nowhere.
        device: Where networks are fitted, `cpu` or `cuda`; on another one figures differ in their last digits.
        threads: Threads of PyTorch. At this size a second one gains a fifth on an idle machine, and costs a factor of
            ten to thirty as soon as another process wants the core that it waits on.
        n_shifts: Shifts of the labels to fit for the nulls, most of the work; fewer than 19 test nothing.
        workers: Groups of null networks fitted at the same time, each in a thread of its own; no result depends on it.

    Raises:
        InvalidInput: `seed` is negative.
        OperationFailed: The strategy cannot be trained on these bars: `too_few_bars`, `no_common_time`,
            `no_labels`, `single_class_labels`, `constant_prices`, `fuzzy_set_degenerate`, `fuzzy_set_empty`,
            `training_diverged`; `leak_found`, a fault of ours.
    """
    if seed < 0:
        raise InvalidInput(f"need a seed >= 0, was {seed!r}", reason="invalid_seed")
    on_progress(0.0, "computing features and labels")
    pool = compute_pool(specification, bars)
    rows = usable_rows(pool.inputs, pool.labels)
    on_lap("training.features", {"bars": len(pool.rows), "inputs": len(pool.inputs.names), "rows": len(rows)})
    folds, parts = _prepare_parts(specification, pool, rows, on_lap)
    stack = make_stack(specification.model, parts[-1].encoder)
    machine = machine_identity(threads, device)
    fit = _Fit(stack, parts, specification, seed, n_shifts, pool.rows.snapshot, machine, memory or NoMemory())
    with torch_runtime(threads):
        fitted = fit.run(on_progress, on_lap)
        nulls = fit.measure_nulls(fitted, rows, pool, workers, on_progress, on_lap)
        on_progress(_PERCENT_AFTER_NULLS, "predicting the test blocks")
        predictor = FoldPredictor(specification.model, stack, parts[:-1], fitted.state, specification.training.seeds)
        predictions, fitted_predictions = predictor.test_blocks(), predictor.fitted_rows(pool.inputs)
        final_networks = fitted.state.best_parameters[-specification.training.seeds :]
        rules = read_rules(specification, stack, parts[-1], final_networks, pool.inputs)
        findings = _Findings(nulls, predictor.calibration(), rules)
        on_lap("training.predict", {"folds": len(folds), "rules": len(rules.rules)})
    report = _report(specification, pool, folds, parts, fitted.state, seed=seed, findings=findings)
    model = _final_model(stack, specification, pool.rows, parts[-1], fitted.state, seed)
    on_lap("training.report", {})
    on_progress(100.0, "trained")
    return TrainingOutcome(report, predictions, fitted_predictions, model, machine)


def _prepare_parts(
    specification: StrategySpecification, pool: Pool, rows: RowArray, on_lap: LapCallback
) -> tuple[list[Fold], list[TrainingPart]]:
    """Return the folds and their training parts, followed by the part of the final model."""
    inputs, labels, timestamp = pool.inputs, pool.labels, pool.rows.timestamp
    times = pool.times if len(pool.rows.series) > 1 else None
    require = partial(require_purged, label_end=labels.end, first_row=inputs.first_row, times=times)
    folds = walk_forward(rows, labels.end, block_bounds(timestamp, pool.rows.end), timestamp=timestamp)
    parts = []
    for fold in folds:
        test_bars = np.arange(max(fold.test_start, inputs.first_row), fold.test_stop)
        name = f"fold {fold.index}"
        require(name, fold.training, test_start=fold.test_start)
        part = prepare_part(specification, inputs, labels, name=name, training=fold.training, test_bars=test_bars)
        # Asked last: where the warm-up reaches this far, the training part is empty too.
        _require_test_bars(name, pool.rows, test_bars)
        parts.append(part)
        on_lap("training.fold", {"fold": fold.index, **_row_counts(part)})
    n_rows = len(pool.rows)
    training = split_training_part(rows, labels.end, n_rows, timestamp=timestamp)
    require("the final model", training, test_start=n_rows)
    no_bars = np.empty(0, dtype=np.intp)
    final = prepare_part(specification, inputs, labels, name="the final model", training=training, test_bars=no_bars)
    on_lap("training.final_part", _row_counts(final))
    parts.append(final)
    # A rare set may be empty in one fold; one that is empty in all of them is a mistake in the file.
    final.encoder.refuse_empty_sets(inputs, np.unique(np.concatenate([part.training.fitted for part in parts])))
    return folds, parts


def _require_test_bars(name: str, rows: PoolRows, test_bars: RowArray) -> None:
    present = np.unique(rows.place[test_bars])
    absent = [bars.symbol for place, bars in enumerate(rows.series) if place not in present]
    if absent:
        raise OperationFailed(
            f"the test block of {name} holds no bar of {', '.join(absent)} and at least 1 is needed: one sixth of the "
            "research window's calendar time is without bars; import a series without such a gap",
            reason="too_few_bars",
        )


def _row_counts(part: TrainingPart) -> dict[str, int]:
    return {
        "fitted_rows": len(part.training.fitted),
        "validation_rows": len(part.training.validation),
        "test_bars": len(part.test_bars),
    }


@dataclass(frozen=True, slots=True)
class _Fitted:
    """The end of a fit, nulls that are known from before, and words for whoever watches about where it began."""

    state: FitState
    null_accuracies: Sequence[float]
    words: str


@dataclass(frozen=True, slots=True)
class _Fit:
    """The fit of every part's networks; those of part p and replicate s have the place p * seeds + s."""

    stack: NetworkStack
    parts: Sequence[TrainingPart]
    specification: StrategySpecification
    seed: int
    n_shifts: int
    snapshot: str
    machine: Mapping[str, str]
    memory: FitMemory

    def run(self, on_progress: ProgressCallback, on_lap: LapCallback) -> _Fitted:
        """Fit all networks but those of the nulls."""
        training = self.specification.training
        tasks = [
            NetworkTask(f"seed {replicate + 1} of {part.name}", NetworkKey(self.seed, (number, replicate)), number)
            for number, part in enumerate(self.parts)
            for replicate in range(training.seeds)
        ]
        rows = [part.rows for part in self.parts]
        settings = self._settings()
        start = start_state(self.stack, rows, tasks, settings.device)
        recalled = self.memory.recall(self._identity(), start)
        words = f" ({recalled.note})" if recalled.note else ""

        def finish_epoch(state: FitState) -> None:
            # Kept before it is reported: a reader must never see progress that would be made again.
            self.memory.keep(state)
            n_running = int((~state.is_stopped).sum())
            share = state.epoch / training.epochs
            on_progress(
                _PERCENT_BEFORE_FIT + share * (_PERCENT_AFTER_FIT - _PERCENT_BEFORE_FIT),
                f"epoch {state.epoch} of at most {training.epochs}, {n_running} of {len(tasks)} networks still learn"
                + words,
            )

        on_progress(_PERCENT_BEFORE_FIT, f"fitting {len(tasks)} networks{words}")
        state = start if recalled.state is None else recalled.state
        first_epoch, epochs_before = state.epoch, state.epochs_run.copy()
        state = fit_stack(self.stack, rows, tasks, settings, on_epoch=finish_epoch, state=state)
        rows_of = np.array([len(part.training.fitted) for part in self.parts]).repeat(training.seeds)
        figures = {
            "parts": len(self.parts),
            "seeds": training.seeds,
            "epochs": state.epoch - first_epoch,
            "first_epoch": first_epoch + 1,
            # Rows that networks learned from, each as often as it was shown; of this run only.
            "samples": int(((state.epochs_run - epochs_before) * rows_of).sum()),
        }
        on_lap("training.fit", figures)
        return _Fitted(state.on_cpu(), recalled.null_accuracies, words)

    def _identity(self) -> dict[str, str]:
        """Return what another process must share to go on where this one stands."""
        return {
            **self.machine,
            "strategy": self.specification.sha256(),
            "snapshot": self.snapshot,
            "seed": str(self.seed),
            "shifts": str(self.n_shifts),
        }

    def _settings(self) -> FitSettings:
        training = self.specification.training
        device = self.machine["device"]
        return FitSettings(training.epochs, training.batch_size, training.learning_rate, training.patience, device)

    def measure_nulls(
        self,
        fitted: _Fitted,
        rows: RowArray,
        pool: Pool,
        workers: int,
        on_progress: ProgressCallback,
        on_lap: LapCallback,
    ) -> Nulls:
        """Fit the same recipe where there is nothing to learn; the state that `run` left is only kept."""

        def finish_group(accuracies: Sequence[float]) -> None:
            self.memory.keep(fitted.state, accuracies)
            share = len(accuracies) / self.n_shifts
            on_progress(
                _PERCENT_AFTER_FIT + share * (_PERCENT_AFTER_NULLS - _PERCENT_AFTER_FIT),
                f"fitted {len(accuracies)} of {self.n_shifts} shifts of the labels, which have nothing to teach"
                + fitted.words,
            )

        known, folds = fitted.null_accuracies, self.parts[:-1]
        nulls = measure_nulls(
            self.stack,
            folds,
            rows,
            pool.labels,
            self._settings(),
            pool=pool.rows,
            seed=self.seed,
            n_shifts=self.n_shifts,
            workers=workers,
            known=known,
            on_shifts=finish_group,
        )
        figures = {"shifts": self.n_shifts - len(known), "first_shift": len(known) + 1, "folds": len(folds)}
        on_lap("training.nulls", {**figures, "workers": workers})
        return nulls


@dataclass(frozen=True, slots=True)
class _Findings:
    """What was found about the networks of a training beside how they fitted."""

    nulls: Nulls
    calibration: Calibration
    rules: RulesReport


def _report(
    specification: StrategySpecification,
    pool: Pool,
    folds: Sequence[Fold],
    parts: Sequence[TrainingPart],
    state: FitState,
    *,
    seed: int,
    findings: _Findings,
) -> TrainingReport:
    by_part = (len(parts), specification.training.seeds)
    accuracy = state.best_accuracy.reshape(by_part)[: len(folds)]
    loss = state.best_loss.reshape(by_part)[: len(folds)]
    first_row = pool.inputs.first_row
    all_rows = np.arange(first_row, len(pool.rows))
    return TrainingReport(
        accuracy=float(accuracy.mean()),
        final_loss=float(loss.mean()),
        accuracy_sd=_deviation_over_seeds(accuracy),
        final_loss_sd=_deviation_over_seeds(loss),
        folds=[
            _fold_report(pool.rows, fold, part, state, specification.training.seeds)
            for fold, part in zip(folds, parts[:-1], strict=True)
        ],
        nulls=findings.nulls,
        calibration=findings.calibration,
        coverage=parts[-1].encoder.coverage(pool.inputs, all_rows),
        unlabelled_rows=int((pool.labels.value[first_row:] < 0).sum()),
        rules=findings.rules,
        seed=seed,
        snapshot=pool.rows.snapshot,
        strategy_sha256=specification.sha256(),
        snapshots=pool.rows.snapshots,
    )


def _deviation_over_seeds(by_fold_and_seed: NDArray[np.float64]) -> float:
    """Return the sample standard deviation over seeds of the means over folds; 0 with one seed."""
    per_seed = by_fold_and_seed.mean(axis=0)
    return float(per_seed.std(ddof=1)) if len(per_seed) > 1 else 0.0


def _fold_report(rows: PoolRows, fold: Fold, part: TrainingPart, state: FitState, n_seeds: int) -> FoldReport:
    networks = slice((fold.index - 1) * n_seeds, fold.index * n_seeds)
    training = part.training
    return FoldReport(
        fold=fold.index,
        rows=RowCounts(fitted=len(training.fitted), validation=len(training.validation), test=len(part.test_bars)),
        dates=FoldDates(
            fitted=_span(rows, training.fitted),
            validation=_span(rows, training.validation),
            test=_span(rows, part.test_bars),
        ),
        purged=PurgedCounts(
            before_test=training.purged_before_test, before_validation=training.purged_before_validation
        ),
        base_rate=part.base_rate,
        accuracy=float(state.best_accuracy[networks].mean()),
        loss=float(state.best_loss[networks].mean()),
        epochs=state.epochs_run[networks].tolist(),
        best_epochs=state.best_epoch[networks].tolist(),
    )


def _span(rows: PoolRows, part: RowArray) -> tuple[datetime, datetime]:
    first, last = (datetime.fromtimestamp(int(rows.timestamp[row]) / 1000, UTC) for row in part[[0, -1]])
    return first, last


def _final_model(
    stack: NetworkStack,
    specification: StrategySpecification,
    rows: PoolRows,
    part: TrainingPart,
    state: FitState,
    seed: int,
) -> TrainedModel:
    n_seeds = specification.training.seeds
    description = ModelDescription(
        strategy_sha256=specification.sha256(),
        snapshot=rows.snapshot,
        snapshots=rows.snapshots,
        seed=seed,
        n_seeds=n_seeds,
        model=specification.model,
        feature_names=column_names(specification.model, part.encoder),
        fitted_rows=len(part.training.fitted),
        validation_rows=len(part.training.validation),
        accuracy=float(state.best_accuracy[-n_seeds:].mean()),
        loss=float(state.best_loss[-n_seeds:].mean()),
        best_epochs=tuple(state.best_epoch[-n_seeds:].tolist()),
    )
    weights = stack.unpack(state.best_parameters[-n_seeds:])
    return TrainedModel(description, part.encoder, part.scaling, weights)
