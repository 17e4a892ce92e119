"""The leak firewall: whether anything that training or backtest uses at a bar was known at that bar.

Features and labels are computed by code of ours that is the same for every strategy. What is caught here are therefore
faults of that code, and of indicators added to it, before they make a return that has to be taken back.

Signals need no check of their own: they come from features by a fitted model, row by row.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ktrdr.errors import InvalidInput, OperationFailed
from ktrdr.features.encoder import FuzzyEncoder
from ktrdr.features.inputs import FeatureInputs, compute_inputs
from ktrdr.labels.label import Labels, make_labels
from ktrdr.market.bars import Bars, FloatArray
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.training.pool import PoolRows, gather_rows, pool_up
from ktrdr.training.purging import Leak, RowTimes, find_split_leak
from ktrdr.training.rows import usable_rows
from ktrdr.training.scaling import FeatureScaling
from ktrdr.training.splits import Fold, RowArray, block_bounds, walk_forward

N_CUTS = 21
_WHOLE_BELOW = 7_500
_WINDOW_BARS = 6_000
_N_WINDOWS = 3
_FOREIGN_LEVEL = 8.0  # how far the noise lies from the prices it replaces: more than a scale may hide

ComputeFeatures = Callable[[Bars], FeatureInputs]
ComputeLabels = Callable[[Bars], Labels]
Split = Callable[["Timeline", FeatureInputs, Labels], list[Fold]]
Fit = Callable[[FeatureInputs, RowArray], object]


class Timeline(Protocol):
    """The rows that are split: bars of one series, or a pool of several."""

    @property
    def timestamp(self) -> NDArray[np.int64]:
        """Opens, epoch ms UTC, never decreasing."""
        ...

    @property
    def known_at(self) -> NDArray[np.int64]:
        """When the rows' bars are complete."""
        ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one strategy's features, labels, folds and what is fitted come about.

    `fit` returns what was learned from the fitted rows of a fold, comparable by `==`.
    """

    features: ComputeFeatures
    labels: ComputeLabels
    split: Split
    fit: Fit


def recipe_of(specification: StrategySpecification) -> Recipe:
    """Return what training does with a strategy."""

    def fit(inputs: FeatureInputs, rows: RowArray) -> object:
        encoder = FuzzyEncoder.fit(specification, inputs, rows)
        scaling = FeatureScaling.fit(encoder.transform(inputs)[rows])
        return encoder.to_dict(), scaling.to_dict()

    return Recipe(
        features=lambda bars: compute_inputs(specification, bars),
        labels=lambda bars: make_labels(specification, bars),
        split=_walk_forward,
        fit=fit,
    )


def refuse_leaks(name: str, recipe: Recipe, bars: Bars | Sequence[Bars]) -> None:
    """Return if no leak is found in the strategy called `name`; bars that cannot serve it are left to training.

    Raises:
        InvalidInput: `leak_found`, with its place.
    """
    leak = find_leak(recipe, bars)
    if leak is not None:
        raise InvalidInput(
            f"{name!r} would know the future: {leak}. Nothing was stored or started. The fault is in ktrdr's own code "
            "and not in the file: please report it, and leave out what is named here until it is mended",
            reason="leak_found",
        )


def find_leak(recipe: Recipe, bars: Bars | Sequence[Bars]) -> Leak | None:
    """Return the first leak of a recipe; None where none shows, or where the bars are too few to train on.

    A series is cut at 21 bars. At each, features are computed anew from the bars before alone, and with noise of a
    foreign level after it; labels with the noise, and with another close at the bar where they arise.

    Of more than 7,500 bars only three windows of 6,000, the first, the middle and the last, are computed, with seven
    cuts each: recursive indicators make every value a function of all bars before, so that a shorter recomputation
    would have to be excused for its last bits. Where a window is too short for the warm-up the whole series is used.

    Of several symbols each is checked by itself, then the folds of the rows of all and what is fitted on them. The bar
    that is named is a row of the pool there.
    """
    series = (bars,) if isinstance(bars, Bars) else tuple(bars)
    if len(series) == 1:
        return _find_in_series(recipe, series[0], _find_in_window)
    for each in series:
        leak = _find_in_series(recipe, each, _find_in_columns)
        if leak is not None:
            return replace(leak, place=f"{each.symbol}, {leak.place}")
    try:
        return _find_in_pool(recipe, gather_rows(series))
    except OperationFailed:
        return None


def _find_in_series(recipe: Recipe, bars: Bars, find: Callable[[Recipe, Bars, int], Leak | None]) -> Leak | None:
    for start, window, n_cuts in _windows(bars):
        try:
            leak = find(recipe, window, n_cuts)
        except OperationFailed:
            if len(window) == len(bars):
                return None
            try:
                return find(recipe, bars, N_CUTS)
            except OperationFailed:
                return None
        if leak is not None:
            return replace(leak, bar=start + leak.bar)
    return None


def find_feature_leak(features: ComputeFeatures, bars: Bars, cuts: NDArray[np.intp]) -> Leak | None:
    """Return the first feature that changes with bars it must not know; each cut is the first bar unknown."""
    whole = features(bars)
    for number, cut in enumerate(cuts.tolist()):
        try:
            prefix = features(bars.slice(0, cut))
        except OperationFailed as error:
            return Leak("features", cut - 1, f"cannot be computed without the bars from {cut} on: {error.message}")
        leak = _first_change(whole, prefix, cut, "are cut off")
        if leak is not None:
            return leak
        try:
            foreign = features(with_foreign_future(bars, cut, seed=number))
        except OperationFailed:  # what fails in the noise says nothing of the bars before it
            continue
        leak = _first_change(whole, foreign, cut, "are noise")
        if leak is not None:
            return leak
    return None


def find_label_leak(labels: ComputeLabels, bars: Bars, cuts: NDArray[np.intp]) -> Leak | None:
    """Return the first label that looks beyond its stated end, or is entered at a price no longer to be had."""
    whole = labels(bars)
    labelled = np.flatnonzero(whole.value >= 0)
    early = labelled[whole.end[labelled] <= labelled]
    if len(early):
        return Leak("labels", int(early[0]), "it ends at or before its own bar, where nothing of it is known")
    for number, cut in enumerate(cuts.tolist()):
        foreign = labels(with_foreign_future(bars, cut, seed=number))
        is_known = _ends_before(whole, cut) | _ends_before(foreign, cut)
        is_changed = (whole.value[:cut] != foreign.value[:cut]) | (whole.end[:cut] != foreign.end[:cut])
        changed = np.flatnonzero(is_known & is_changed)
        if len(changed):
            bar = int(changed[-1])
            return Leak("labels", bar, f"it ends at bar {whole.end[bar]} and changes when the bars from {cut} on do")
        bar = cut - 1
        if whole.value[bar] < 0:
            continue
        for factor in (4.0, 0.25):
            close = bars.close.copy()
            close[bar] *= factor
            if labels(replace(bars, close=close)).value[bar] != whole.value[bar]:
                return Leak(
                    "labels", bar, "it enters at the close of its own bar; the first price to be had is the next open"
                )
    return None


def find_fold_leak(
    folds: list[Fold], inputs: FeatureInputs, labels: Labels, times: RowTimes | None = None
) -> Leak | None:
    """Return the first row that a fold must not train on; `times` as of `find_split_leak`."""
    for fold in folds:
        leak = find_split_leak(
            f"fold {fold.index}",
            fold.training,
            label_end=labels.end,
            first_row=inputs.first_row,
            test_start=fold.test_start,
            times=times,
        )
        if leak is not None:
            return leak
    return None


def find_fit_leak(fit: Fit, inputs: FeatureInputs, folds: list[Fold]) -> Leak | None:
    """Return the first fold in which what is fitted changes with rows that are not its fitted ones."""
    for fold in folds:
        fitted = fold.training.fitted
        values = inputs.values.copy()
        is_other = np.ones(len(values), dtype=bool)
        is_other[fitted] = False
        is_other[: inputs.first_row] = False
        values[is_other] = values[is_other] * -_FOREIGN_LEVEL + _FOREIGN_LEVEL
        if fit(inputs, fitted) != fit(replace(inputs, values=values), fitted):
            return Leak(
                f"fold {fold.index}, quantiles and scaling",
                int(np.flatnonzero(is_other)[0]),
                "they change with rows from here on that are not fitted",
            )
    return None


def with_foreign_future(bars: Bars, cut: int, *, seed: int) -> Bars:
    """Return the bars with prices and volumes from bar `cut` on replaced by a walk far above or below them."""
    rng = np.random.default_rng(seed)
    n_bars = len(bars) - cut
    level = bars.close[cut - 1] * _FOREIGN_LEVEL ** (-1.0 if seed % 2 else 1.0)
    close = level * np.exp(np.cumsum(rng.normal(0.0, 0.01, n_bars)))
    opens = close * np.exp(rng.normal(0.0, 0.005, n_bars))
    columns = {
        "open": opens,
        "high": np.maximum(opens, close) * np.exp(np.abs(rng.normal(0.0, 0.005, n_bars))),
        "low": np.minimum(opens, close) * np.exp(-np.abs(rng.normal(0.0, 0.005, n_bars))),
        "close": close,
        "volume": bars.volume[cut:] * rng.uniform(2.0, 20.0, n_bars) + 1.0,
    }
    joined: dict[str, Any] = {name: np.append(getattr(bars, name)[:cut], later) for name, later in columns.items()}
    return replace(bars, **joined)


def cut_points(first: int, n_bars: int, n_cuts: int = N_CUTS) -> NDArray[np.intp]:
    """Return up to so many bars after `first`, spread unevenly: in step with no higher timeframe."""
    edges = np.linspace(first + 1, n_bars - 1, n_cuts + 1)
    shift = np.random.default_rng(n_bars).uniform(0.0, 1.0, n_cuts)
    return np.unique((edges[:-1] + shift * np.diff(edges)).astype(np.intp))


def _windows(bars: Bars) -> Iterator[tuple[int, Bars, int]]:
    if len(bars) <= _WHOLE_BELOW:
        yield 0, bars, N_CUTS
        return
    for start in np.linspace(0, len(bars) - _WINDOW_BARS, _N_WINDOWS).astype(int).tolist():
        yield start, bars.slice(start, start + _WINDOW_BARS), N_CUTS // _N_WINDOWS


def _find_in_columns(recipe: Recipe, bars: Bars, n_cuts: int) -> Leak | None:
    cuts = cut_points(recipe.features(bars).first_row, len(bars), n_cuts)
    return find_feature_leak(recipe.features, bars, cuts) or find_label_leak(recipe.labels, bars, cuts)


def _find_in_window(recipe: Recipe, bars: Bars, n_cuts: int) -> Leak | None:
    leak = _find_in_columns(recipe, bars, n_cuts)
    if leak is not None:
        return leak
    return _find_in_folds(recipe, bars, recipe.features(bars), recipe.labels(bars), None)


def _find_in_pool(recipe: Recipe, rows: PoolRows) -> Leak | None:
    inputs = [recipe.features(each) for each in rows.series]
    pool = pool_up(rows, inputs, [recipe.labels(each) for each in rows.series])
    return _find_in_folds(recipe, rows, pool.inputs, pool.labels, pool.times)


def _find_in_folds(
    recipe: Recipe, rows: Timeline, inputs: FeatureInputs, labels: Labels, times: RowTimes | None
) -> Leak | None:
    folds = recipe.split(rows, inputs, labels)
    leak = find_fold_leak(folds, inputs, labels, times)
    return leak or find_fit_leak(recipe.fit, inputs, [fold for fold in folds if len(fold.training.fitted)])


def _walk_forward(rows: Timeline, inputs: FeatureInputs, labels: Labels) -> list[Fold]:
    bounds = block_bounds(rows.timestamp, int(rows.known_at.max()))
    return walk_forward(usable_rows(inputs, labels), labels.end, bounds, timestamp=rows.timestamp)


def _first_change(whole: FeatureInputs, other: FeatureInputs, cut: int, what_happened: str) -> Leak | None:
    before, after = _bits(whole.values[:cut]), _bits(other.values[:cut])
    rows, columns = np.nonzero(before != after)
    if len(rows) == 0:
        return None
    name = whole.names[int(columns[0])]
    return Leak(f"feature {name!r}", int(rows[0]), f"it changes when the bars from {cut} on {what_happened}")


def _bits(values: FloatArray) -> NDArray[np.int64]:
    return np.where(np.isnan(values), np.nan, values).view(np.int64)


def _ends_before(labels: Labels, cut: int) -> NDArray[np.bool_]:
    return (labels.value[:cut] >= 0) & (labels.end[:cut] < cut)
