"""The tools as a language model is shown them: byte-stable from call to call, and as short as they can be."""

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any

from ktrdr.agents.task import Role
from ktrdr.agents.tools import (
    GET_RECENT_STRATEGIES,
    LIST_INDICATORS,
    LIST_MARKETS,
    SAVE_ASSESSMENT,
    SAVE_STRATEGY_CONFIG,
    TOOLS,
    VALIDATE_STRATEGY,
)
from ktrdr.strategy.validation import strategy_json_schema

_DESCRIPTIONS = {
    LIST_INDICATORS: "All indicators with their meanings. The instructions list them in short.",
    LIST_MARKETS: "Stored markets in full. The first message has them in short.",
    GET_RECENT_STRATEGIES: "What was tried, with hypotheses, newest first. The first message has it in short.",
    VALIDATE_STRATEGY: "Check a strategy without storing it. Saving checks too.",
    SAVE_STRATEGY_CONFIG: "Store the strategy and end the design, or answer with every fault at once. Near-copies of "
    "what was tried are refused.",
    SAVE_ASSESSMENT: "Store your assessment and end. Figures, gates and verdict are copied by the system.",
}
# What the instructions say already, or the validator says better than a schema.
_NOISE = frozenset(
    {"title", "description", "default", "discriminator", "pattern", "format"}
    | {f"{bound}{what}" for bound in ("min", "max") for what in ("Length", "Items", "Properties")}
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
)


@cache
def _strategy_schema() -> dict[str, Any]:
    """Return the strategy's JSON Schema without what the instructions say already: indicators, defaults, titles."""
    schema = strategy_json_schema()
    schema["$defs"]["IndicatorSpecification"] = {
        "type": "object",
        "properties": {"type": {"type": "string"}, "timeframe": {"type": "string"}},
        "required": ["type"],
        "additionalProperties": {"type": "number"},
    }
    # All their keys stand in the instructions, with their defaults; few designs have any of them.
    for section in ("model", "training", "decision", "risk"):
        schema["properties"][section] = {"type": "object"}
    definitions = schema.pop("$defs")
    shortened = _resolved(schema, definitions)
    assert isinstance(shortened, dict)
    return shortened


def _resolved(node: Any, definitions: dict[str, Any], *, inside_properties: bool = False) -> Any:  # noqa: ANN401
    """Return a schema with its references written out, nulls dropped from unions, and the noise removed."""
    if isinstance(node, list):
        return [_resolved(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _resolved(definitions[node["$ref"].rpartition("/")[2]], definitions)
    choices = node.get("anyOf")
    if choices and not inside_properties:
        wanted = [each for each in choices if each != {"type": "null"}]
        if len(wanted) == 1:
            return _resolved(wanted[0], definitions)
    kept = {
        key: _resolved(value, definitions, inside_properties=key == "properties")
        for key, value in node.items()
        if inside_properties or (key not in _NOISE and (key, value) != ("additionalProperties", False))
    }
    if not inside_properties:
        if "patternProperties" in kept:  # the pattern is that of an id, which the instructions explain
            (kept["additionalProperties"],) = kept.pop("patternProperties").values()
        if "const" in kept or "enum" in kept:
            kept.pop("type", None)
    return kept


@cache
def _tool_schemas(role: Role) -> tuple[tuple[str, str, dict[str, Any]], ...]:
    return tuple(_schemas(role))


def _schemas(role: Role) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for tool in TOOLS.values():
        if tool.role != role:
            continue
        full = tool.arguments.model_json_schema()
        schema = _resolved(full, full.pop("$defs", {}))
        if tool.name == SAVE_STRATEGY_CONFIG:
            schema["properties"]["strategy"] = _strategy_schema()
        elif tool.name == VALIDATE_STRATEGY:  # the schema once more would be paid for at every turn
            schema["properties"]["strategy"] = {"type": "object"}
        yield tool.name, _DESCRIPTIONS[tool.name], schema


def tool_schemas(role: Role) -> list[tuple[str, str, dict[str, Any]]]:
    """Return name, description and JSON Schema of the arguments of each of a role's tools, in a fixed order."""
    return [(name, description, deepcopy(schema)) for name, description, schema in _tool_schemas(role)]
