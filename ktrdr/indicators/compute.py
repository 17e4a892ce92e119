"""Computes indicators through TA-Lib, guarded where TA-Lib is silent.

After one NaN TA-Lib's RSI returns 0.0 and its averages NaN for ever, so nothing that is not finite goes in,
and nothing that is not finite comes out once the warm-up is over.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ktrdr.errors import OperationFailed
from ktrdr.indicators.catalogue import CATALOGUE, IndicatorType, complete_parameters

FloatArray = NDArray[np.float64]

SETTLED_WEIGHT = 1e-4
"""A recursive average counts as settled once what came before the series has less than this weight in it."""


def compute_indicator(
    type_name: str, parameters: Mapping[str, float], prices: Mapping[str, FloatArray]
) -> dict[str, FloatArray]:
    """Compute one indicator over a whole series; row t knows bars up to and including t.

    Args:
        type_name: A name in the catalogue.
        parameters: Those not given take the catalogue's defaults.
        prices: The columns of `Bars.indicator_inputs`, float64 (n_bars,); only the type's inputs are looked at.

    Returns:
        Output name to float64 (n_bars,). The first `warmup_bars` rows are NaN, all others finite.

    Raises:
        ValueError: Unknown type, a parameter out of its range, or an input that is NaN, infinite or of
            another length.
        OperationFailed: `indicator_not_finite`, a value after the warm-up is NaN or infinite, or nothing was
            traded in a whole period of an indicator of volume.
    """
    import talib

    complete = complete_parameters(type_name, parameters)
    kind = CATALOGUE[type_name]
    inputs = _checked_inputs(kind, prices)
    if "volume" in kind.inputs:
        _check_traded(type_name, complete, np.asarray(prices["volume"]))
    warmup = _warmup_bars(type_name, tuple(complete.items()))
    n_bars = len(inputs[0])
    if n_bars <= warmup:
        return {name: np.full(n_bars, np.nan) for name in kind.outputs}
    if kind.is_of_clock:
        return {kind.outputs[0]: inputs[0].copy()}
    raw = getattr(talib, type_name)(*inputs, **complete, **dict(kind.constants))
    arrays = raw if isinstance(raw, tuple) else (raw,)
    outputs = dict(zip(kind.outputs, arrays, strict=True))
    for name, values in outputs.items():
        values[:warmup] = np.nan
        if not _all_finite(values[warmup:]):
            row = warmup + int(np.argmin(np.isfinite(values[warmup:])))
            raise OperationFailed(
                f"{_shown(type_name, complete)} gives {values[row]} for {name!r} at bar {row}, after its warm-up "
                f"of {warmup} bars; use another indicator",
                reason="indicator_not_finite",
            )
    return outputs


def warmup_bars(type_name: str, parameters: Mapping[str, float]) -> int:
    """Return how many first rows are not valid yet, or still show where the series happens to start.

    The sum of TA-Lib's lookback and, for recursive averages, the bars until the start's weight falls below
    `SETTLED_WEIGHT` (RSI of 14: 14 + 125).

    Raises:
        ValueError: Unknown type or a parameter out of its range.
    """
    complete = complete_parameters(type_name, parameters)
    return _warmup_bars(type_name, tuple(complete.items()))


def average_true_range(prices: Mapping[str, FloatArray], timeperiod: int = 14) -> FloatArray:
    """Return Wilder's ATR in price units, float64 (n_bars,), NaN in the warm-up.

    Raises:
        ValueError: As `compute_indicator`.
    """
    return compute_indicator("ATR", {"timeperiod": timeperiod}, prices)["real"]


@lru_cache(maxsize=4096)
def _warmup_bars(type_name: str, parameters: tuple[tuple[str, float], ...]) -> int:
    from talib import abstract  # the stubs know abstract as a package, without Function

    kind = CATALOGUE[type_name]
    if kind.is_of_clock:
        return 0
    values = dict(parameters)
    lookback = int(abstract.Function(type_name, **values, **dict(kind.constants)).lookback)  # type: ignore[attr-defined]
    return lookback + _settling_bars(kind, values)


def _settling_bars(kind: IndicatorType, parameters: Mapping[str, float]) -> int:
    """Follow an error of 1 in every average of the chain until the last one has forgotten it."""
    if not kind.smoothings:
        return 0
    gains = [
        1.0 / parameters[each.parameter] if each.kind == "wilder" else 2.0 / (parameters[each.parameter] + 1.0)
        for each in kind.smoothings
    ]
    errors = [1.0] * len(gains)
    bars = 0
    while errors[-1] >= SETTLED_WEIGHT:
        entering = 0.0  # the first average reads prices, which are right
        for stage, gain in enumerate(gains):
            errors[stage] += gain * (entering - errors[stage])
            entering = errors[stage]
        bars += 1
    return bars


def _checked_inputs(kind: IndicatorType, prices: Mapping[str, FloatArray]) -> list[FloatArray]:
    inputs = [np.ascontiguousarray(prices[name], dtype=np.float64) for name in kind.inputs]
    for name, values in zip(kind.inputs, inputs, strict=True):
        if values.shape != (len(inputs[0]),):
            raise ValueError(f"{kind.name}: need {name} of shape ({len(inputs[0])},), was {values.shape}")
        if not _all_finite(values):
            row = int(np.argmin(np.isfinite(values)))
            raise ValueError(f"{kind.name}: need finite {name}, was {values[row]} at bar {row}")
    return inputs


def _check_traded(type_name: str, parameters: Mapping[str, float], volume: FloatArray) -> None:
    # TA-Lib divides what rounding left in its running sums there: 1e14, not NaN, and another number for another
    # start of the series.
    if volume.all():
        return
    period = int(parameters["timeperiod"])
    traded = np.cumsum(np.r_[0, volume > 0])
    idle = np.flatnonzero(traded[period:] == traded[:-period]) + period - 1
    if idle.size:
        raise OperationFailed(
            f"{_shown(type_name, parameters)} has no meaning at bar {idle[0]}: none of the {period} bars up to it has "
            "any volume; use a longer period, or an indicator of prices",
            reason="indicator_not_finite",
        )


def _all_finite(values: FloatArray) -> bool:
    return bool(np.isfinite(values).all())


def _shown(type_name: str, parameters: Mapping[str, float]) -> str:
    return f"{type_name}({', '.join(f'{name}={value:g}' for name, value in parameters.items())})"
