"""What the final model has learned, in plain sentences."""

from collections.abc import Callable, Iterator, Mapping

from pydantic import JsonValue

from ktrdr.cli.evidence_report import value_at
from ktrdr.cli.output import MISSING, figure, table_lines

_SOURCES = {
    "network": "as the network has learned them; each speaks in proportion to how much it applies",
    "surrogate": "of a tree that was fitted to the network's answers",
}


def rules_lines(training: Mapping[str, JsonValue] | None) -> Iterator[str]:
    """Yield every rule with its coverage, how far they tell what the network says, and the sets that it learned."""
    if training is None:
        return
    yield ""
    rules = training.get("rules")
    if not isinstance(rules, dict):
        yield "Rules: none in the files of this training; train the strategy again to get them."
        return
    source = str(rules.get("source"))
    yield f"Rules, {_SOURCES.get(source, source)}:"
    yield from _table(rules.get("rules"), _rule_row)
    yield (
        f"On {figure(value_at(rules, 'fidelity', 'rows'), 'd')} validation rows these sentences take the network's "
        f"side in {figure(value_at(rules, 'fidelity', 'agreement'), '.1%')} (always saying its commoner side: "
        f"{figure(value_at(rules, 'fidelity', 'commoner_side'), '.1%')}); R² of its p "
        f"{figure(value_at(rules, 'fidelity', 'r_squared'))}."
    )
    if isinstance(rules.get("sets"), list):
        yield "Sets as learned, where the membership is above one half:"
        yield from _table(rules.get("sets"), _set_row)


def _table(entries: JsonValue, row: Callable[[Mapping[str, JsonValue]], tuple[str, ...]]) -> Iterator[str]:
    rows = [row(each) for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []
    for line in table_lines(("",) * len(rows[0]), rows)[1:] if rows else []:
        yield f"  {line}"


def _rule_row(rule: Mapping[str, JsonValue]) -> tuple[str, ...]:
    return str(rule.get("text")), f"({figure(rule.get('coverage'), '.1%')} of rows)"


def _set_row(learned: Mapping[str, JsonValue]) -> tuple[str, ...]:
    return (
        str(learned.get("name")),
        _range_words(learned.get("half")),
        f"(before learning {_range_words(learned.get('half_before'))})",
    )


def _range_words(edges: JsonValue) -> str:
    if not isinstance(edges, list) or len(edges) != 2:
        return MISSING
    lower, upper = (None if each is None else figure(each, ".4g") for each in edges)
    if lower is None:
        return "everywhere" if upper is None else f"below {upper}"
    return f"above {lower}" if upper is None else f"{lower} to {upper}"
