"""From pydantic's findings to one message per fault: path, what was found, what is allowed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ktrdr.strategy.sections import (
    IDENTIFIER_PATTERN,
    NAME_PATTERN,
    REFERENCE_PATTERN,
    SYMBOL_PATTERN,
    AnfisSpecification,
    DecisionSpecification,
    FirstMoveLabels,
    FixedSizing,
    ForwardReturnLabels,
    FuzzySetSpecification,
    MarketSpecification,
    MlpSpecification,
    RiskSpecification,
    ShapeSpecification,
    TrainingSpecification,
    TripleBarrierLabels,
    VolatilityTargetSizing,
)
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.strategy.wording import did_you_mean, shown

_Location = tuple[int | str, ...]

_LABEL_TYPES: Mapping[str, type[BaseModel]] = {
    "triple_barrier": TripleBarrierLabels,
    "forward_return": ForwardReturnLabels,
    "first_move": FirstMoveLabels,
}
_MODEL_TYPES: Mapping[str, type[BaseModel]] = {"mlp": MlpSpecification, "anfis": AnfisSpecification}
_SIZING_TYPES: Mapping[str, type[BaseModel]] = {"fixed": FixedSizing, "volatility_target": VolatilityTargetSizing}
_UNIONS: Mapping[_Location, Mapping[str, type[BaseModel]]] = {
    ("labels",): _LABEL_TYPES,
    ("model",): _MODEL_TYPES,
    ("risk", "sizing"): _SIZING_TYPES,
}
_SECTIONS: Mapping[tuple[str, ...], type[BaseModel]] = {
    (): StrategySpecification,
    ("market",): MarketSpecification,
    ("fuzzy_sets", "*"): FuzzySetSpecification,
    ("fuzzy_sets", "*", "sets", "*"): ShapeSpecification,
    ("labels", "triple_barrier"): TripleBarrierLabels,
    ("labels", "forward_return"): ForwardReturnLabels,
    ("labels", "first_move"): FirstMoveLabels,
    ("model", "mlp"): MlpSpecification,
    ("model", "anfis"): AnfisSpecification,
    ("training",): TrainingSpecification,
    ("decision",): DecisionSpecification,
    ("risk",): RiskSpecification,
    ("risk", "sizing", "fixed"): FixedSizing,
    ("risk", "sizing", "volatility_target"): VolatilityTargetSizing,
}
_PATTERNS = {
    NAME_PATTERN: "3 to 64 of a-z, 0-9 and _, beginning with a letter",
    IDENTIFIER_PATTERN: "1 to 32 of a-z, 0-9 and _, beginning with a letter",
    REFERENCE_PATTERN: "an indicator's id, or id.output",
    SYMBOL_PATTERN: "1 to 32 of A-Z, 0-9, '.', '_' and '-', beginning with a letter",
}

_MAXIMUM_FAULTS = 200
_FAULT_CHARACTERS = 1_000


def field_faults(error: ValidationError) -> list[str]:
    """Return one message for each of pydantic's findings, in the order of the file's fields."""
    return [f"{_path(_place(found))}: {_message(found)}" for found in error.errors(include_url=False)]


def _place(found: ErrorDetails) -> _Location:
    """Return where the author must look: a union's wrong tag stands in the field `type`."""
    is_tag = found["type"] in ("union_tag_invalid", "union_tag_not_found")
    return (*found["loc"], "type") if is_tag else found["loc"]


def _path(location: _Location) -> str:
    """Return `labels.horizon` for ("labels", "triple_barrier", "horizon"): the union's tag is no part of the file."""
    for union, types in _UNIONS.items():
        n = len(union)
        if location[:n] == union and len(location) > n and location[n] in types:
            location = (*union, *location[n + 1 :])
    path = ""
    for part in location:
        if part == "[key]":
            continue
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path or "document"


def _message(found: ErrorDetails) -> str:
    worded = _WORDED.get(found["type"])
    return worded(found) if worded is not None else found["msg"]


def _limit(template: str, key: str) -> Callable[[ErrorDetails], str]:
    def word(found: ErrorDetails) -> str:
        return template.format(found=shown(found["input"]), limit=found["ctx"][key])

    return word


def _unknown_field(found: ErrorDetails) -> str:
    location = found["loc"]
    fields = _fields_at(location[:-1])
    return f"unknown field;{did_you_mean(location[-1], fields)} allowed are {', '.join(fields)}"


def _fields_at(location: _Location) -> list[str]:
    for pattern, section in _SECTIONS.items():
        if len(pattern) == len(location) and all(
            expected in ("*", part) for expected, part in zip(pattern, location, strict=True)
        ):
            return [field.alias or name for name, field in section.model_fields.items()]
    return []


def _wrong_choice(found: ErrorDetails) -> str:
    value = found["input"]
    expected = found["ctx"]["expected"]
    guess = did_you_mean(value, [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ")])
    return f"{shown(value)} is not allowed;{guess} allowed is {expected}"


def _missing(found: ErrorDetails) -> str:
    return "missing; it is required"


def _wrong_tag(found: ErrorDetails) -> str:
    types = _UNIONS[found["loc"]]
    allowed = " or ".join(types)
    raw = found["input"]
    value = raw.get("type") if isinstance(raw, Mapping) else None
    if value is None:
        return f"missing; allowed is {allowed}"
    return f"{shown(value)} is not allowed;{did_you_mean(value, types)} allowed is {allowed}"


def _not_a_number(kind: str) -> Callable[[ErrorDetails], str]:
    def word(found: ErrorDetails) -> str:
        value = found["input"]
        if isinstance(value, str) and _reads_as_number(value):
            # YAML 1.1 takes 1e-3 for text, which nobody expects.
            return f"{shown(value)} is text, not {kind}; write it without quotes, as {float(value)!r}"
        return f"{shown(value)} is not {kind}"

    return word


def _reads_as_number(text: str) -> bool:
    try:
        float(text[:50])
    except ValueError:
        return False
    return len(text) <= 50


def _pattern(found: ErrorDetails) -> str:
    pattern = found["ctx"]["pattern"]
    return f"{shown(found['input'])} is no valid name; allowed is {_PATTERNS.get(pattern, pattern)}"


def _too_long(found: ErrorDetails) -> str:
    return f"{found['ctx']['actual_length']} entries, at most {found['ctx']['max_length']} are allowed"


def _too_short(found: ErrorDetails) -> str:
    return f"{found['ctx']['actual_length']} entries, at least {found['ctx']['min_length']} needed"


def _wrong_kind(expected: str) -> Callable[[ErrorDetails], str]:
    def word(found: ErrorDetails) -> str:
        return f"found {shown(found['input'])}; expected {expected}"

    return word


_MAPPING = _wrong_kind("a mapping of names to values")
_LIST = _wrong_kind("a list")
_WORDED: Mapping[str, Callable[[Any], str]] = {
    "missing": _missing,
    "extra_forbidden": _unknown_field,
    "greater_than_equal": _limit("{found} is below the minimum {limit:g}", "ge"),
    "greater_than": _limit("{found} is not above {limit:g}", "gt"),
    "less_than_equal": _limit("{found} is above the maximum {limit:g}", "le"),
    "less_than": _limit("{found} is not below {limit:g}", "lt"),
    "bool_type": _wrong_kind("true or false"),
    "int_type": _not_a_number("a whole number"),
    "int_from_float": _not_a_number("a whole number"),
    "float_type": _not_a_number("a number"),
    "finite_number": _not_a_number("a finite number"),
    "literal_error": _wrong_choice,
    "enum": _wrong_choice,
    "union_tag_invalid": _wrong_tag,
    "union_tag_not_found": _wrong_tag,
    "string_type": _wrong_kind("text"),
    "string_pattern_mismatch": _pattern,
    "string_too_short": _limit("{found} is shorter than {limit} characters", "min_length"),
    "string_too_long": _limit("{found} is longer than {limit} characters", "max_length"),
    "too_long": _too_long,
    "too_short": _too_short,
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "none_required": _wrong_kind("nothing"),
}


def tidy(faults: Sequence[str]) -> list[str]:
    """Return the faults in their order, each once, each one printable line of bearable length."""
    tidied = list(dict.fromkeys(_printable(fault[:_FAULT_CHARACTERS]) for fault in faults))
    if len(tidied) > _MAXIMUM_FAULTS:
        tidied[_MAXIMUM_FAULTS:] = [f"document: and {len(tidied) - _MAXIMUM_FAULTS} more faults"]
    return tidied


def _printable(text: str) -> str:
    """Escape line breaks, control characters and lone surrogates: names in a path may hold them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
