import os

import pytest
from strategy_documents import example_document

from ktrdr.errors import InvalidInput, NotFound, StrategyInvalid
from ktrdr.strategy.store import StrategyStore
from ktrdr.strategy.validation import to_yaml, validate_strategy


def keep(root, document, *, at=0):
    """Store a strategy as the design phase leaves it, `at` seconds after the first."""
    folder = root / document["name"]
    folder.mkdir(parents=True)
    path = folder / "strategy.yaml"
    path.write_text(to_yaml(validate_strategy(document)))
    os.utime(path, (1_700_000_000 + at,) * 2)
    return folder


def test_an_empty_or_absent_folder_holds_no_strategies(tmp_path):
    store = StrategyStore(tmp_path / "absent")
    assert store.names() == []
    assert not store.exists("anything")
    assert store.find_near_copy(validate_strategy(example_document())) is None


def test_names_come_oldest_first_and_folders_without_a_strategy_are_none(tmp_path):
    for name, at in [("third", 3), ("first", 1), ("second", 2)]:
        keep(tmp_path, example_document() | {"name": name}, at=at)
    (tmp_path / "half_written").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "strategy.yaml").write_text("x")
    store = StrategyStore(tmp_path)
    assert store.names() == ["first", "second", "third"]
    assert store.read("second").name == "second"
    assert not store.exists("half_written")


def test_an_unknown_name_is_answered_with_the_closest_one(tmp_path):
    keep(tmp_path, example_document())
    with pytest.raises(NotFound, match="did you mean 'rsi_adx_reversion'"):
        StrategyStore(tmp_path).read("rsi_adx_revresion")


@pytest.mark.parametrize("name", ["../secret", "a/b", "..", "", "name\n", "Ünïcode", "a\x00b", "x" * 65])
def test_a_name_can_never_leave_the_folder(tmp_path, name):
    store = StrategyStore(tmp_path / "strategies")
    for door in (store.folder, store.exists, store.read, store.text, lambda n: store.read_json(n, "a.json")):
        with pytest.raises(InvalidInput, match="is no strategy name"):
            door(name)


def test_documents_beside_a_strategy_are_read_absent_or_refused(tmp_path):
    folder = keep(tmp_path, example_document())
    store = StrategyStore(tmp_path)
    (folder / "training.json").write_text('{"accuracy": 0.53}')
    (folder / "backtest.json").write_text('{"metrics": ')
    assert store.read_json(folder.name, "training.json") == {"accuracy": 0.53}
    assert store.read_json(folder.name, "assessment.json") is None
    with pytest.raises(StrategyInvalid, match="holds no JSON object"):
        store.read_json(folder.name, "backtest.json")
    with pytest.raises(InvalidInput):
        store.read_json(folder.name, "../../state.sqlite")


def test_a_strategy_spoilt_by_hand_is_told_apart_from_one_that_is_missing(tmp_path):
    folder = keep(tmp_path, example_document())
    (tmp_path / "renamed_folder").mkdir()
    (folder / "strategy.yaml").rename(tmp_path / "renamed_folder" / "strategy.yaml")
    with pytest.raises(StrategyInvalid, match="'rsi_adx_reversion' lies in the folder 'renamed_folder'"):
        StrategyStore(tmp_path).read("renamed_folder")
    (tmp_path / "renamed_folder" / "strategy.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StrategyInvalid, match="not UTF-8"):
        StrategyStore(tmp_path).read("renamed_folder")
    assert StrategyStore(tmp_path).find_near_copy(validate_strategy(example_document())) is None


def renamed_throughout():
    document = example_document() | {"name": "another_name", "hypothesis": "The same idea in other words."}
    document["indicators"] = {f"my_{name}": raw for name, raw in reversed(document["indicators"].items())}
    document["fuzzy_sets"] = {
        f"other_{name}": raw | {"input": f"my_{raw['input']}"} for name, raw in reversed(document["fuzzy_sets"].items())
    }
    document["fuzzy_sets"]["other_trend"]["partition"] = ["flat", "some", "much"]
    return document


def test_a_near_copy_is_found_behind_other_names_and_slightly_other_numbers(tmp_path):
    keep(tmp_path, example_document())
    store = StrategyStore(tmp_path)
    copy = renamed_throughout()
    copy["fuzzy_sets"]["other_rsi"]["sets"]["neutral"]["points"] = [30.5, 50, 69]
    copy["decision"]["enter"] = 0.56
    assert store.find_near_copy(validate_strategy(copy)) == "rsi_adx_reversion"
    assert store.find_near_copy(validate_strategy(example_document())) is None  # itself is no copy of itself


@pytest.mark.parametrize(
    ("part", "raw"),
    [
        ("market", {"symbols": ["GBPUSD"], "timeframe": "1h"}),
        ("market", {"symbols": ["EURUSD"], "timeframe": "4h"}),
        ("labels", {"type": "triple_barrier", "horizon": 48, "take_profit": 1.5, "stop_loss": 1.5}),
        ("labels", {"type": "forward_return", "horizon": 24}),
        ("risk", {"stop_loss": 2.0, "take_profit": 4.0}),
        ("decision", {"enter": 0.65}),
    ],
)
def test_another_market_label_risk_or_threshold_is_another_strategy(tmp_path, part, raw):
    keep(tmp_path, example_document())
    assert StrategyStore(tmp_path).find_near_copy(validate_strategy(renamed_throughout() | {part: raw})) is None


def test_another_indicator_period_or_reference_is_another_strategy(tmp_path):
    keep(tmp_path, example_document())
    store = StrategyStore(tmp_path)
    for change in (
        lambda d: d["indicators"]["my_rsi"].update(timeperiod=21),
        lambda d: d["indicators"]["my_rsi"].update(type="CMO"),
        lambda d: d["fuzzy_sets"]["other_place"].update(input="my_bands.upperband"),
        lambda d: d["fuzzy_sets"]["other_place"].update(relative_to="open"),
        lambda d: d["fuzzy_sets"]["other_trend"].update(partition=["low", "high"]),
    ):
        document = renamed_throughout()
        change(document)
        assert store.find_near_copy(validate_strategy(document)) is None
