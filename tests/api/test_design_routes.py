"""What an agent outside of any cycle needs: the catalogue, what was tried, and a way to store its design."""

import pytest

from ktrdr.indicators.catalogue import CATALOGUE

API = "/api/v1"


def _document(name="plain_rsi", *, timeperiod=14, symbol="EURUSD"):
    return {
        "schema": 1,
        "name": name,
        "hypothesis": "An oversold RSI reverts within a day, because sellers run out.",
        "market": {"symbols": [symbol], "timeframe": "1h"},
        "indicators": {"rsi": {"type": "RSI", "timeperiod": timeperiod}},
        "fuzzy_sets": {"rsi": {"input": "rsi", "partition": ["low", "middle", "high"]}},
        "labels": {"type": "forward_return", "horizon": 12},
    }


def _add(client, strategy, **more):
    return client.post(f"{API}/strategies/designs", json={"strategy": strategy, "designer": "somebody", **more})


@pytest.fixture
def sampled(client):
    client.post(f"{API}/markets/samples")
    return client


def test_catalogue_lists_every_indicator_with_the_ranges_that_the_validator_holds_to(client):
    listed = client.get(f"{API}/indicators").json()["indicators"]
    assert [each["type"] for each in listed] == list(CATALOGUE)
    for each in listed:
        for parameter in each["parameters"]:
            spoilt = _document()
            spoilt["indicators"]["rsi"] = {"type": each["type"], parameter["name"]: parameter["minimum"] - 1}
            [fault] = [
                fault
                for fault in client.post(f"{API}/strategies/validate", json=spoilt).json()["faults"]
                if fault.startswith(f"indicators.rsi.{parameter['name']}:")
            ]
            assert f"{parameter['minimum']:g}" in fault


def test_design_is_stored_with_who_made_it_and_remembered(sampled):
    stored = _add(sampled, _document(), notes="sellers run out")
    assert stored.status_code == 201, stored.text
    design = stored.json()["design"]
    assert (design["model"], design["notes"], design["operation_id"]) == ("somebody", "sellers run out", None)
    assert design["strategy_sha256"] == stored.json()["sha256"]
    grown = _add(sampled, _document("slow_rsi", timeperiod=40), parent_strategies=["plain_rsi"])
    assert grown.json()["design"]["parent_strategies"] == ["plain_rsi"]
    tried = sampled.get(f"{API}/agent/memory", params={"limit": 5}).json()["strategies"]
    assert [each["name"] for each in tried] == ["slow_rsi", "plain_rsi"]
    assert (tried[0]["indicators"], tried[0]["outcome"]) == (["RSI"], "stored, no cycle ran it")
    assert len(sampled.get(f"{API}/agent/memory", params={"limit": 1}).json()["strategies"]) == 1


@pytest.mark.parametrize(
    ("strategy", "more", "status", "reason"),
    [
        (_document("renamed"), {}, 409, "near_copy"),
        (_document(timeperiod=60), {}, 409, "name_taken"),
        (_document("elsewhere", symbol="EURUSB"), {}, 404, "unknown_market"),
        (_document("orphan", timeperiod=60), {"parent_strategies": ["never_made"]}, 404, "unknown_strategy"),
        ("schema: [", {}, 422, "strategy_invalid"),
        (_document("anonymous", timeperiod=60), {"designer": ""}, 422, "invalid_request"),
    ],
)
def test_design_that_cannot_be_kept_says_why_and_leaves_nothing(sampled, workspace, strategy, more, status, reason):
    assert _add(sampled, _document()).status_code == 201
    response = _add(sampled, strategy, **more)
    assert (response.status_code, response.json()["reason"]) == (status, reason)
    assert [path.name for path in (workspace / "strategies").iterdir()] == ["plain_rsi"]
    assert list((workspace / ".ktrdr" / "attempts").iterdir()) == []
