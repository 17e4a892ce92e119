"""Rules that tie one part of a strategy to another.

They read the raw document, so that they are checked, and their faults listed, even where another field is wrong;
what is not of the expected kind is left to the field rules and skipped here.
"""

import math
from collections.abc import Iterator, Mapping

from ktrdr.indicators.catalogue import CATALOGUE, IndicatorType
from ktrdr.market.timeframe import Timeframe
from ktrdr.strategy.sections import (
    MAXIMUM_FUZZY_SETS,
    MAXIMUM_INDICATORS,
    PRICE_COLUMNS,
    DecisionSpecification,
)
from ktrdr.strategy.wording import did_you_mean, is_number, shown

_MOVES_WITH_PRICE = ("price", "price_difference")
# The odds of a win that a network can hardly ever see at more than this multiple of those without skill.
_ODDS_WITHIN_REACH = 2.5
# A walk leaves barriers of a and b average true ranges within 4ab bars in about 7 of 8 cases: only then do the
# barriers, and not the time-outs, say how often a trade wins.
_BARS_TO_A_BARRIER = 4.0


def consistency_faults(document: Mapping[str, object]) -> list[str]:
    """Return every fault that lies between two parts of a raw strategy document."""
    indicators = _mapping(document.get("indicators"))
    variables = _mapping(document.get("fuzzy_sets"))
    return [
        *_count_faults(indicators, variables),
        *_variable_faults(indicators, variables),
        *_unused_indicators(indicators, variables),
        *_timeframe_faults(document, indicators),
        *_decision_faults(document),
        *_label_faults(document),
        *_reach_faults(document),
    ]


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        return {}
    return {name: inner for name, inner in value.items() if isinstance(name, str)}


def _count_faults(indicators: Mapping[str, object], variables: Mapping[str, object]) -> Iterator[str]:
    for path, entries, maximum in (
        ("indicators", indicators, MAXIMUM_INDICATORS),
        ("fuzzy_sets", variables, MAXIMUM_FUZZY_SETS),
    ):
        if len(entries) > maximum:
            yield f"{path}: {len(entries)} entries, at most {maximum} are allowed"


def _variable_faults(indicators: Mapping[str, object], variables: Mapping[str, object]) -> Iterator[str]:
    for name, raw in variables.items():
        if not isinstance(raw, Mapping):
            continue
        path = f"fuzzy_sets.{name}"
        has_sets, has_partition = raw.get("sets") is not None, raw.get("partition") is not None
        if has_sets and has_partition:
            yield f"{path}: found both sets and partition; give exactly one of them"
        if not has_sets and not has_partition:
            yield f"{path}: neither sets nor partition is given; give exactly one of them"
        yield from _reference_faults(f"{path}.input", raw.get("input"), indicators)
        yield from _relative_faults(path, raw, indicators)


def _kind(indicators: Mapping[str, object], reference: str) -> IndicatorType | None:
    """Return the catalogue's entry for a reference's indicator, None where the file has no such, valid, one."""
    type_name = _mapping(indicators.get(reference.partition(".")[0])).get("type")
    return CATALOGUE.get(type_name) if isinstance(type_name, str) else None


def _reference_faults(path: str, reference: object, indicators: Mapping[str, object]) -> Iterator[str]:
    if not isinstance(reference, str):
        return
    identifier, dot, output = reference.partition(".")
    if identifier not in indicators:
        guess = did_you_mean(identifier, indicators)
        known = ", ".join(indicators) or "none"
        yield f"{path}: {shown(reference)} names no indicator of this file;{guess} there are: {known}"
        return
    kind = _kind(indicators, reference)
    if kind is None:  # the indicator's own type is the fault
        return
    choices = ", ".join(f"{identifier}.{name}" for name in kind.outputs)
    if len(kind.outputs) == 1 and dot:
        yield f"{path}: {shown(reference)} names an output, but {kind.name} has one only; write {identifier!r}"
    elif len(kind.outputs) > 1 and not dot:
        yield f"{path}: {shown(reference)} has several outputs; write one of {choices}"
    elif len(kind.outputs) > 1 and output not in kind.outputs:
        guess = did_you_mean(output, kind.outputs)
        yield f"{path}: {shown(reference)} is no output of {kind.name};{guess} write one of {choices}"


def _relative_faults(path: str, raw: Mapping[str, object], indicators: Mapping[str, object]) -> Iterator[str]:
    source, target = raw.get("input"), raw.get("relative_to")
    kind = _kind(indicators, source) if isinstance(source, str) else None
    if target is None:
        if kind is not None and kind.unit == "price":
            yield (
                f"{path}.relative_to: missing; {source!r} moves with the price level, so its sets would not hold; "
                f"give one of {', '.join(PRICE_COLUMNS)} or another indicator in price"
            )
        return
    if kind is not None and kind.unit not in _MOVES_WITH_PRICE:
        yield (
            f"{path}.relative_to: {shown(target)} is not allowed, because {source!r} is not measured in price; "
            "leave it out"
        )
    if not isinstance(target, str) or target in PRICE_COLUMNS:
        return
    if target.partition(".")[0] not in indicators:
        known = [*PRICE_COLUMNS, *indicators]
        guess = did_you_mean(target.partition(".")[0], known)
        yield (
            f"{path}.relative_to: {shown(target)} is neither a price column nor an indicator of this file;{guess} "
            f"there are: {', '.join(known)}"
        )
        return
    if target == source:
        yield f"{path}.relative_to: {target!r} is the input itself; the value would always be 0"
    yield from _reference_faults(f"{path}.relative_to", target, indicators)
    target_kind = _kind(indicators, target)
    if target_kind is not None and target_kind.unit != "price":
        yield (
            f"{path}.relative_to: {target!r} is not measured in price and may be 0; "
            f"give one of {', '.join(PRICE_COLUMNS)} or an indicator in price"
        )


def _unused_indicators(indicators: Mapping[str, object], variables: Mapping[str, object]) -> Iterator[str]:
    used = {
        reference.partition(".")[0]
        for raw in map(_mapping, variables.values())
        for reference in (raw.get("input"), raw.get("relative_to"))
        if isinstance(reference, str)
    }
    for identifier in indicators:
        if identifier not in used:
            yield f"indicators.{identifier}: no fuzzy set uses it; use it or remove it"


def _timeframe_faults(document: Mapping[str, object], indicators: Mapping[str, object]) -> Iterator[str]:
    raw = _mapping(document.get("market")).get("timeframe")
    if not isinstance(raw, str) or raw not in list(Timeframe):
        return
    longer = [each.value for each in Timeframe(raw).longer]
    for identifier, indicator in indicators.items():
        wanted = _mapping(indicator).get("timeframe")
        if not isinstance(wanted, str) or wanted not in list(Timeframe) or wanted in longer:
            continue
        allowed = f"allowed is {', '.join(longer)}, or leave it out" if longer else "leave it out"
        yield f"indicators.{identifier}.timeframe: {wanted!r} is not above market.timeframe {raw}; {allowed}"


def _decision_faults(document: Mapping[str, object]) -> Iterator[str]:
    defaults = DecisionSpecification()
    decision = _mapping(document.get("decision"))
    enter, leave = decision.get("enter", defaults.enter), decision.get("exit", defaults.exit)
    if is_number(enter) and is_number(leave) and leave > enter:
        yield f"decision.exit: {leave:g} is above decision.enter {enter:g}; it must be at most that"


def _label_faults(document: Mapping[str, object]) -> Iterator[str]:
    labels = _mapping(document.get("labels"))
    direction = _mapping(document.get("decision")).get("direction", DecisionSpecification().direction)
    if labels.get("type") != "triple_barrier" or direction != "both":
        return
    profit, loss = labels.get("take_profit"), labels.get("stop_loss")
    if is_number(profit) and is_number(loss) and profit != loss:
        yield (
            f"labels.take_profit: {profit:g} differs from labels.stop_loss {loss:g}; with decision.direction both "
            "the barriers must be equal (with long or short they may differ)"
        )


def _reach_faults(document: Mapping[str, object]) -> Iterator[str]:
    labels, decision = _mapping(document.get("labels")), _mapping(document.get("decision"))
    if labels.get("type") != "triple_barrier" or decision.get("direction") not in ("long", "short"):
        return
    target, stop, horizon = labels.get("take_profit"), labels.get("stop_loss"), labels.get("horizon")
    enter = decision.get("enter", DecisionSpecification().enter)
    if not (is_number(target) and is_number(stop) and is_number(horizon) and is_number(enter)):
        return
    if not (0 < stop < target < 1e6 and 0.5 <= enter < 1 and horizon >= _BARS_TO_A_BARRIER * target * stop):
        return
    odds = _ODDS_WITHIN_REACH * stop / target
    if enter <= odds * (1 - enter):
        return
    nearest = max(stop, math.floor(100 * _ODDS_WITHIN_REACH * stop * (1 - enter) / enter) / 100)
    remedies = [f"lower labels.take_profit to {nearest:g} or less", "raise labels.stop_loss"]
    if odds >= 1:
        remedies.insert(0, f"lower decision.enter to {math.floor(100 * odds / (1 + odds)) / 100:g} or less")
    yield (
        f"decision.enter: {enter:g} can hardly ever be reached: with labels.take_profit {target:g} and "
        f"labels.stop_loss {stop:g} a trade without skill wins in {stop / (target + stop):.0%} of cases "
        f"(stop_loss / (take_profit + stop_loss)); {' or '.join(remedies)}"
    )
