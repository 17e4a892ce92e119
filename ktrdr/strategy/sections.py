"""The parts of a strategy file, each a frozen model whose every field is used.

Scalars are strict: `true` is no number and `"60"` is no integer, because a YAML author who wrote one meant
something else. Bounds keep a file from exhausting the machine that trains it.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Tag,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

from ktrdr.indicators.catalogue import CATALOGUE, IndicatorType, complete_parameters, parameter_faults
from ktrdr.market import series as market_series
from ktrdr.market.timeframe import Timeframe
from ktrdr.strategy.wording import did_you_mean, is_number, shown

MAXIMUM_INDICATORS = 12
MAXIMUM_FUZZY_SETS = 16
MAXIMUM_SETS_PER_INPUT = 9
MAXIMUM_SYMBOLS = 20

# Read by pydantic's engine, where $ is the very end; with Python's `re` use fullmatch.
NAME_PATTERN = r"^[a-z][a-z0-9_]{2,63}$"
IDENTIFIER_PATTERN = r"^[a-z][a-z0-9_]{0,31}$"
REFERENCE_PATTERN = r"^[a-z][a-z0-9_]{0,31}(\.[a-z][a-z0-9_]{0,31})?$"
SYMBOL_PATTERN = f"^{market_series.SYMBOL_PATTERN.pattern}$"

PRICE_COLUMNS = ("open", "high", "low", "close")
HIGHER_TIMEFRAMES = tuple(each.value for each in min(Timeframe, key=lambda each: each.milliseconds).longer)

Identifier = Annotated[str, Field(pattern=IDENTIFIER_PATTERN)]
Reference = Annotated[str, Field(pattern=REFERENCE_PATTERN)]
Symbol = Annotated[str, Field(pattern=SYMBOL_PATTERN)]


def whole(minimum: int, maximum: int) -> Any:  # noqa: ANN401 - pydantic's field marker has no public type
    """Return the field constraint "a whole number from `minimum` to `maximum`"."""
    return Field(strict=True, ge=minimum, le=maximum)


def number(minimum: float, maximum: float) -> Any:  # noqa: ANN401 - as above
    """Return the field constraint "a finite number from `minimum` to `maximum`"."""
    return Field(strict=True, ge=minimum, le=maximum, allow_inf_nan=False)


AtrMultiple = Annotated[float, number(0.1, 50.0)]
Bars = Annotated[int, whole(1, 10_000)]


class Section(BaseModel):
    """A frozen part of a strategy; an unknown field is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MarketSpecification(Section):
    """What is traded: up to 20 symbols on one timeframe, each with an equal share. Their order means nothing."""

    symbols: Annotated[tuple[Symbol, ...], Field(max_length=MAXIMUM_SYMBOLS)]
    timeframe: Timeframe

    @field_validator("symbols")
    @classmethod
    def _each_once(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        if not symbols:
            raise PydanticCustomError("fault", "empty; name at least one symbol")
        by_key: dict[str, str] = {}
        for place, symbol in enumerate(symbols):
            first = by_key.setdefault(market_series.symbol_key(symbol), symbol)
            if symbol in symbols[:place]:
                raise PydanticCustomError("fault", "found {symbol} twice; name each once", {"symbol": repr(symbol)})
            if first != symbol:
                found = {"symbol": repr(symbol), "first": repr(first)}
                raise PydanticCustomError("fault", "{symbol} is another spelling of {first}; name each once", found)
        return tuple(sorted(symbols))


class IndicatorSpecification(Section):
    """One TA-Lib function with every parameter written out; in a file `{type: RSI, timeperiod: 14, timeframe: 4h}`.

    `timeframe` is a higher one than the market's, whose bars are made from the market's own; None is the market's.
    """

    type: str
    parameters: dict[str, float]
    timeframe: Timeframe | None = None

    @model_validator(mode="before")
    @classmethod
    def _gather_parameters(cls, raw: object) -> object:
        if not isinstance(raw, Mapping):
            return raw
        faults: list[tuple[str, str, object]] = []
        timeframe = raw.get("timeframe")
        if timeframe is not None and timeframe not in HIGHER_TIMEFRAMES:
            allowed = ", ".join(HIGHER_TIMEFRAMES)
            faults.append(("timeframe", f"{shown(timeframe)} is not allowed; allowed is {allowed}", timeframe))
        type_name = raw.get("type")
        known = CATALOGUE.get(type_name) if isinstance(type_name, str) else None
        if known is None:
            faults.append(("type", _type_fault(raw), type_name))
            raise _indicator_error(faults)
        given = {name: value for name, value in raw.items() if name not in ("type", "timeframe")}
        faults += _parameter_faults(known, given)
        if faults:
            raise _indicator_error(faults)
        return {"type": type_name, "parameters": complete_parameters(known.name, given), "timeframe": timeframe}

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        document: dict[str, Any] = {"type": self.type}
        if self.timeframe is not None:
            document["timeframe"] = self.timeframe.value
        for parameter in CATALOGUE[self.type].parameters:
            value = self.parameters[parameter.name]
            document[parameter.name] = int(value) if parameter.is_integer else value
        return document

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe the file's flat form: one alternative per indicator type."""
        return {"oneOf": [_type_schema(kind) for kind in CATALOGUE.values()]}


def _type_fault(raw: Mapping[Any, Any]) -> str:
    allowed = f"one of {', '.join(CATALOGUE)}"
    if "type" not in raw:
        return f"missing; it must be {allowed}"
    found = raw["type"]
    guess = did_you_mean(found, CATALOGUE)
    return f"{shown(found)} is no indicator offered here;{guess} it must be {allowed}"


def _parameter_faults(kind: IndicatorType, given: Mapping[str, object]) -> list[tuple[str, str, object]]:
    ranges = {parameter.name: parameter for parameter in kind.parameters}
    faults: list[tuple[str, str, object]] = []
    numbers: dict[str, float] = {}
    for name, value in given.items():
        if name not in ranges:
            allowed = f"it takes {', '.join(ranges)}" if ranges else "it takes none"
            guess = did_you_mean(name, ranges)
            faults.append((name, f"unknown parameter of {kind.name};{guess} {allowed}", value))
        elif not is_number(value):
            allowed = f"{ranges[name].minimum:g} to {ranges[name].maximum:g}"
            faults.append((name, f"{shown(value)} is not a number from {allowed}", value))
        else:
            numbers[name] = value
    for fault in parameter_faults(kind.name, numbers):
        name, _, text = fault.partition(": ")
        faults.append((name, text, given.get(name)))
    return faults


def _indicator_error(faults: list[tuple[str, str, object]]) -> ValidationError:
    """Return pydantic's own error: raised inside a validator, each line keeps its place in the whole document."""
    lines = [
        InitErrorDetails(type=PydanticCustomError("fault", "{text}", {"text": text}), loc=(field,), input=found)
        for field, text, found in faults
    ]
    return ValidationError.from_exception_data("indicator", lines)


def _type_schema(kind: IndicatorType) -> JsonSchemaValue:
    properties: dict[str, JsonSchemaValue] = {"type": {"const": kind.name}}
    for parameter in kind.parameters:
        properties[parameter.name] = {
            "type": "integer" if parameter.is_integer else "number",
            "minimum": parameter.minimum,
            "maximum": parameter.maximum,
            "default": parameter.default,
        }
    properties["timeframe"] = {"enum": [*HIGHER_TIMEFRAMES, None]}
    return {
        "type": "object",
        "title": kind.name,
        "description": kind.meaning,
        "properties": properties,
        "required": ["type"],
        "additionalProperties": False,
    }


Coordinate = Annotated[float, number(-1e9, 1e9)]
_POINTS = {"triangle": 3, "trapezoid": 4, "gaussian": 2}


class ShapeSpecification(Section):
    """A membership function: triangle [a, b, c], trapezoid [a, b, c, d], gaussian [centre, width]."""

    shape: Literal["triangle", "trapezoid", "gaussian"]
    points: tuple[Coordinate, ...]

    @field_validator("points")
    @classmethod
    def _fit_the_shape(cls, points: tuple[float, ...], info: Any) -> tuple[float, ...]:  # noqa: ANN401
        shape = info.data.get("shape")
        if shape is None:  # the shape itself is the fault
            return points
        if len(points) != _POINTS[shape]:
            found = f"found {len(points)} points; a {shape} has exactly {_POINTS[shape]}"
            raise PydanticCustomError("fault", "{text}", {"text": found})
        if shape == "gaussian":
            if points[1] <= 0:
                raise PydanticCustomError(
                    "fault", "the second point is the width, {w} is not above 0", {"w": points[1]}
                )
        elif list(points) != sorted(points):
            raise PydanticCustomError(
                "fault", "{p} is not sorted; points go from low to high", {"p": shown(list(points))}
            )
        elif points[0] == points[-1]:
            raise PydanticCustomError(
                "fault", "all points are {p}; the set would hold a single value", {"p": points[0]}
            )
        return points


def _all_different(names: tuple[str, ...]) -> tuple[str, ...]:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise PydanticCustomError("fault", "repeats {r}; set names must differ", {"r": ", ".join(repeated)})
    return names


class FuzzySetSpecification(Section):
    """The fuzzy sets over one input: explicit `sets`, or a `partition` whose peaks are training quantiles."""

    input: Reference
    relative_to: Reference | None = None
    sets: Annotated[
        dict[Identifier, ShapeSpecification] | None, Field(min_length=1, max_length=MAXIMUM_SETS_PER_INPUT)
    ] = None
    partition: Annotated[
        tuple[Identifier, ...] | None,
        Field(min_length=2, max_length=MAXIMUM_SETS_PER_INPUT),
        AfterValidator(lambda names: names if names is None else _all_different(names)),
    ] = None


class TripleBarrierLabels(Section):
    """Which barrier, in ATR from the entry price, the price meets first within `horizon` bars."""

    type: Literal["triple_barrier"]
    horizon: Annotated[int, whole(1, 500)]
    take_profit: AtrMultiple
    stop_loss: AtrMultiple


class ForwardReturnLabels(Section):
    """The sign of the return over the next `horizon` bars."""

    type: Literal["forward_return"]
    horizon: Annotated[int, whole(1, 500)]


class FirstMoveLabels(Section):
    """The way in which a close first lies `threshold` ATR from the entry price, whenever that is."""

    type: Literal["first_move"]
    threshold: AtrMultiple


class MlpSpecification(Section):
    """A small feed-forward network: widths of its hidden layers, dropout between them."""

    type: Literal["mlp"] = "mlp"
    hidden: Annotated[tuple[Annotated[int, whole(1, 256)], ...], Field(min_length=1, max_length=4)] = (32, 16)
    dropout: Annotated[float, number(0.0, 0.8)] = 0.1


class AnfisSpecification(Section):
    """Fuzzy rules over the sets of this file, each with a linear consequent; the sets may learn."""

    type: Literal["anfis"]
    rules: Annotated[int, whole(2, 64)] = 16
    learn_memberships: Annotated[bool, Field(strict=True)] = True


class TrainingSpecification(Section):
    """How the network is fitted; `patience` is epochs without a better validation loss."""

    epochs: Annotated[int, whole(1, 500)] = 60
    batch_size: Annotated[int, whole(8, 8192)] = 256
    learning_rate: Annotated[float, number(1e-6, 0.5)] = 0.003
    patience: Annotated[int, whole(1, 500)] = 8
    seeds: Annotated[int, whole(1, 10)] = 3


class DecisionSpecification(Section):
    """When a probability becomes a position: long if p >= enter, closed if p < exit, short mirrored."""

    enter: Annotated[float, Field(strict=True, ge=0.5, lt=1.0, allow_inf_nan=False)] = 0.55
    exit: Annotated[float, Field(strict=True, ge=0.0, lt=1.0, allow_inf_nan=False)] = 0.50
    direction: Literal["both", "long", "short"] = "both"
    min_bars_between_trades: Annotated[int, whole(0, 10_000)] = 0


class FixedSizing(Section):
    """The same fraction of equity on every trade."""

    type: Literal["fixed"] = "fixed"
    exposure: Annotated[float, Field(strict=True, gt=0.0, le=1.0, allow_inf_nan=False)] = 1.0


class VolatilityTargetSizing(Section):
    """At entry the exposure at which the position's volatility would be the wanted one; at most `max_exposure`."""

    type: Literal["volatility_target"]
    annual_volatility: Annotated[float, number(0.01, 2.0)] = 0.10
    lookback: Annotated[int, whole(5, 1000)] = 60
    max_exposure: Annotated[float, Field(strict=True, gt=0.0, le=1.0, allow_inf_nan=False)] = 1.0


def type_or(default: str) -> Callable[[object], object]:
    """Return what reads the tag of a union's member whose `type` may be left out."""

    def read(raw: object) -> object:
        return raw.get("type", default) if isinstance(raw, Mapping) else getattr(raw, "type", default)

    return read


Model = Annotated[
    Annotated[MlpSpecification, Tag("mlp")] | Annotated[AnfisSpecification, Tag("anfis")],
    Discriminator(type_or("mlp")),
]
Sizing = Annotated[
    Annotated[FixedSizing, Tag("fixed")] | Annotated[VolatilityTargetSizing, Tag("volatility_target")],
    Discriminator(type_or("fixed")),
]


class RiskSpecification(Section):
    """Size, protective stop and target (both in ATR of the decision bar), longest holding."""

    sizing: Sizing = FixedSizing()
    stop_loss: AtrMultiple | None = None
    take_profit: AtrMultiple | None = None
    max_holding_bars: Bars | None = None
