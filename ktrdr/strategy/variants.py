"""A strategy in many variants: every combination of some values of its `decision` and `risk`.

What a network learned stays as it is, so that one training serves them all; whatever else is changed needs another one.
"""

import copy
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from pydantic import BaseModel, ValidationError

from ktrdr.errors import InvalidInput, StrategyInvalid
from ktrdr.strategy.consistency import consistency_faults
from ktrdr.strategy.sections import DecisionSpecification, FixedSizing, RiskSpecification, VolatilityTargetSizing
from ktrdr.strategy.specification import StrategySpecification, configuration_digest
from ktrdr.strategy.validation import validate_strategy
from ktrdr.strategy.wording import did_you_mean, shown

Value = float | int | str | None
Axes = dict[str, list[Value]]
"""Values of each path, as {"decision.enter": [0.5, 0.6], "risk.stop_loss": [null, 2]}."""

_NOTHING = "none"
_SHOWN_VARIANTS = 3
_PATHS = (
    *(f"decision.{name}" for name in DecisionSpecification.model_fields),
    *(f"risk.{name}" for name in RiskSpecification.model_fields if name != "sizing"),
    *dict.fromkeys(
        f"risk.sizing.{name}"
        for sizing in (FixedSizing, VolatilityTargetSizing)
        for name in sizing.model_fields
        if name != "type"
    ),
)


@dataclass(frozen=True, slots=True)
class Variant:
    """One point of a grid. `number` is 1 for the first; 0 is the strategy as it is stored, which is no point of it."""

    number: int
    values: tuple[Value, ...]
    specification: StrategySpecification
    configuration_sha256: str


@dataclass(frozen=True, slots=True)
class StrategyGrid:
    """A strategy's variants in the order of its axes, the last one fastest; a point equal to `stored` is left out."""

    paths: tuple[str, ...]
    stored: Variant
    variants: tuple[Variant, ...]


def split_sweep(options: Sequence[str]) -> dict[str, str]:
    """Return the VALUES of each path of some PATH=VALUES.

    Raises:
        InvalidInput: `sweep_invalid`: one has another form, or a path comes twice.
    """
    found: dict[str, str] = {}
    for option in options:
        path, separator, values = option.partition("=")
        if not separator:
            raise _invalid(f"{shown(option)} is no PATH=VALUES, such as decision.enter=0.5:0.7:0.02")
        if path in found:
            raise _invalid(f"{path} is given twice; give all its values at once, separated by commas")
        found[path] = values
    return found


def parse_axes(raw: Mapping[str, str | Sequence[Value]], *, most: int) -> Axes:
    """Return the values of each path; a text is a list separated by commas, of values and `from:to:step` (both ends).

    Numbers are read as decimals: 0.5:0.7:0.02 has the eleven values that a person would write. `none` is no limit.

    Raises:
        InvalidInput: `sweep_invalid` (a path that cannot be swept, values that make no sense), `sweep_too_large` (more
            than `most` combinations).
    """
    if not raw:
        raise _invalid("nothing to sweep; name at least one path, such as decision.enter=0.5:0.7:0.02")
    for path in raw:
        _require_path(path)
    axes = {
        path: _read_values(path, given, most) if isinstance(given, str) else list(given) for path, given in raw.items()
    }
    for path, values in axes.items():
        if not values:
            raise _invalid(f"{path}: no values; give a range from:to:step, or values separated by commas")
        repeated = [value for value, times in Counter(values).items() if times > 1]
        if repeated:
            raise _invalid(f"{path}: {_word(repeated[0])} is given twice")
    n_variants = math.prod(map(len, axes.values()))
    if n_variants > most:
        sizes = " x ".join(f"{len(values):,} of {path}" for path, values in axes.items())
        raise _too_large(f"{sizes} are {n_variants:,} variants", most)
    return axes


def expand_grid(specification: StrategySpecification, axes: Axes) -> StrategyGrid:
    """Return every variant, each checked as a strategy file is.

    Raises:
        InvalidInput: `sweep_invalid`: some are no valid strategies, or none differs from the stored one.
    """
    checked = _Variations(specification)
    stored = checked.vary(0, {path: checked.stored_value(path) for path in axes})
    variants, refused = [], []
    for number, values in enumerate(itertools.product(*axes.values()), 1):
        changes = dict(zip(axes, values, strict=True))
        try:
            variants.append(checked.vary(number, changes))
        except StrategyInvalid as error:
            words = ", ".join(f"{path}={_word(value)}" for path, value in changes.items())
            refused.append(f"variant {number} ({words}): {'; '.join(error.faults)}")
    n_variants = len(variants) + len(refused)
    if refused:
        more = len(refused) - _SHOWN_VARIANTS
        lines = refused[:_SHOWN_VARIANTS] + ([f"and {more:,} more"] if more > 0 else [])
        raise _invalid(
            f"{len(refused):,} of {n_variants:,} variants are no valid strategies; leave them out, nothing was run:\n  "
            + "\n  ".join(lines)
        )
    different = tuple(each for each in variants if each.configuration_sha256 != stored.configuration_sha256)
    if not different:
        raise _invalid(f"{specification.name} already is the only variant; give other values")
    return StrategyGrid(tuple(axes), stored, different)


class _Variations:
    """Builds variants of one strategy. A grid has few different sections: each is read once."""

    def __init__(self, specification: StrategySpecification) -> None:
        self._specification = specification
        self._document = specification.document()
        self._sections: dict[tuple[str, str], tuple[BaseModel, dict[str, Any]]] = {}

    def stored_value(self, path: str) -> Value:
        """Return what the file has at a path, None for nothing."""
        place: Any = self._document
        for name in path.split("."):
            place = place.get(name) if isinstance(place, dict) else None
        return place if isinstance(place, float | int | str) else None

    def vary(self, number: int, changes: Mapping[str, Value]) -> Variant:
        """Return the variant with these values; raises StrategyInvalid."""
        raw = {name: copy.deepcopy(self._document[name]) for name in ("decision", "risk")}
        for path, value in changes.items():
            *above, field = path.split(".")
            place: dict[str, Any] = raw
            for name in above:
                place = place[name]
            if value is not None:
                place[field] = value
            else:
                place.pop(field, None)
        try:
            decision, decision_document = self._section("decision", DecisionSpecification, raw["decision"])
            risk, risk_document = self._section("risk", RiskSpecification, raw["risk"])
        except ValidationError:
            validate_strategy({**self._document, **raw})  # says what is wrong, in the words of a strategy file
            raise
        document = {**self._document, "decision": decision_document, "risk": risk_document}
        faults = consistency_faults(document)
        if faults:
            raise StrategyInvalid(faults)
        return Variant(
            number=number,
            values=tuple(changes.values()),
            specification=self._specification.model_copy(update={"decision": decision, "risk": risk}),
            configuration_sha256=configuration_digest(document),
        )

    def _section(self, name: str, kind: type[BaseModel], raw: dict[str, Any]) -> tuple[BaseModel, dict[str, Any]]:
        key = (name, repr(raw))
        if key not in self._sections:
            section = kind.model_validate(raw)
            self._sections[key] = section, section.model_dump(mode="json", by_alias=True, exclude_none=True)
        return self._sections[key]


def _require_path(path: str) -> None:
    if path in _PATHS:
        return
    section = path.partition(".")[0]
    if section in StrategySpecification.model_fields and section not in ("decision", "risk"):
        raise _invalid(
            f"{path}: what is below {section!r} decides what the network learns, so another value needs another "
            "training: give the changed file a name of its own and train it. Only decision and risk can be swept"
        )
    raise _invalid(f"{shown(path)} cannot be swept;{did_you_mean(path, _PATHS)} there are: {', '.join(_PATHS)}")


def _read_values(path: str, text: str, most: int) -> list[Value]:
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise _invalid(f"{path}: {shown(text)} has an empty value; give a range from:to:step, or values like 0.5,0.6")
    values: list[Value] = []
    for word in words:
        values += _read_range(path, word, most) if ":" in word else [_read_value(word)]
    return values


def _read_value(word: str) -> Value:
    if word == _NOTHING:
        return None
    number = _read_number(word)
    return word if number is None else _plain(number)


def _read_range(path: str, text: str, most: int) -> Iterator[Value]:
    parts = [_read_number(part.strip()) for part in text.split(":")]
    if len(parts) != 3 or None in parts:
        raise _invalid(f"{path}: {shown(text)} is no range from:to:step of three numbers, such as 0.5:0.7:0.02")
    first, last, step = (part for part in parts if part is not None)
    if step <= 0:
        raise _invalid(f"{path}: the step of {text} is {step}; it must be above 0")
    if first > last:
        raise _invalid(f"{path}: {text} runs backwards; write {last}:{first}:{step}")
    n_steps = int((last - first) / step)
    if n_steps >= most:
        raise _too_large(f"{path}={text} are {n_steps + 1:,} values", most)
    end = first + n_steps * step
    if end != last:
        raise _invalid(f"{path}: steps of {step} from {first} miss {last}; write {first}:{end}:{step}, or another step")
    return (_plain(first + number * step) for number in range(n_steps + 1))


def _read_number(word: str) -> Decimal | None:
    try:
        number = Decimal(word)
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) < 30 else None


def _plain(number: Decimal) -> int | float:
    return int(number) if number == number.to_integral_value() else float(number)


def _word(value: Value) -> str:
    return _NOTHING if value is None else str(value)


def _too_large(what: str, most: int) -> InvalidInput:
    return InvalidInput(
        f"{what}, and a sweep has at most {most:,} (KTRDR_SWEEP_MAX_VARIANTS): take larger steps or fewer paths. Every "
        "variant is a trial, and more trials only raise what the best of them must show",
        reason="sweep_too_large",
    )


def _invalid(message: str) -> InvalidInput:
    return InvalidInput(message, reason="sweep_invalid")
