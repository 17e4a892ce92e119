"""Quality reports, accepted findings and adjustment over HTTP."""

import json
from pathlib import Path

import ktrdr.market

API = "/api/v1"
APPLE = Path(ktrdr.market.__file__).parent / "bundled" / "AAPL_1d_raw.parquet"
STRATEGY = """
schema: 1
name: apple_rsi
hypothesis: An oversold share reverts within a week, because sellers run out.
market: {symbols: [AAPL], timeframe: 1d}
indicators: {rsi: {type: RSI, timeperiod: 14}}
fuzzy_sets: {rsi: {input: rsi, partition: [low, middle, high]}}
labels: {type: forward_return, horizon: 5}
"""


def _upload(client, path, content, filename="file.csv", **fields):
    return client.post(f"{API}{path}", files={"file": (filename, content)}, data=fields)


def _import_apple(client):
    fields = {"symbol": "AAPL", "timeframe": "1d", "calendar": "XNYS"}
    return _upload(client, "/markets/import", APPLE.read_bytes(), "apple.parquet", **fields)


def test_a_market_with_serious_findings_is_refused_until_they_are_accepted_and_the_result_says_so(client, workspace):
    series = _import_apple(client).json()["series"]
    assert (series["is_refused_for_research"], series["finding_kinds"]) == (True, ["suspected_split", "outliers"])
    [report] = client.get(f"{API}/markets/quality").json()["reports"]
    serious = [finding for finding in report["findings"] if finding["severity"] == "serious"]
    assert [(finding["kind"], finding["first"][:10]) for finding in serious] == [("suspected_split", "2000-06-21")]
    assert "ktrdr data adjust" in serious[0]["advice"]
    client.post(f"{API}/strategies", content=STRATEGY.encode(), headers={"content-type": "application/yaml"})
    refused = client.post(f"{API}/training", json={"strategy": "apple_rsi"})
    assert (refused.status_code, refused.json()["reason"]) == (409, "market_findings")
    assert "suspected_split" in refused.json()["detail"]
    triggered = client.post(f"{API}/agent/trigger", json={"strategy": "apple_rsi"})
    assert (triggered.status_code, triggered.json()) == (409, {"triggered": False, "reason": "market_findings"})
    design = {"strategy": STRATEGY.replace("apple_rsi", "apple_design"), "designer": "somebody"}
    designed = client.post(f"{API}/strategies/designs", json=design)
    assert (designed.status_code, designed.json()["reason"]) == (409, "market_findings")
    assert client.get(f"{API}/operations").json()["operations"] == []
    accepted = client.post(f"{API}/markets/aapl/1d/accept-findings").json()
    assert (accepted["accepted"], accepted["is_refused_for_research"]) == (["suspected_split"], False)
    assert client.post(f"{API}/training", json={"strategy": "apple_rsi"}).status_code == 202
    result = {"accuracy": 0.5, "snapshot": series["snapshot"]}
    (workspace / "strategies" / "apple_rsi" / "training.json").write_text(json.dumps(result))
    assert client.get(f"{API}/strategies/apple_rsi").json()["accepted_findings"] == ["suspected_split"]


def test_adjustment_makes_a_new_snapshot_that_research_may_use(client):
    raw = _import_apple(client).json()["series"]
    wrong = _upload(client, "/markets/AAPL/1d/adjust", b"date,split\n2000-06-21,3\n")
    assert (wrong.status_code, wrong.json()["reason"]) == (422, "import_refused")
    done = _upload(client, "/markets/AAPL/1d/adjust", b"date,split\n2000-06-21,2\n2005-02-28,2\n")
    assert done.status_code == 201, done.text
    assert (done.json()["change"], done.json()["series"]["is_refused_for_research"]) == ("updated", False)
    assert done.json()["series"]["snapshot"] != raw["snapshot"]


def test_quality_of_what_is_not_there_is_404_and_a_damaged_series_hides_no_other(client, workspace):
    assert client.get(f"{API}/markets/quality").json() == {"reports": []}
    _import_apple(client)
    fields = {"symbol": "OTHER", "timeframe": "1d", "calendar": "XNYS"}
    _upload(client, "/markets/import", APPLE.read_bytes(), "apple.parquet", **fields)
    for parameters in ({"symbol": "APPL"}, {"symbol": "AAPL", "timeframe": "1h"}):
        missing = client.get(f"{API}/markets/quality", params=parameters)
        assert (missing.status_code, missing.json()["reason"]) == (404, "unknown_market")
    (workspace / "data" / "AAPL" / "1d" / "series.json").write_text("{")
    listed = client.get(f"{API}/markets").json()
    assert [series["symbol"] for series in listed["markets"]] == ["OTHER"]
    [damaged] = listed["damaged"]
    assert (damaged["symbol"], damaged["timeframe"]) == ("AAPL", "1d")
    assert "import again" in damaged["message"]


def test_a_fetch_that_cannot_begin_is_refused_at_once(client):
    request = {"provider": "ccxt:kraken", "symbol": "BTC/USD", "timeframe": "1h", "start": "2024-01-01T00:00:00Z"}
    for wrong in (
        {"provider": "quandl"}, {"timeframe": "7m"}, {"end": "2023-01-01T00:00:00Z"}, {"store_as": "../x"},
        {"calendar": "MARS"}, {"start": "soon"},
    ):  # fmt: skip
        assert client.post(f"{API}/markets/fetch", json={**request, **wrong}).status_code == 422
    started = client.post(f"{API}/markets/fetch", json=request)
    assert (started.status_code, started.json()["type"]) == (202, "data_load")
    again = client.post(f"{API}/markets/fetch", json=request)
    assert (again.status_code, again.json()["reason"]) == (409, "fetch_busy")
