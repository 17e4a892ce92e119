"""From bars to the values that fuzzy sets are laid over: one column per fuzzy variable."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ktrdr.errors import OperationFailed
from ktrdr.indicators.catalogue import CATALOGUE
from ktrdr.indicators.compute import compute_indicator, warmup_bars
from ktrdr.market.bars import Bars
from ktrdr.market.resample import HigherBars, resample
from ktrdr.market.timeframe import Timeframe
from ktrdr.strategy.specification import StrategySpecification

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FeatureInputs:
    """The input of every fuzzy variable at every bar.

    Attributes:
        names: The fuzzy variables, in file order.
        values: float64 (n_bars, n_inputs); row t knows bars up to and including t. Rows before `first_row` are
            NaN, all others finite.
        first_row: First bar at which every indicator has settled.
    """

    names: tuple[str, ...]
    values: FloatArray
    first_row: int


def compute_inputs(specification: StrategySpecification, bars: Bars) -> FeatureInputs:
    """Compute the input of every fuzzy variable of a strategy; each indicator is computed once.

    An indicator of a higher timeframe has at bar t the value of the last higher bar known at t's close; its warm-up is
    counted in higher bars, less the first one, which the start of the series may have cut.

    Raises:
        OperationFailed: `constant_prices`, no close differs from another; `no_volume`, an indicator needs volume and
            the series has none; `too_few_bars`, the warm-up leaves no bar; `indicator_not_finite`, a value after the
            warm-up is NaN or infinite.
    """
    _check_prices(bars)
    _check_volume(specification, bars)
    prices = bars.prices()
    outputs, first_row = _indicator_outputs(specification, bars)
    if first_row >= len(bars):
        raise OperationFailed(
            f"the indicators need {first_row} bars to settle and {bars.symbol} {bars.timeframe} has {len(bars)}; "
            "use shorter periods or a longer series",
            reason="too_few_bars",
        )
    values = np.full((len(bars), len(specification.fuzzy_sets)), np.nan)
    for column, (name, variable) in enumerate(specification.fuzzy_sets.items()):
        settled = _resolve(variable.input, outputs)[first_row:]
        if variable.relative_to is not None:
            reference = prices.get(variable.relative_to)
            if reference is None:
                reference = _resolve(variable.relative_to, outputs)
            settled = _relative(name, settled, reference[first_row:])
        values[first_row:, column] = settled
    return FeatureInputs(tuple(specification.fuzzy_sets), values, first_row)


def _indicator_outputs(
    specification: StrategySpecification, bars: Bars
) -> tuple[dict[str, dict[str, FloatArray]], int]:
    """Return every indicator's outputs, each (n_bars,), and the first bar at which all of them have settled."""
    outputs: dict[str, dict[str, FloatArray]] = {}
    first_row = 0
    inputs = bars.indicator_inputs()
    higher: dict[Timeframe, HigherBars] = {}
    for identifier, each in specification.indicators.items():
        warmup = warmup_bars(each.type, each.parameters)
        if each.timeframe is None:
            outputs[identifier] = compute_indicator(each.type, each.parameters, inputs)
            first_row = max(first_row, warmup)
            continue
        if each.timeframe not in higher:
            higher[each.timeframe] = resample(bars, each.timeframe)
        source = higher[each.timeframe]
        warmup += 1  # the start of the series may have cut the first higher bar
        if warmup >= len(source):
            raise OperationFailed(
                f"indicator {identifier!r} needs {warmup + 1} bars of {each.timeframe} to settle, and the {len(bars)} "
                f"bars of {bars.symbol} {bars.timeframe} make {len(source)}; use a shorter period, a lower timeframe "
                "for it or a longer series",
                reason="too_few_bars",
            )
        found = compute_indicator(each.type, each.parameters, source.prices)
        outputs[identifier] = {name: source.at_each_bar(values, len(bars)) for name, values in found.items()}
        first_row = max(first_row, int(source.known_row[warmup]))
    return outputs, first_row


def _check_prices(bars: Bars) -> None:
    if len(bars) > 1 and bars.close.min() == bars.close.max():
        raise OperationFailed(
            f"all {len(bars)} closes of {bars.symbol} {bars.timeframe} are {bars.close[0]:g}; nothing can be learned "
            "or traded where no price moves: import bars whose prices move, or change market.symbols",
            reason="constant_prices",
        )


def _check_volume(specification: StrategySpecification, bars: Bars) -> None:
    if np.isfinite(bars.volume).all():
        return
    for identifier, each in specification.indicators.items():
        if "volume" in CATALOGUE[each.type].inputs:
            raise OperationFailed(
                f"indicator {identifier!r} ({each.type}) needs volume, which {bars.symbol} {bars.timeframe} does not "
                "have at every bar; use an indicator of prices or another market",
                reason="no_volume",
            )


def _resolve(reference: str, outputs: Mapping[str, Mapping[str, FloatArray]]) -> FloatArray:
    """Return the array that `rsi` (the only output) or `bands.lowerband` names; the validator checked it."""
    identifier, _, output = reference.partition(".")
    of_indicator = outputs[identifier]
    return of_indicator[output] if output else next(iter(of_indicator.values()))


def _relative(name: str, values: FloatArray, reference: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        relative: FloatArray = values / reference - 1.0
    if not np.isfinite(relative).all():
        raise OperationFailed(
            f"fuzzy set {name!r} divides by a reference that is 0; choose another relative_to",
            reason="indicator_not_finite",
        )
    return relative
