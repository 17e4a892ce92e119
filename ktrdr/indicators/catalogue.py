"""The indicators that a strategy may use, with our own parameter ranges.

TA-Lib knows names and defaults but no ranges, so the ranges here are ours: wide enough for any timeframe,
narrow enough that the warm-up fits a research window. Every indicator here forgets: two histories of
different length agree after the warm-up, and no value changes when later bars arrive (tests prove both). All are
TA-Lib's but those of the clock, which are columns of the bars.
"""

import math
from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType

from ktrdr.indicators.indicator_type import IndicatorType, ParameterRange, Smoothing

__all__ = [
    "CATALOGUE",
    "NOT_OFFERED",
    "IndicatorType",
    "ParameterRange",
    "complete_parameters",
    "parameter_faults",
]


def complete_parameters(type_name: str, parameters: Mapping[str, float]) -> dict[str, float]:
    """Return the parameters with defaults for those not given, whole-numbered ones as int.

    Raises:
        ValueError: Unknown type, or `parameter_faults` finds something.
    """
    faults = parameter_faults(type_name, parameters)
    if faults:
        raise ValueError(f"{type_name}: {'; '.join(faults)}")
    complete: dict[str, float] = {}
    for allowed in CATALOGUE[type_name].parameters:
        value = parameters.get(allowed.name, allowed.default)
        complete[allowed.name] = int(value) if allowed.is_integer else float(value)
    return complete


def parameter_faults(type_name: str, parameters: Mapping[str, float]) -> list[str]:
    """Return every fault of an indicator's parameters, as `timeperiod: 1 is below the minimum 2`.

    Parameters that are not given take their defaults, also where two parameters are compared.
    """
    kind = CATALOGUE.get(type_name)
    if kind is None:
        return [f"type: {type_name!r} is not an indicator that ktrdr offers; {_advice(type_name)}"]
    allowed = {each.name: each for each in kind.parameters}
    faults = []
    for name, value in parameters.items():
        if name not in allowed:
            known = f"allowed: {', '.join(allowed)}" if allowed else "it takes none"
            faults.append(f"{name}: is not a parameter of {type_name}; {known}")
        elif (fault := _range_fault(allowed[name], value)) is not None:
            faults.append(fault)
    if faults:
        return faults
    values = {name: parameters.get(name, each.default) for name, each in allowed.items()}
    return [
        f"{smaller}: {values[smaller]:g} must be below {larger} {values[larger]:g}"
        for smaller, larger in kind.ascending
        if values[smaller] >= values[larger]
    ]


def _advice(type_name: str) -> str:
    known_fault = NOT_OFFERED.get(type_name.upper())
    if known_fault is not None:
        return known_fault
    near = get_close_matches(type_name.upper(), CATALOGUE, n=1, cutoff=0.7)
    return f"did you mean {near[0]}?" if near else f"choose one of {', '.join(CATALOGUE)}"


def _range_fault(allowed: ParameterRange, value: float) -> str | None:
    if not math.isfinite(value):
        return f"{allowed.name}: {value!r} is not a finite number"
    if allowed.is_integer and value != int(value):
        return f"{allowed.name}: {value:g} is not a whole number"
    if value < allowed.minimum:
        return f"{allowed.name}: {value:g} is below the minimum {allowed.minimum:g}"
    if value > allowed.maximum:
        return f"{allowed.name}: {value:g} is above the maximum {allowed.maximum:g}"
    return None


def _whole(name: str, minimum: int, maximum: int, default: int, step: int = 1) -> ParameterRange:
    return ParameterRange(name, minimum, maximum, step, default, is_integer=True)


def _real(name: str, minimum: float, maximum: float, default: float, step: float) -> ParameterRange:
    return ParameterRange(name, minimum, maximum, step, default, is_integer=False)


def _period(default: int, minimum: int = 2, maximum: int = 200) -> ParameterRange:
    return _whole("timeperiod", minimum, maximum, default)


_HL = ("high", "low")
_HLC = ("high", "low", "close")
_HLCV = ("high", "low", "close", "volume")
_CLOSE = ("close",)
_REAL = ("real",)
_BAND = ("upperband", "middleband", "lowerband")
_FAST_SLOW = (("fastperiod", "slowperiod"),)
_SLOW_EXPONENTIAL = Smoothing("slowperiod", "exponential")
_WILDER = Smoothing("timeperiod", "wilder")
_EXPONENTIAL = Smoothing("timeperiod", "exponential")

_OSCILLATORS = (
    IndicatorType(
        "RSI",
        "strength of recent gains against losses, 0..100; above 70 overbought, below 30 oversold",
        _CLOSE,
        _REAL,
        (_period(14, maximum=100),),
        "oscillator",
        smoothings=(_WILDER,),
    ),
    IndicatorType(
        "CMO",
        "net momentum as a share of all movement, -100..100",
        _CLOSE,
        _REAL,
        (_period(14, maximum=100),),
        "oscillator",
        smoothings=(_WILDER,),
    ),
    IndicatorType(
        "STOCH",
        "where the close lies in the recent high-low range, smoothed, 0..100; slowd is the signal line",
        _HLC,
        ("slowk", "slowd"),
        (
            _whole("fastk_period", 3, 100, 14),
            _whole("slowk_period", 1, 20, 3),
            _whole("slowd_period", 1, 20, 3),
        ),
        "oscillator",
        constants=(("slowk_matype", 0), ("slowd_matype", 0)),
    ),
    IndicatorType(
        "STOCHRSI",
        "where RSI lies in its own recent range, 0..100; much faster than RSI",
        _CLOSE,
        ("fastk", "fastd"),
        (_period(14, maximum=100), _whole("fastk_period", 3, 100, 14), _whole("fastd_period", 1, 20, 3)),
        "oscillator",
        smoothings=(_WILDER,),
        constants=(("fastd_matype", 0),),
    ),
    IndicatorType(
        "WILLR",
        "distance of the close below the recent high, -100..0; above -20 overbought, below -80 oversold",
        _HLC,
        _REAL,
        (_period(14),),
        "oscillator",
    ),
    IndicatorType(
        "CCI",
        "deviation of the typical price from its mean in mean deviations; beyond +-100 is unusual",
        _HLC,
        _REAL,
        (_period(20),),
        "oscillator",
    ),
    IndicatorType(
        "ULTOSC",
        "buying pressure over three horizons at once, 0..100",
        _HLC,
        _REAL,
        (
            _whole("timeperiod1", 2, 50, 7),
            _whole("timeperiod2", 3, 100, 14),
            _whole("timeperiod3", 4, 200, 28),
        ),
        "oscillator",
        ascending=(("timeperiod1", "timeperiod2"), ("timeperiod2", "timeperiod3")),
    ),
    IndicatorType(
        "BOP",
        "balance of power within the bar: (close - open) / (high - low), -1..1; noisy",
        ("open", "high", "low", "close"),
        _REAL,
        (),
        "oscillator",
    ),
    IndicatorType(
        "PERCENTRANK",
        "share of the last bars whose close lies below this one, 0..100; a place in the recent range",
        _CLOSE,
        _REAL,
        (_whole("timeperiod", 10, 500, 100, 5),),
        "oscillator",
    ),
)

_TREND = (
    IndicatorType(
        "ADX",
        "strength of the trend whatever its direction, 0..100; below 20 weak, above 25 trending",
        _HLC,
        _REAL,
        (_period(14, maximum=50),),
        "oscillator",
        smoothings=(_WILDER, _WILDER),
    ),
    IndicatorType(
        "PLUS_DI",
        "strength of upward movement, 0..100; compare with MINUS_DI",
        _HLC,
        _REAL,
        (_period(14, maximum=100),),
        "oscillator",
        smoothings=(_WILDER,),
    ),
    IndicatorType(
        "MINUS_DI",
        "strength of downward movement, 0..100; compare with PLUS_DI",
        _HLC,
        _REAL,
        (_period(14, maximum=100),),
        "oscillator",
        smoothings=(_WILDER,),
    ),
    IndicatorType(
        "AROON",
        "how recently the lowest low (aroondown) and highest high (aroonup) were made, 0..100",
        _HL,
        ("aroondown", "aroonup"),
        (_period(25),),
        "oscillator",
    ),
    IndicatorType(
        "AROONOSC",
        "aroonup less aroondown, -100..100; positive while highs are the more recent",
        _HL,
        _REAL,
        (_period(25),),
        "oscillator",
    ),
    IndicatorType(
        "VORTEX",
        "upward (plusvi) and downward (minusvi) movement over true range, around 1",
        _HLC,
        ("plusvi", "minusvi"),
        (_period(14),),
        "ratio",
    ),
    IndicatorType(
        "ER",
        "efficiency of the move: net change over the path walked, 0 choppy .. 1 straight line",
        _CLOSE,
        _REAL,
        (_period(10),),
        "oscillator",
    ),
    IndicatorType(
        "MACD",
        "fast less slow exponential average of the close, its signal line, the difference; in price units",
        _CLOSE,
        ("macd", "macdsignal", "macdhist"),
        (_whole("fastperiod", 2, 50, 12), _whole("slowperiod", 3, 150, 26), _whole("signalperiod", 2, 50, 9)),
        "price_difference",
        _FAST_SLOW,
        (_SLOW_EXPONENTIAL, Smoothing("signalperiod", "exponential")),
    ),
    IndicatorType(
        "PPO",
        "fast against slow exponential average of the close, in percent: MACD free of the price level",
        _CLOSE,
        _REAL,
        (_whole("fastperiod", 2, 50, 12), _whole("slowperiod", 3, 150, 26)),
        "ratio",
        _FAST_SLOW,
        (_SLOW_EXPONENTIAL,),
        (("matype", 1),),
    ),
    IndicatorType(
        "TRIX",
        "change per bar of a triple exponential average, in percent; slow and smooth",
        _CLOSE,
        _REAL,
        (_period(15, maximum=60),),
        "ratio",
        smoothings=(_EXPONENTIAL, _EXPONENTIAL, _EXPONENTIAL),
    ),
    IndicatorType(
        "TSI",
        "true strength: twice smoothed momentum over its absolute size, -100..100",
        _CLOSE,
        _REAL,
        (_whole("firstperiod", 2, 60, 25), _whole("secondperiod", 2, 60, 13)),
        "oscillator",
        smoothings=(Smoothing("firstperiod", "exponential"), Smoothing("secondperiod", "exponential")),
    ),
    IndicatorType(
        "LINEARREG_SLOPE",
        "slope of the least-squares line through the closes, price units per bar",
        _CLOSE,
        _REAL,
        (_period(14),),
        "price_difference",
    ),
)

_MOMENTUM = (
    IndicatorType(
        "ROC",
        "change of the close over the period, in percent",
        _CLOSE,
        _REAL,
        (_period(10, minimum=1),),
        "ratio",
    ),
    IndicatorType(
        "MOM",
        "change of the close over the period, in price units; ROC is the same free of the price level",
        _CLOSE,
        _REAL,
        (_period(10, minimum=1),),
        "price_difference",
    ),
)

_VOLATILITY = (
    IndicatorType(
        "ATR",
        "average true range: the usual size of a bar, in price units",
        _HLC,
        _REAL,
        (_period(14, maximum=100),),
        "price_difference",
        smoothings=(_WILDER,),
    ),
    IndicatorType(
        "NATR",
        "average true range in percent of the close: volatility that can be compared over years",
        _HLC,
        _REAL,
        (_period(14, maximum=100),),
        "ratio",
        smoothings=(_WILDER,),
    ),
    IndicatorType(
        "STDDEV",
        "standard deviation of the close over the period, in price units",
        _CLOSE,
        _REAL,
        (_period(20),),
        "price_difference",
        constants=(("nbdev", 1.0),),
    ),
    IndicatorType(
        "BBANDS",
        "Bollinger bands: moving average of the close and bands nbdevup/nbdevdn standard deviations away",
        _CLOSE,
        _BAND,
        (_period(20), _real("nbdevup", 0.5, 5, 2, 0.25), _real("nbdevdn", 0.5, 5, 2, 0.25)),
        "price",
        constants=(("matype", 0),),
    ),
    IndicatorType(
        "DONCHIAN",
        "highest high, lowest low and their middle over the period, this bar included",
        _HL,
        _BAND,
        (_period(20),),
        "price",
    ),
    IndicatorType(
        "KC",
        "Keltner channel: exponential average of the typical price and bands nbdev average true ranges away",
        _HLC,
        _BAND,
        (_period(20, maximum=100), _whole("atrperiod", 2, 50, 10), _real("nbdev", 0.5, 5, 2, 0.25)),
        "price",
        smoothings=(_EXPONENTIAL, Smoothing("atrperiod", "wilder")),
    ),
)

_LEVELS = (
    IndicatorType("SMA", "simple moving average of the close", _CLOSE, _REAL, (_period(50),), "price"),
    IndicatorType(
        "EMA",
        "exponential moving average of the close; quicker than SMA, long warm-up",
        _CLOSE,
        _REAL,
        (_period(50),),
        "price",
        smoothings=(_EXPONENTIAL,),
    ),
    IndicatorType("WMA", "linearly weighted moving average of the close", _CLOSE, _REAL, (_period(50),), "price"),
    IndicatorType("MIN", "lowest close over the period, this bar included", _CLOSE, _REAL, (_period(20),), "price"),
    IndicatorType("MAX", "highest close over the period, this bar included", _CLOSE, _REAL, (_period(20),), "price"),
)

_VOLUME = (
    IndicatorType(
        "MFI",
        "money flow index: RSI weighted by volume, 0..100",
        _HLCV,
        _REAL,
        (_period(14),),
        "oscillator",
    ),
    IndicatorType(
        "CMF",
        "Chaikin money flow: share of volume traded near the high less near the low, -1..1",
        _HLCV,
        _REAL,
        (_period(20),),
        "oscillator",
    ),
    IndicatorType(
        "RVOL",
        "volume against its average over the period; above 1 is busier than usual",
        ("volume",),
        _REAL,
        (_period(20),),
        "ratio",
    ),
)

_CLOCK = (
    IndicatorType(
        "HOUR",
        "hour of New York at which the bar is complete, 0 to below 24, 9.5 at half past nine; FX days end at 17",
        ("hour",),
        _REAL,
        (),
        "oscillator",
    ),
    IndicatorType(
        "WEEKDAY",
        "weekday of the bar's session, 0 Monday .. 6 Sunday; an FX Monday begins on Sunday evening",
        ("weekday",),
        _REAL,
        (),
        "oscillator",
    ),
    IndicatorType("MONTHDAY", "day of the month of the bar's session, 1..31", ("monthday",), _REAL, (), "oscillator"),
)

CATALOGUE: Mapping[str, IndicatorType] = MappingProxyType(
    {
        each.name: each
        for group in (_OSCILLATORS, _TREND, _MOMENTUM, _VOLATILITY, _LEVELS, _VOLUME, _CLOCK)
        for each in group
    }
)

_RUNNING_TOTAL = "its level is a running total that depends on where the file starts; use CMF or MFI"
_ENDLESS_MEMORY = "two histories of different length may never agree on it; use DONCHIAN or ADX"

NOT_OFFERED: Mapping[str, str] = MappingProxyType(
    {
        "OBV": _RUNNING_TOTAL,
        "AD": _RUNNING_TOTAL,
        "VWAP": _RUNNING_TOTAL,
        "ADOSC": "it is measured in shares, so its scale drifts with trading activity; use CMF",
        "SAR": _ENDLESS_MEMORY,
        "SUPERTREND": _ENDLESS_MEMORY,
        "KAMA": "its slowest smoothing forgets 0.4 % a bar, so no affordable warm-up suffices; use ER or EMA",
    }
)
