import json
import subprocess
import sys
from functools import reduce

import jsonschema_rs
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from strategy_documents import EXAMPLE, example_document, valid_documents

from ktrdr.errors import StrategyInvalid
from ktrdr.strategy.validation import parse_strategy, strategy_json_schema, to_yaml, validate_strategy

SCHEMA_VALIDATOR = jsonschema_rs.validator_for(strategy_json_schema())
DROP = object()


def changed(path, value):
    """The example document with one value replaced, or dropped."""
    document = example_document()
    *parents, last = path.split("/")
    holder = reduce(lambda part, key: part[key], parents, document)
    if value is DROP:
        del holder[last]
    else:
        holder[last] = value
    return document


def faults_of(document):
    with pytest.raises(StrategyInvalid) as caught:
        validate_strategy(document)
    return caught.value.faults


def test_the_designs_example_is_read_with_its_own_values_and_the_stated_defaults():
    minimal = example_document()
    for section in ("model", "training", "decision", "risk"):
        del minimal[section]
    del minimal["indicators"]["adx"]["timeperiod"]
    full, short = parse_strategy(EXAMPLE), validate_strategy(minimal)
    assert (full.symbols, full.timeframe) == (("EURUSD",), "1h")
    assert full.risk.max_holding_bars == 48
    assert short.risk.model_dump() == {
        "sizing": {"type": "fixed", "exposure": 1.0},
        "stop_loss": None,
        "take_profit": None,
        "max_holding_bars": None,
    }
    assert (short.model, short.training, short.decision) == (full.model, full.training, full.decision)
    assert short.indicators == full.indicators  # the catalogue's default is written out


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("indicators/rsi/timeperiod", 1, ": 1 is below the minimum 2"),
        ("indicators/rsi/timeperiod", 10**400, ": a very long whole number is not"),
        ("indicators/rsi/timeperiod", True, ": True is not a number from 2 to 100"),
        ("indicators/rsi/timeperiod", 14.5, ": 14.5 is not a whole number"),
        ("indicators/rsi/period", 14, ": unknown parameter of RSI; did you mean 'timeperiod'?"),
        ("indicators/rsi/type", "rsi", ": 'rsi' is no indicator offered here; did you mean 'RSI'?"),
        ("indicators/rsi/timeframe", "2h", ": '2h' is not allowed; allowed is 5m, 15m"),
        ("indicators/rsi/timeframe", "1h", ": '1h' is not above market.timeframe 1h; allowed is 4h, 1d, or leave"),
        ("indicators/rsi/type", DROP, ": missing"),
        ("indicators/spare", {"type": "CCI"}, ": no fuzzy set uses it"),
        ("indicators", {}, ": 0 entries, at least 1 needed"),
        ("market/symbols", ["A", "B", "A"], ": found 'A' twice; name each once"),
        ("market/symbols", ["BTCUSD", "BTC-USD"], ": 'BTC-USD' is another spelling of 'BTCUSD'; name each once"),
        ("market/symbols", [f"S{n}" for n in range(21)], ": 21 entries, at most 20 are allowed"),
        ("market/symbols", ["../etc"], "[0]: '../etc' is no valid name"),
        ("market/timeframe", "2h", ": '2h' is not allowed; allowed is '1m', '5m'"),
        ("name", "../escape", ": '../escape' is no valid name; allowed is 3 to 64 of a-z"),
        ("name", "trailing\n", ": 'trailing\\n' is no valid name"),
        ("schema", 2, ": 2 is not allowed; allowed is 1"),
        ("hypothesis", DROP, ": missing; it is required"),
        ("start_date", "2020", ": unknown field; allowed are schema, name"),
        ("fuzzy_sets/trend/input", "adxx", ": 'adxx' names no indicator of this file; did you mean 'adx'"),
        ("fuzzy_sets/trend/input", "adx.real", ": 'adx.real' names an output, but ADX has one only"),
        ("fuzzy_sets/place/input", "bands", ": 'bands' has several outputs; write one of bands.upper"),
        ("fuzzy_sets/place/input", "bands.lower", ": 'bands.lower' is no output of BBANDS; did you"),
        ("fuzzy_sets/place/relative_to", DROP, ": missing; 'bands.lowerband' moves with the"),
        ("fuzzy_sets/place/relative_to", "clsoe", ": 'clsoe' is neither a price column nor"),
        ("fuzzy_sets/place/relative_to", "adx", ": 'adx' is not measured in price"),
        ("fuzzy_sets/place/relative_to", "bands.lowerband", ": 'bands.lowerband' is the input"),
        ("fuzzy_sets/trend/relative_to", "close", ": 'close' is not allowed, because 'adx'"),
        ("fuzzy_sets/trend/partition", DROP, "fuzzy_sets.trend: neither sets nor partition is given"),
        ("fuzzy_sets/trend/sets", {"a": {"shape": "triangle", "points": [0, 2, 5]}}, "fuzzy_sets.trend: found both"),
        ("fuzzy_sets/trend/partition", ["a", "a"], ": repeats a"),
        ("fuzzy_sets/rsi/sets/neutral/points", [30, 50], ": found 2 points; a triangle"),
        ("fuzzy_sets/rsi/sets/neutral/points", [30, 70, 50], ": [30.0, 70.0, 50.0] is not"),
        ("fuzzy_sets/rsi/sets/neutral/points", [5, 5, 5], ": all points are 5"),
        ("fuzzy_sets/rsi/sets/neutral/shape", "sigmoid", ": 'sigmoid' is not allowed"),
        ("labels/type", "first_mov", ": 'first_mov' is not allowed; did you mean 'first_move'?"),
        ("labels", {"type": "first_move", "threshold": 0}, "labels.threshold: 0 is below the minimum 0.1"),
        ("labels/horizon", 501, ": 501 is above the maximum 500"),
        ("labels/take_profit", 3.0, ": 3 differs from labels.stop_loss 1.5"),
        ("model/type", "anfs", ": 'anfs' is not allowed; did you mean 'anfis'? allowed is mlp or anfis"),
        ("model", {"type": "anfis", "rules": 65}, "model.rules: 65 is above the maximum 64"),
        ("model", {"type": "anfis", "hidden": [8]}, "model.hidden: unknown field; allowed are type, rules, learn"),
        ("model", {"type": "anfis", "learn_memberships": 1}, "model.learn_memberships: found 1; expected"),
        ("model/hidden", [32, 4096], "[1]: 4096 is above the maximum 256"),
        ("training/learning_rate", "1e-3", ": '1e-3' is text, not a number; write it without quotes"),
        ("training/epochs", 501, ": 501 is above the maximum 500"),
        ("decision/enter", 1.0, ": 1.0 is not below 1"),
        ("decision/enter", 0.49, ": 0.49 is below the minimum 0.5"),
        ("decision/exit", 0.56, ": 0.56 is above decision.enter 0.55"),
        ("risk/sizing/type", "volatility", ": 'volatility' is not allowed; did you mean 'volatility_target'?"),
        ("risk/sizing", {"type": "volatility_target", "lookback": 4}, "risk.sizing.lookback: 4 is below the minimum 5"),
        ("risk/sizing", {"type": "volatility_target", "max_exposure": 2}, "risk.sizing.max_exposure: 2 is above the"),
        ("risk/sizing", {"type": "volatility_target", "exposure": 1}, "risk.sizing.exposure: unknown field;"),
        ("risk/sizing", {"lookback": 60}, "risk.sizing.lookback: unknown field; allowed are type, exposure"),
        ("risk/stop_loss", float("nan"), ": nan is not a finite number"),
        ("risk/sizing/exposure", 2, ": 2 is above the maximum 1"),
    ],
)  # fmt: skip
def test_one_wrong_value_gives_one_fault_that_names_path_finding_and_rule(path, value, fault):
    document = changed(path, value)
    faults = faults_of(document)
    expected = path.replace("/", ".") + fault if fault[0] in ":[" else fault
    assert any(each.startswith(expected) for each in faults), faults
    paths = [each.partition(":")[0] for each in faults]
    assert len(set(paths)) == len(paths), "one message per fault"


def test_all_faults_come_at_once_from_every_part_and_between_parts():
    document = example_document()
    document["indicators"]["rsi"]["timeperiod"] = 1
    document["indicators"]["unused"] = {"type": "CCI", "timeperiod": 999}
    document["fuzzy_sets"]["trend"]["input"] = "nothing"
    document["fuzzy_sets"]["place"]["sets"] = {}
    document["labels"] |= {"horizon": 0, "take_profit": 9}
    document["decision"] = {"enter": "high", "exit": 0.9, "direction": "both"}
    document["training"]["epochs"] = 0
    document["dates"] = ["2020-01-01"]
    starts = {each.partition(":")[0] for each in faults_of(document)}
    assert starts == {
        "indicators.rsi.timeperiod",
        "indicators.unused.timeperiod",
        "indicators.unused",
        "indicators.adx",  # its only fuzzy set now refers to nothing
        "fuzzy_sets.trend.input",
        "fuzzy_sets.place.sets",
        "fuzzy_sets.place",
        "labels.horizon",
        "labels.take_profit",
        "decision.enter",
        "training.epochs",
        "dates",
    }


def test_asymmetric_barriers_are_allowed_where_the_direction_is_one_sided():
    document = example_document()
    document["labels"]["take_profit"] = 3.0
    document["decision"]["direction"] = "long"
    assert validate_strategy(document).labels.take_profit == 3.0


def test_a_file_cannot_ask_for_more_work_than_the_bounds_allow():
    document = example_document()
    for n in range(20):
        document["indicators"][f"rsi_{n}"] = {"type": "RSI", "timeperiod": 2 + n}
        document["fuzzy_sets"][f"rsi_{n}"] = {"input": f"rsi_{n}", "partition": ["low", "high"]}
    faults = faults_of(document)
    assert "indicators: 23 entries, at most 12 are allowed" in faults
    assert "fuzzy_sets: 23 entries, at most 16 are allowed" in faults
    assert len(faults) == 2


ALIAS_BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "document: is empty; expected a mapping"),
        ("- schema: 1", "document: is [{'schema': 1}]; expected a mapping"),
        ("schema: 1\nname: [", "document: not valid YAML, line 3, column 1: "),
        (EXAMPLE + "name: again_the_same\n", "name: given twice, in lines 3 and 22; keep one"),
        (EXAMPLE.replace("type: ADX,", "type: ADX, timeperiod: 3,"), "indicators.adx.timeperiod: given twice"),
        (ALIAS_BOMB, "document: line 1: anchors and aliases (&, *) are not allowed"),
        ("<<: {schema: 1}", "document: line 1: merging with << is not allowed"),
        ("name: !!python/object/apply:os.system [id]", "document: line 1: the tag"),
        ("--- {schema: 1}\n--- {schema: 1}", "document: line 2: a second document begins"),
        ("[" * 20_000, "document: line 1: nested deeper than 12 levels"),
        ("a: [" + "1, " * 6_000 + "1]", "document: line 1: more than 5000 values"),
        ("# " + "x" * 200_000, "document: 200002 characters; at most 100000 are allowed"),
        ("name: 2020-13-45", "document: a value cannot be read: month must be in 1..12"),
        ("name: 0b_", "document: a value cannot be read"),
        ("horizon: " + "9" * 5_000, "document: a value cannot be read"),
        (EXAMPLE.replace("name: rsi_adx_reversion", "name: 2020-01-01"), "name: '2020-01-01' was read as a date"),
        (EXAMPLE.replace("rsi:  ", "1: "), "indicators: the key 1 is not text"),
        ("a: \x01", "document: not valid YAML: unacceptable character"),
    ],
)  # fmt: skip
def test_a_yaml_trap_is_a_clear_fault(text, fault):
    with pytest.raises(StrategyInvalid) as caught:
        parse_strategy(text)
    assert any(each.startswith(fault) for each in caught.value.faults), caught.value.faults


def test_a_repeated_key_does_not_hide_the_other_faults():
    text = EXAMPLE.replace("horizon: 24", "horizon: 0") + "name: another_name\n"
    with pytest.raises(StrategyInvalid) as caught:
        parse_strategy(text)
    assert [each.partition(":")[0] for each in caught.value.faults] == ["name", "labels.horizon"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(valid_documents())
def test_every_valid_strategy_survives_yaml_bit_for_bit_and_fits_the_published_schema(document):
    strategy = validate_strategy(document)
    again = parse_strategy(to_yaml(strategy))
    assert again == strategy
    assert again.document() == strategy.document()
    assert again.sha256() == strategy.sha256()
    assert to_yaml(again) == to_yaml(strategy)
    for written in (document, strategy.document()):
        assert SCHEMA_VALIDATOR.is_valid(written), list(SCHEMA_VALIDATOR.iter_errors(written))


KEYS = [
    *"schema name hypothesis market indicators fuzzy_sets labels model training decision risk type timeframe".split(),
    *"symbols input relative_to sets partition points shape rsi".split(),
    *("<<", "", "\n", "\ud800"),
]
WORDS = ["RSI", "rsi", "mlp", "triple_barrier", "forward_return", "1h", "fixed", "close", "gaussian", "\udfff", "1e5"]
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(WORDS)
anything = st.recursive(
    scalars | st.dates() | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.integers(), inner, max_size=6)
    ),
    max_leaves=25,
)


def assert_only_refuses(check):
    faults = ["accepted"]
    try:
        check()
    except StrategyInvalid as error:
        faults = error.faults
    assert faults
    assert all(fault and fault.isprintable() for fault in faults)


def paths_of(node, prefix=()):
    yield prefix
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, inner in items:
        yield from paths_of(inner, (*prefix, key))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(where=st.sampled_from([p for p in paths_of(example_document()) if p]), value=anything, data=st.data())
@example(where=("training", "epochs"), value=10**400, data=None)
@example(where=("indicators",), value={"\ud800": {"type": []}}, data=None)
def test_whatever_stands_in_any_place_the_validator_only_ever_refuses(where, value, data):
    document = example_document()
    *parents, last = where
    holder = reduce(lambda part, key: part[key], parents, document)
    if isinstance(holder, dict) and data is not None and data.draw(st.booleans()):
        last = data.draw(st.sampled_from(KEYS))
    holder[last] = value
    assert_only_refuses(lambda: validate_strategy(document))


@settings(max_examples=100, deadline=None)
@given(anything)
def test_any_document_at_all_is_at_worst_refused(document):
    assert_only_refuses(lambda: validate_strategy(document))


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="utf-8") | st.sampled_from("{}[]:,-&*!|>'\"#?%@`\n \t0123.eE_+"), max_size=60))
@example("!!int ''")
@example("!!timestamp x")
@example("0001-01-01 00:00:00+23:59")
@example("? {a: 1}\n: 2")
@example("{1: 2, ? [a]: 3}")
def test_any_text_at_all_is_at_worst_refused(text):
    assert_only_refuses(lambda: parse_strategy(text))
    assert_only_refuses(lambda: parse_strategy(EXAMPLE + text))


def test_schema_refuses_what_the_validator_refuses_by_its_shape():
    for path, value in [
        ("indicators/rsi/timeperiod", 1),
        ("indicators/rsi/period", 14),
        ("labels/type", "first_move"),
        ("model/hidden", []),
        ("start_date", "2020"),
        ("name", "Upper"),
    ]:
        assert not SCHEMA_VALIDATOR.is_valid(changed(path, value)), path
    assert json.loads(json.dumps(strategy_json_schema())) == strategy_json_schema()


def test_reading_strategies_needs_neither_torch_nor_talib_nor_numpy():
    heavy = "torch talib numba numpy polars pandas exchange_calendars sqlalchemy dbos fastapi ktrdr.config ktrdr.clock"
    code = f"import sys, ktrdr.strategy.store; print([m for m in {heavy.split()!r} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_yaml_written_for_people_keeps_numbers_plain_and_the_files_order():
    document = yaml.safe_load(to_yaml(parse_strategy(EXAMPLE)))
    assert list(document) == [
        *("schema", "name", "hypothesis", "market", "indicators", "fuzzy_sets", "labels"),
        *("model", "training", "decision", "risk"),
    ]
    assert list(document["fuzzy_sets"]) == ["rsi", "trend", "place"]
    assert document["indicators"]["rsi"] == {"type": "RSI", "timeperiod": 14}


def one_sided(direction="long", horizon=24, take_profit=3.0, stop_loss=1.0, **decision):
    document = example_document()
    barriers = {"horizon": horizon, "take_profit": take_profit, "stop_loss": stop_loss}
    document["labels"] = {"type": "triple_barrier", **barriers}
    document["decision"] = {"direction": direction, **decision}
    return document


@pytest.mark.parametrize("direction", ["long", "short"])
def test_a_probability_far_above_that_of_a_trade_without_skill_is_refused_with_what_to_change(direction):
    (fault,) = faults_of(one_sided(direction))
    assert fault == (
        "decision.enter: 0.55 can hardly ever be reached: with labels.take_profit 3 and labels.stop_loss 1 a trade "
        "without skill wins in 25% of cases (stop_loss / (take_profit + stop_loss)); lower labels.take_profit to 2.04 "
        "or less or raise labels.stop_loss"
    )
    (fault,) = faults_of(one_sided(direction, take_profit=2.2, enter=0.6))
    assert "; lower decision.enter to 0.53 or less or lower labels.take_profit to 1.66 or less or raise" in fault
    for mended in ({"take_profit": 2.2, "enter": 0.53}, {"take_profit": 1.66, "enter": 0.6}):
        validate_strategy(one_sided(direction, **mended))


@pytest.mark.parametrize(
    "allowed",
    [
        {"horizon": 11},  # time-outs decide, not the barriers
        {"take_profit": 1.0, "stop_loss": 3.0},
        {"take_profit": 2.0, "enter": 0.55},
        {"take_profit": 1.0, "enter": 0.9},
    ],
)
def test_a_probability_within_reach_is_not_refused(allowed):
    validate_strategy(one_sided(**allowed))
