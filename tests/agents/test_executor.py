import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
from agent_documents import gate, strategy_document, subject

from ktrdr.agents.task import AgentResult
from ktrdr.errors import Conflict, WorkspaceUnusable
from ktrdr.indicators.catalogue import CATALOGUE
from ktrdr.market.store import BarStore
from ktrdr.strategy.validation import validate_strategy

OTHER_OPERATION = "op_agent_design_20260301_130000_bbbbbb"
OPINION = {"judgement": "mediocre", "strengths": ["steady"], "weaknesses": ["few trades"], "suggestions": []}


def save(executor, document, **more):
    return executor.execute("save_strategy_config", {"strategy": document, **more})


def test_markets_are_listed_by_their_research_bars_and_betray_no_sealed_one(desk):
    text = desk.executor().execute("list_markets", {})
    listed = {(each["symbol"], each["timeframe"]): each for each in json.loads(text)}
    stored = {(each.symbol, each.timeframe): each for each in desk.bars.list_series()}
    assert listed.keys() == stored.keys()
    assert "seal" not in text
    for key, info in stored.items():
        assert listed[key]["n_bars"] == len(desk.bars.load_research(*key))
        days = re.findall(r"\d{4}-\d\d-\d\d", json.dumps(listed[key]))
        assert len(days) == 2
        assert all(datetime.fromisoformat(day).date() < info.sealed_from.date() for day in days)
    assert listed["EURUSD", "1h"]["round_trip_cost_bps"] == pytest.approx(2 * (0.2 + 0.5 + 0.5))


def test_every_indicator_that_is_listed_makes_a_valid_strategy_with_its_defaults(desk):
    executor = desk.executor()
    listed = json.loads(executor.execute("list_indicators", {}))
    assert {each["type"] for each in listed} == set(CATALOGUE)
    for number, each in enumerate(listed):
        document = strategy_document(f"listed_{number}")
        reference = "x" if len(each["outputs"]) == 1 else f"x.{each['outputs'][-1]}"
        variable = {"input": reference, "partition": ["low", "high"]}
        document["indicators"] = {"x": {"type": each["type"]}}
        document["fuzzy_sets"] = {"x": variable | ({"relative_to": "close"} if each["needs_relative_to"] else {})}
        assert json.loads(executor.execute("validate_strategy", {"strategy": document}))["valid"], each


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("delete_everything", {}, r"'delete_everything' is no tool of the designer; there are list_indicators, list_m"),
        ("save_assessment", OPINION, r"'save_assessment' is no tool of the designer"),
        ("get_recent_strategies", {"limit": 0}, r"wrong arguments:\nlimit: Input should be greater than or equal to 1"),
        ("get_recent_strategies", {"last": 3}, r"last: Extra inputs are not permitted"),
        ("save_strategy_config", {}, r"strategy: Field required"),
        ("save_strategy_config", {"strategy": "a: [1"}, r"document: not valid YAML, line \d"),
        (
            "validate_strategy",
            {"strategy": {"schema": 1, "start": "2020"}},
            r"name: missing.*\n(.*\n)*start: unknown field",
        ),
        ("save_strategy_config", {"strategy": strategy_document(symbol="EURUSB")}, r"did you mean 'EURUSD'\?"),
        ("save_strategy_config", {"strategy": strategy_document(timeframe="4h")}, r"no bars of 'EURUSD' 4h"),
        (
            "save_strategy_config",
            {"strategy": strategy_document(), "parent_strategies": ["never_made"]},
            r"no strategy 'never_made'",
        ),
    ],
)
def test_a_mistake_comes_back_as_text_to_act_on_and_leaves_nothing_behind(desk, tool, arguments, told):
    executor = desk.executor()
    answer = executor.execute(tool, arguments)
    assert answer.startswith("error: ")
    assert re.search(told, answer), answer
    assert "Traceback" not in answer
    assert executor.saved_strategy is None
    assert desk.files() == []


def test_an_indicator_of_volume_is_refused_on_a_market_without_volume(desk):
    document = strategy_document(symbol="NOVOLUME")
    document["indicators"]["rsi"] = {"type": "MFI"}
    answer = save(desk.executor(), document)
    assert answer == "error: indicators.rsi: MFI needs volume, which NOVOLUME 1h has not"


def test_a_saved_strategy_appears_whole_with_who_made_it(desk):
    executor = desk.executor()
    assert json.loads(save(executor, strategy_document("first_idea")))["saved"] == "first_idea"
    assert executor.saved_strategy == "first_idea"
    grown = desk.executor(OTHER_OPERATION)
    save(grown, strategy_document("second_idea", timeperiod=30), parent_strategies=["first_idea"], notes="slower")
    assert desk.strategies.read("second_idea") == validate_strategy(strategy_document("second_idea", timeperiod=30))
    assert desk.strategies.read_json("second_idea", "design.json") == {
        "model": "offline",
        "prompt_version": "offline-1",
        **dict.fromkeys(("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cost_usd")),
        "parent_strategies": ["first_idea"],
        "notes": "slower",
        "strategy_sha256": desk.strategies.read("second_idea").sha256(),
        "operation_id": OTHER_OPERATION,
        "after_exam": False,
        "created_at": "2026-03-01T12:00:00Z",
    }
    assert desk.files() == [
        f"strategies/{name}/{file}"
        for name in ("first_idea", "second_idea")
        for file in ("design.json", "strategy.yaml")
    ]


def test_a_replay_after_a_crash_finds_what_it_had_saved_and_saves_nothing_twice(desk):
    save(desk.executor(), strategy_document("first_idea"))
    before = desk.files()
    replay = desk.executor()
    assert replay.saved_strategy == "first_idea"
    answer = json.loads(save(replay, strategy_document("second_idea", timeperiod=50)))
    assert answer == {"saved": "first_idea", "already_saved": True}
    assert desk.files() == before
    assert desk.executor(OTHER_OPERATION).saved_strategy is None


def test_what_a_killed_attempt_left_never_becomes_part_of_a_strategy(desk):
    leftover = desk.attempts / "op_agent_design_20260301_120000_aaaaaa_strategy_1"
    leftover.mkdir(parents=True)
    (leftover / "strategy.yaml.part").write_text("half")
    save(desk.executor(), strategy_document("first_idea"))
    stored = [name for name in desk.files() if not name.startswith(".ktrdr/")]
    assert stored == ["strategies/first_idea/design.json", "strategies/first_idea/strategy.yaml"]
    assert [folder.name for folder in desk.attempts.iterdir()] == [leftover.name]


def test_a_near_copy_and_a_taken_name_are_refused_by_name(desk):
    save(desk.executor(), strategy_document("first_idea", timeperiod=60))
    before = desk.files()
    second = desk.executor(OTHER_OPERATION)
    assert "near-copy of 'first_idea'" in save(second, strategy_document("second_idea", timeperiod=61))
    assert "'first_idea' is taken" in save(second, strategy_document("first_idea", timeperiod=20))
    assert desk.files() == before
    assert second.saved_strategy is None
    assert json.loads(save(second, strategy_document("second_idea", timeperiod=20)))["saved"] == "second_idea"


def test_of_many_runs_that_want_one_name_at_once_exactly_one_gets_it(desk):
    executors = [desk.executor(f"op_agent_design_20260301_120000_{n:06x}") for n in range(12)]
    documents = [strategy_document("wanted_by_all", timeperiod=2 + 8 * n) for n in range(12)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(save, executors, documents))
    winners = [executor for executor in executors if executor.saved_strategy is not None]
    assert len(winners) == 1
    assert sum("is taken" in answer for answer in answers) == 11
    won = desk.strategies.read("wanted_by_all")
    assert won == validate_strategy(documents[executors.index(winners[0])])
    assert len(desk.files()) == 2


def test_a_disk_that_fails_ends_the_run_instead_of_being_told_to_the_agent(desk):
    (desk.workspace / "file").write_text("in the way")
    executor = desk.executor(attempts=desk.workspace / "file" / "attempts")
    with pytest.raises(WorkspaceUnusable, match="cannot write"):
        save(executor, strategy_document())
    (desk.workspace / "data").write_text("not a folder")
    with pytest.raises(WorkspaceUnusable):
        desk.executor(bars=BarStore(desk.workspace / "data")).execute("list_markets", {})


def test_the_cost_of_the_run_is_recorded_with_the_strategy_it_saved(desk):
    executor = desk.executor()
    result = AgentResult(True, "saved", 4, 1200, 340, 800, 90, 0.0123, 6.5, "offline", "offline-1")
    with pytest.raises(Conflict, match="nothing was saved"):
        executor.record_result(result)
    save(executor, strategy_document("first_idea"))
    before = desk.strategies.read_json("first_idea", "design.json")
    executor.record_result(result)
    usage = {"input_tokens": 1200, "output_tokens": 340, "cache_read_tokens": 800, "cache_write_tokens": 90}
    assert desk.strategies.read_json("first_idea", "design.json") == before | usage | {"cost_usd": 0.0123}


def test_an_assessment_holds_the_measured_figures_whatever_the_assessor_says(desk):
    save(desk.executor(), strategy_document("first_idea"))
    gates = (gate("training"), gate("backtest", passed=False, reason="sharpe_below_threshold", bypassed=True))
    judged = subject(name="first_idea", gates=gates)
    executor = desk.executor(OTHER_OPERATION, role="assessor", subject=judged)
    for forged in ({"verdict": "candidate"}, {"metrics": {"sharpe_ratio": 9}}, {"gates": []}, {"model": "opus"}):
        assert "Extra inputs are not permitted" in executor.execute("save_assessment", OPINION | forged)
    assert "is no tool of the assessor" in executor.execute("list_markets", {})
    executor.execute("save_assessment", OPINION)
    stored = desk.strategies.read_json("first_idea", "assessment.json")
    metrics = judged.backtest.metrics.model_dump(mode="json")
    assert stored == OPINION | {
        "strategy_name": "first_idea",
        "verdict": judged.backtest.verdict.model_dump(mode="json"),
        "metrics": {"accuracy": 0.53, "final_loss": 0.69, **metrics},
        "gates": list(gates),
        "model": "offline",
        "operation_id": OTHER_OPERATION,
        "created_at": "2026-03-01T12:00:00Z",
        **dict.fromkeys(["input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cost_usd"]),
    }

    replay = desk.executor(OTHER_OPERATION, role="assessor", subject=judged)
    assert replay.saved_assessment == executor.saved_assessment
    replay.execute("save_assessment", OPINION | {"judgement": "promising"})
    assert desk.strategies.read_json("first_idea", "assessment.json") == stored
    again = desk.executor("op_agent_assessment_20260302_120000_cccccc", role="assessor", subject=judged)
    assert again.saved_assessment is None
    again.execute("save_assessment", OPINION | {"judgement": "poor"})
    assert desk.strategies.read_json("first_idea", "assessment.json")["judgement"] == "poor"
