"""Cycles that have ended, and lists in pages."""

import json
import os

import pytest

from ktrdr.artifacts.files import write_bytes_atomically
from ktrdr.database.engine import open_database
from ktrdr.operations.store import OperationStore

API = "/api/v1"
STRATEGY = """
schema: 1
name: {name}
hypothesis: An oversold RSI reverts within a day, because sellers run out.
market: {{symbols: [EURUSD], timeframe: 1h}}
indicators: {{rsi: {{type: RSI, timeperiod: 14}}}}
fuzzy_sets: {{rsi: {{input: rsi, partition: [low, middle, high]}}}}
labels: {{type: forward_return, horizon: 12}}
"""
KEY = "sk-ant-REDACTED"


def walk(client, path, what, **parameters):
    found, cursor = [], None
    while True:
        answer = client.get(f"{API}{path}", params={**parameters, **({"cursor": cursor} if cursor else {})}).json()
        assert len(answer[what]) <= parameters["limit"]
        found += answer[what]
        cursor = answer["next_cursor"]
        if cursor is None:
            return found


def test_strategies_and_markets_come_in_pages_that_hold_each_once(client, workspace):
    for number in range(7):
        folder = workspace / "strategies" / f"idea_{number}"
        folder.mkdir(parents=True)
        write_bytes_atomically(folder / "strategy.yaml", STRATEGY.format(name=folder.name).encode())
        os.utime(folder / "strategy.yaml", (1000 + number // 2, 1000 + number // 2))  # pairs of one age
    (folder / "training.json").write_text(json.dumps({"accuracy": 0.61}))
    metrics = {"sharpe_ratio": 0.4, "n_trades": 41, "max_drawdown": 0.25}
    (folder / "backtest.json").write_text(json.dumps({"metrics": metrics, "verdict": {"value": "inconclusive"}}))
    listed = walk(client, "/strategies", "strategies", limit=3)
    expected = ["idea_6", "idea_4", "idea_5", "idea_2", "idea_3", "idea_0", "idea_1"]
    assert [each["name"] for each in listed] == expected
    assert (listed[0]["verdict"], listed[0]["max_drawdown"], listed[1]["verdict"]) == ("inconclusive", 0.25, None)
    client.post(f"{API}/markets/samples")
    series = [(each["symbol"], each["timeframe"]) for each in walk(client, "/markets", "markets", limit=1)]
    assert series == [("AAPL", "1d"), ("EURUSD", "1h"), ("MSFT", "1d"), ("SPX", "1d")]
    market_cursor = client.get(f"{API}/markets", params={"limit": 1}).json()["next_cursor"]
    wrong = (("strategies", market_cursor), ("markets", "bm8="), ("strategies", "é"), ("agent/history", "x"))
    for path, cursor in wrong:
        answer = client.get(f"{API}/{path}", params={"cursor": cursor})
        assert (answer.status_code, answer.json()["reason"]) == (422, "bad_cursor")


def test_history_says_of_each_ended_cycle_how_it_ended_with_what_figures_and_at_what_cost(client, workspace):
    client.post(f"{API}/strategies", content=STRATEGY.format(name="plain_rsi").encode())
    ids = []
    for number in range(3):
        accepted = client.post(f"{API}/agent/trigger", json={"designer": "offline", "brief": f"idea {number}"})
        ids.append(accepted.json()["operation_id"])
        if number == 0:
            database = open_database(f"sqlite:///{workspace / '.ktrdr' / 'state.sqlite'}")
            found = {"strategy_name": "plain_rsi", "cost_usd": 0.0312}
            OperationStore(database, lambda: None).write_metadata(ids[0], found)
            database.close()
        if number < 2:
            client.post(f"{API}/operations/{ids[-1]}/cancel")
    newest, oldest = walk(client, "/agent/history", "cycles", limit=1)
    assert [each["operation_id"] for each in (newest, oldest)] == [ids[1], ids[0]]  # the third is active
    assert (oldest["strategy_name"], oldest["symbols"], oldest["cost_usd"]) == ("plain_rsi", ["EURUSD"], 0.0312)
    assert (newest["status"], newest["brief"], newest["model"]) == ("cancelled", "idea 1", "offline")
    assert newest["strategy_name"] is newest["verdict"] is newest["sharpe_ratio"] is None


@pytest.mark.parametrize(
    ("body", "model"),
    [
        ({}, "claude-sonnet-5-5"),
        ({"designer": "offline"}, "offline"),
        ({"designer": "offline", "model": "offline"}, "offline"),
        ({"designer": "claude"}, "claude-sonnet-5-5"),
        ({"designer": "claude", "model": "haiku"}, "claude-haiku-5-5"),
        ({"designer": "claude", "model": "offline"}, None),
        ({"designer": "offline", "model": "opus"}, None),
        ({"designer": "claude", "model": "openai:llama3.3"}, None),
    ],
)
def test_a_designer_is_who_designs_also_where_a_key_is_set(open_client, body, model):
    client = open_client(ANTHROPIC_API_KEY=KEY)
    answer = client.post(f"{API}/agent/trigger", json=body)
    schedule = client.post(f"{API}/agent/schedules", json={**body, "every": "2h"})
    if model is None:
        assert {answer.status_code, schedule.status_code} == {422}
        assert "leave one of the two out" in answer.json()["detail"]
        return
    assert schedule.json()["model"] in (model, body.get("model"), body.get("designer"), "sonnet")
    cycle = client.get(f"{API}/operations/{answer.json()['operation_id']}").json()
    assert cycle["metadata"]["model"] == model
