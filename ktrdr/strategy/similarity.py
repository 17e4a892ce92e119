"""Whether two strategies are the same idea with other names and slightly other numbers."""

from ktrdr.strategy.specification import FuzzySetSpecification, StrategySpecification

RELATIVE_TOLERANCE = 0.05

_Leaf = tuple[str, str | float]


def are_near_copies(one: StrategySpecification, other: StrategySpecification) -> bool:
    """Return whether two strategies agree in everything but names, and in every number within 5 %.

    What the author called an indicator, a fuzzy variable or a set, and in which order they stand, does not count.
    """
    leaves, others = _leaves(one), _leaves(other)
    return len(leaves) == len(others) and all(map(_agree, leaves, others))


def _agree(one: _Leaf, other: _Leaf) -> bool:
    if one[0] != other[0]:
        return False
    if isinstance(one[1], str) or isinstance(other[1], str):
        return one[1] == other[1]
    return abs(one[1] - other[1]) <= RELATIVE_TOLERANCE * max(abs(one[1]), abs(other[1]))


def _leaves(specification: StrategySpecification) -> list[_Leaf]:
    document = specification.document()
    for part in ("name", "hypothesis", "indicators", "fuzzy_sets"):
        del document[part]
    leaves = list(_flatten("", document))
    for variable in sorted(_variable(specification, each) for each in specification.fuzzy_sets.values()):
        leaves += [("variable", variable[0]), *(("number", value) for value in variable[1])]
    return leaves


def _flatten(path: str, value: object) -> list[_Leaf]:
    if isinstance(value, dict):
        return [leaf for name, inner in value.items() for leaf in _flatten(f"{path}.{name}", inner)]
    if isinstance(value, list):
        return [leaf for index, inner in enumerate(value) for leaf in _flatten(f"{path}[{index}]", inner)]
    if isinstance(value, int | float):
        return [(path, float(value))]
    return [(path, str(value))]


def _variable(specification: StrategySpecification, fuzzy: FuzzySetSpecification) -> tuple[str, tuple[float, ...]]:
    """Return a fuzzy variable as a text that must be equal and numbers that may differ a little."""
    text, numbers = "", []
    for reference in (fuzzy.input, fuzzy.relative_to):
        identifier, _, output = (reference or "").partition(".")
        indicator = specification.indicators.get(identifier)
        text += f"{indicator.type}.{output} {indicator.timeframe} " if indicator is not None else f"{identifier} "
        numbers += list(indicator.parameters.values()) if indicator is not None else []
    text += f"partition {len(fuzzy.partition)} " if fuzzy.partition is not None else ""
    for shape in sorted((fuzzy.sets or {}).values(), key=lambda each: each.points):
        text += f"{shape.shape} "
        numbers += shape.points
    return text, tuple(numbers)
