"""What ktrdr knows about one kind of indicator."""

from dataclasses import dataclass
from typing import Literal

CLOCK_INPUTS = ("hour", "weekday", "monthday")
Unit = Literal["price", "price_difference", "oscillator", "ratio"]


@dataclass(frozen=True, slots=True)
class ParameterRange:
    """What one parameter may be. `step` is the grid for searches and the offline designer, no limit."""

    name: str
    minimum: float
    maximum: float
    step: float
    default: float
    is_integer: bool


@dataclass(frozen=True, slots=True)
class Smoothing:
    """One recursive average inside an indicator: it never quite forgets the start of the series.

    `wilder` keeps 1 - 1/n of its past at every bar, `exponential` 1 - 2/(n + 1); n is `parameter`'s value.
    """

    parameter: str
    kind: Literal["wilder", "exponential"]


@dataclass(frozen=True, slots=True)
class IndicatorType:
    """One TA-Lib function as ktrdr offers it, or one column of the clock.

    `unit` says how the outputs move: `price` with the price level, so a fuzzy set on it needs `relative_to`;
    `price_difference` in units of price, so its scale drifts over years; `oscillator` within fixed or
    self-scaling bounds; `ratio` free of any scale. `ascending` holds pairs of parameters of which the first
    must be smaller, `smoothings` the chain of recursive averages, `constants` TA-Lib's further arguments.
    """

    name: str
    meaning: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: tuple[ParameterRange, ...]
    unit: Unit
    ascending: tuple[tuple[str, str], ...] = ()
    smoothings: tuple[Smoothing, ...] = ()
    constants: tuple[tuple[str, float], ...] = ()

    @property
    def is_of_clock(self) -> bool:
        """Whether it is a column of the bars themselves, which says when they are, and no function of TA-Lib."""
        return self.inputs[0] in CLOCK_INPUTS
