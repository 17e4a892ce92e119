import copy
import json
from functools import reduce

import pytest
from hypothesis import given, settings
from strategy_documents import example_document, valid_documents

from ktrdr.errors import StrategyInvalid
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.strategy.validation import validate_strategy


def leaves_of(node, prefix=()):
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    if items is None:
        yield prefix
        return
    for key, inner in items:
        yield from leaves_of(inner, (*prefix, key))


# Another allowed value where a small step is none: enumerations, references, tied pairs.
ALTERNATIVES = {
    ("schema",): None,  # one version so far
    ("market", "symbols", 0): "GBPUSD",
    ("market", "timeframe"): "4h",
    ("labels", "type"): None,
    ("model", "type"): None,
    ("risk", "sizing", "type"): None,
    ("risk", "sizing", "exposure"): 0.5,
    ("indicators", "rsi", "type"): "CMO",
    ("indicators", "adx", "type"): "CCI",
    ("indicators", "bands", "type"): None,  # other parameters: covered by changing the whole indicator below
    ("fuzzy_sets", "rsi", "input"): "adx",
    ("fuzzy_sets", "trend", "input"): "rsi",
    ("fuzzy_sets", "place", "input"): "bands.upperband",
    ("fuzzy_sets", "place", "relative_to"): "open",
    ("decision", "direction"): "short",
    ("decision", "exit"): 0.45,
    ("decision", "enter"): 0.6,
}
ALTERNATIVES |= {("fuzzy_sets", "rsi", "sets", s, "shape"): None for s in ("oversold", "neutral", "overbought")}
EXAMPLE_LEAVES = [path for path in leaves_of(example_document()) if ALTERNATIVES.get(path, "") is not None]


def another_value(path, value):
    if path in ALTERNATIVES:
        return ALTERNATIVES[path]
    if isinstance(value, str):
        return f"{value}x"
    return value + (1 if isinstance(value, int) else 0.01)


@pytest.mark.parametrize("path", EXAMPLE_LEAVES, ids=lambda path: ".".join(map(str, path)))
def test_changing_any_one_field_changes_the_hash(path):
    document = example_document()
    if path[0] == "decision" or path[0] == "labels":
        document["decision"]["direction"] = "long"  # lets the two barriers differ
    if path[0] == "fuzzy_sets" and path[-1] == "input":
        document["fuzzy_sets"]["both"] = {"input": "rsi", "partition": ["low", "high"]}
        document["fuzzy_sets"]["more"] = {"input": "adx", "partition": ["low", "high"]}
    original = validate_strategy(document)
    *parents, last = path
    holder = reduce(lambda part, key: part[key], parents, document)
    holder[last] = another_value(path, holder[last])
    if "points" in path:
        holder.sort()
    other = validate_strategy(document)
    assert other.sha256() != original.sha256()
    same_configuration = path[0] in ("name", "hypothesis")
    assert (other.configuration_sha256() == original.configuration_sha256()) is same_configuration


def test_other_kinds_of_a_part_change_the_hash_too():
    hashes = {validate_strategy(example_document()).configuration_sha256()}
    for part, raw in [
        ("labels", {"type": "forward_return", "horizon": 24}),
        ("risk", {}),
        ("risk", {"stop_loss": 4.0}),
        ("risk", {"take_profit": 4.0}),
        ("risk", {"sizing": {"type": "volatility_target"}}),
        ("risk", {"sizing": {"type": "volatility_target", "annual_volatility": 0.2}}),
        ("risk", {"sizing": {"type": "volatility_target", "lookback": 61}}),
        ("risk", {"sizing": {"type": "volatility_target", "max_exposure": 0.5}}),
    ]:
        hashes.add(validate_strategy(example_document() | {part: raw}).configuration_sha256())
    assert len(hashes) == 9


@settings(max_examples=30, deadline=None)
@given(valid_documents())
def test_the_hash_ignores_the_order_of_keys_but_not_that_of_the_networks_inputs(document):
    original = validate_strategy(document)
    shuffled = {key: copy.deepcopy(document[key]) for key in reversed(document)}
    shuffled["indicators"] = dict(reversed(shuffled["indicators"].items()))
    assert validate_strategy(shuffled).sha256() == original.sha256()
    if len(document["fuzzy_sets"]) > 1:
        shuffled["fuzzy_sets"] = dict(reversed(document["fuzzy_sets"].items()))
        assert validate_strategy(shuffled).sha256() != original.sha256()


def test_a_strategy_cannot_be_changed_and_no_door_lets_a_contradiction_in():
    strategy = validate_strategy(example_document())
    with pytest.raises(ValueError, match="frozen"):
        strategy.name = "other"
    contradiction = json.loads(json.dumps(strategy.document()))
    contradiction["decision"]["exit"] = 0.9
    with pytest.raises(StrategyInvalid, match=r"decision\.exit: 0\.9 is above decision\.enter 0\.55"):
        StrategySpecification.model_validate(contradiction)
