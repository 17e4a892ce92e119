import json
from datetime import timedelta

from agent_desk import NOW
from agent_documents import backtest_report, strategy_document, training_report

from ktrdr.agents.memory import StrategyMemory
from ktrdr.database.engine import open_database
from ktrdr.operations.operation import Operation, OperationError, OperationStatus
from ktrdr.operations.store import OperationStore, migrate_database


def cycle(strategy_name, status, *, reason=None, gates=(), hours_ago=0):
    began = NOW - timedelta(hours=hours_ago)
    return Operation(
        operation_id=f"op_agent_research_20260301_120000_{hours_ago:06x}",
        type="agent_research",
        status=status,
        parent_id=None,
        created_at=began,
        started_at=began,
        completed_at=None,
        progress=None,
        metadata={"strategy_name": strategy_name, "gates": list(gates)},
        result=None,
        error=None if reason is None else OperationError(reason, "told to people"),
    )


def store_strategies(desk, *names):
    for number, name in enumerate(names):
        executor = desk.executor(f"op_agent_design_20260301_120000_{number:06x}")
        answer = executor.execute(
            "save_strategy_config", {"strategy": strategy_document(name, timeperiod=5 + 9 * number)}
        )
        assert "saved" in answer, answer


def test_each_strategy_is_remembered_with_how_its_newest_cycle_ended_newest_first(desk):
    store_strategies(desk, "trend_one", "plain_two", "momentum_three", "breakout_four")
    desk.history.operations = [
        cycle("trend_one", OperationStatus.COMPLETED, gates=[{"gate": "backtest", "bypassed": True}], hours_ago=1),
        cycle("momentum_three", OperationStatus.CANCELLED, hours_ago=2),
        cycle(None, OperationStatus.FAILED, reason="design_failed:no_strategy", hours_ago=3),
        cycle("plain_two", OperationStatus.FAILED, reason="gate_failed:backtest:no_trades", hours_ago=4),
        *(cycle("deleted_meanwhile", OperationStatus.COMPLETED, hours_ago=5 + n) for n in range(150)),
        cycle("trend_one", OperationStatus.FAILED, reason="training_failed:too_few_bars", hours_ago=200),
    ]
    assert [(each.name, each.family, each.outcome) for each in desk.memory.recent(10)] == [
        ("breakout_four", "breakout", "stored, no cycle ran it"),
        ("momentum_three", "momentum", "cancelled"),
        ("plain_two", None, "gate_failed:backtest:no_trades"),
        ("trend_one", "trend", "completed: a gate was bypassed"),
    ]
    assert [each.name for each in desk.memory.recent(2)] == ["breakout_four", "momentum_three"]


def test_results_are_remembered_coarsely_so_that_nobody_can_climb_the_test_set(desk):
    store_strategies(desk, "trend_one")
    folder = desk.strategies.folder("trend_one")
    (folder / "training.json").write_text(training_report(accuracy=0.53471).model_dump_json())
    shown = []
    for sharpe in (0.51, 0.83, 0.99):
        (folder / "backtest.json").write_text(backtest_report(sharpe=sharpe, n_trades=64).model_dump_json())
        (only,) = desk.memory.recent(5)
        shown.append((only.sharpe_ratio, only.n_trades, only.validation_accuracy, only.symbol, only.indicators))
    assert shown == [("0.5 to 1", "30 to 100", 0.53, "EURUSD", ["RSI"])] * 3
    (folder / "backtest.json").write_text(backtest_report(sharpe=-2.4, n_trades=900).model_dump_json())
    (folder / "assessment.json").write_text(json.dumps({"judgement": "poor"}))
    (only,) = desk.memory.recent(5)
    assert (only.sharpe_ratio, only.n_trades, only.judgement) == ("below -1", "300 or more", "poor")
    (folder / "backtest.json").write_text(backtest_report(n_trades=0).model_dump_json())
    (only,) = desk.memory.recent(5)
    assert (only.sharpe_ratio, only.n_trades) == (None, "below 1")


def test_a_designer_pays_for_two_thousand_tokens_of_history_however_long_it_is(desk):
    desk.try_many(200)
    text = desk.executor().execute("get_recent_strategies", {"limit": 200})
    assert len(json.dumps(text, ensure_ascii=False).encode()) <= 7_000  # as it is sent: JSON inside JSON
    told = json.loads(text)
    assert len(told) >= 6
    assert told[0] == {
        "name": "overreaction_after_the_london_fix_199",
        "hypothesis": told[0]["hypothesis"],
        "symbol": "EURUSD",
        "timeframe": "1h",
        "indicators": ["ADX", "BBANDS", "RSI"],
        "outcome": "gate_failed:training:loss_too_high",
        "validation_accuracy": 0.53,
        "sharpe_ratio": "-1 to 0",
        "n_trades": "30 to 100",
        "judgement": "mediocre",
        "suggestions": told[0]["suggestions"],
    }
    assert told[0]["hypothesis"].startswith("Stops below recent lows")
    assert len(told[0]["suggestions"]) == 2


def test_files_spoilt_by_hand_do_not_stop_memory(desk):
    store_strategies(desk, "trend_one", "plain_two")
    (desk.strategies.folder("trend_one") / "training.json").write_text('{"accuracy": 0.')
    (desk.strategies.folder("plain_two") / "strategy.yaml").write_text("name: [")
    assert [(each.name, each.validation_accuracy) for each in desk.memory.recent(5)] == [("trend_one", None)]


def test_memory_reads_the_real_operation_store(desk):
    store_strategies(desk, "trend_one", "plain_two")
    database = open_database(f"sqlite:///{desk.workspace / 'state.sqlite'}")
    try:
        migrate_database(database)
        operations = OperationStore(database, lambda: NOW)
        for name in ("trend_one", "plain_two"):
            operation = operations.enqueue(
                "agent_research", queue="cycles", payload={}, metadata={"strategy_name": name, "gates": []}
            )
            if name == "trend_one":
                operations.cancel(operation.operation_id)
        memory = StrategyMemory(operations, desk.strategies)
        assert {each.name: each.outcome for each in memory.recent(5)} == {
            "trend_one": "cancelled",
            "plain_two": "pending",
        }
    finally:
        database.close()
