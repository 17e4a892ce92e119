"""`ktrdr data fetch` as a user runs it, against a local server in the exchange's place."""

from datetime import UTC, datetime, timedelta

import pytest
from fakes.market_server import HOUR, MarketServer


@pytest.fixture
def server():
    now_s = int(datetime.now(UTC).timestamp())
    server = MarketServer(first_s=now_s - 9000 * HOUR, now_s=now_s)
    yield server
    server.close()


def test_bars_are_fetched_imported_and_fetched_on(empty_workspace, server, free_port):
    workspace = empty_workspace
    workspace.environment["KTRDR_FETCH_URL"] = server.url
    workspace.serve(free_port)
    start = f"{datetime.now(UTC) - timedelta(days=120):%Y-%m-%d}"
    fetch = ("data", "fetch", "ccxt:bitstamp", "BTC/USD", "--timeframe", "1h", "--start", start)
    first = workspace.run(*fetch, "--end", f"{datetime.now(UTC) - timedelta(days=2):%Y-%m-%d}")
    assert "created: BTCUSD 1h" in first.stdout
    assert "data_load op_data_load_" in first.stderr
    ended = workspace.json(*fetch)
    assert (ended["status"], ended["result"]["change"]) == ("completed", "updated")
    again = workspace.json(*fetch)
    assert again["result"]["change"] == "unchanged"
    [series] = workspace.json("data", "list")["markets"]
    assert (series["symbol"], series["calendar"], series["is_refused_for_research"]) == ("BTCUSD", "24x7", False)
    assert series["source"].startswith("ccxt ")
    [report] = workspace.json("data", "check", "btc/usd", "1h")["reports"]
    assert report["missing"] == 0
    assert not list((workspace.folder / ".ktrdr" / "attempts").glob("*"))
    refused = workspace.run("data", "fetch", "quandl", "X", "--timeframe", "1h", "--start", start, expect=2)
    assert "need a provider yfinance or ccxt:EXCHANGE" in refused.stderr
    unknown = workspace.run(*[*fetch[:3], "BTC/XYZ", *fetch[4:]], expect=1)
    assert "invalid_input" in unknown.stdout
    assert "has no symbol 'BTC/XYZ'; it has BTC/USD" in unknown.stdout


def test_a_cancelled_fetch_is_resumed_from_the_page_that_it_lacked(empty_workspace, server, free_port):
    workspace = empty_workspace
    workspace.environment["KTRDR_FETCH_URL"] = server.url
    workspace.serve(free_port)
    server.dies_after = 2
    start = f"{datetime.now(UTC) - timedelta(days=120):%Y-%m-%d}"
    fetch = ("data", "fetch", "ccxt:bitstamp", "BTC/USD", "--timeframe", "1h", "--start", start)
    operation_id = workspace.json(*fetch, "--detach")["operation_id"]
    workspace.wait_for(lambda: len(server.asked) > 2)
    busy = workspace.json(*fetch, "--detach", expect=1)
    assert (busy["reason"], busy["operation_id"]) == ("fetch_busy", operation_id)
    workspace.run("operations", "cancel", operation_id)
    workspace.wait_for(lambda: not workspace.job_pids("data_load"), timeout_s=5)
    lacked, server.dies_after = server.asked[2], None
    server.asked.clear()
    ended = workspace.json("operations", "resume", operation_id)
    assert (ended["status"], ended["result"]["change"]) == ("completed", "created")
    assert server.asked == [lacked]
    assert [(each["reason"], each["by"]) for each in ended["metadata"]["attempts"]] == [("cancelled", "resume")]
    assert not list((workspace.folder / ".ktrdr" / "attempts").glob("*"))
