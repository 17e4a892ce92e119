"""What the final model has learned, in plain sentences."""

from collections.abc import Iterator, Mapping, Sequence

from pydantic import JsonValue, ValidationError

from ktrdr.cli.output import table_lines
from ktrdr.training.report import RulesReport
from ktrdr.training.rule_words import SETS_HEADING, fidelity_words, range_words, rules_heading


def rules_lines(training: Mapping[str, JsonValue] | None) -> Iterator[str]:
    """Yield every rule with its coverage, how far they tell what the network says, and the sets that it learned."""
    if training is None:
        return
    yield ""
    try:
        rules = RulesReport.model_validate(training.get("rules"))
    except ValidationError:
        yield "Rules: none in the files of this training; train the strategy again to get them."
        return
    yield f"{rules_heading(rules)}:"
    yield from _table([(rule.text, f"({rule.coverage:.1%} of rows)") for rule in rules.rules])
    yield fidelity_words(rules.fidelity)
    if rules.sets is not None:
        yield f"{SETS_HEADING}:"
        yield from _table(
            [
                (each.name, range_words(each.half), f"(before learning {range_words(each.half_before)})")
                for each in rules.sets
            ]
        )


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    for line in table_lines(("",) * len(rows[0]), rows)[1:] if rows else []:
        yield f"  {line}"
