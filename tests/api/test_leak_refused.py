"""A leak is refused at every door by which a strategy comes in, with its place, and leaves nothing behind.

It cannot be written in a strategy file, so it is planted below ktrdr: in TA-Lib, whose RSI here knows the next bar.
"""

import sys
import threading
import time

import numpy as np
import pytest
import talib
import uvicorn

from ktrdr.agents.executor import ToolExecutor
from ktrdr.cli import __main__ as command_line
from ktrdr.clock import utc_now

API = "/api/v1"
STRATEGY = """
schema: 1
name: plain_rsi
hypothesis: An oversold RSI reverts within a day, because sellers run out.
market: {symbols: [SPX], timeframe: 1d}
indicators: {rsi: {type: RSI, timeperiod: 14}}
fuzzy_sets: {rsi: {input: rsi, partition: [low, middle, high]}}
labels: {type: forward_return, horizon: 12}
"""


@pytest.fixture
def leaking_rsi(monkeypatch):
    honest = talib.RSI

    def tomorrow(prices, timeperiod):
        values = honest(prices, timeperiod=timeperiod)
        return np.append(values[1:], values[-1])

    monkeypatch.setattr(talib, "RSI", tomorrow)


@pytest.fixture
def address(client):
    """Where the app answers over a real socket."""
    client.post(f"{API}/markets/samples")
    server = uvicorn.Server(uvicorn.Config(client.app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_leak_is_refused_at_every_door_with_its_place_and_nothing_is_stored_or_started(
    client, address, workspace, leaking_rsi, monkeypatch, capsys
):
    monkeypatch.setenv("KTRDR_API_URL", address)
    monkeypatch.setenv("KTRDR_WORKSPACE", str(workspace))
    file = workspace / "mine.yaml"
    file.write_text(STRATEGY)
    said = []

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["ktrdr", *map(str, arguments)])
        assert command_line.run_command() == 2
        said.append(capsys.readouterr().err)

    for path, body in (
        ("strategies", {"content": STRATEGY, "headers": {"content-type": "application/yaml"}}),
        ("strategies/designs", {"json": {"strategy": STRATEGY, "designer": "somebody"}}),
    ):
        refused = client.post(f"{API}/{path}", **body)
        assert (refused.status_code, refused.json()["reason"]) == (422, "leak_found")
        said.append(refused.json()["detail"])
    composition = client.app.state.composition
    tools = ToolExecutor(
        operation_id="op_agent_design_20260301_120000_aaaaaa",
        role="designer",
        model="offline",
        prompt_version="offline-1",
        bars=composition.bar_store,
        strategies=composition.strategy_store,
        recent=lambda limit: [],
        attempts_folder=composition.settings.attempts_folder,
        clock=utc_now,
    )
    said.append(tools.execute("save_strategy_config", {"strategy": STRATEGY}))
    assert not tools.has_saved
    command("train", file)
    assert list(workspace.glob("strategies/*")) == []

    # Put there by hand, or before its market was imported: asked again before it is used.
    by_hand = workspace / "strategies" / "plain_rsi"
    by_hand.mkdir(parents=True)
    (by_hand / "strategy.yaml").write_text(STRATEGY)
    command("train", "plain_rsi")
    command("agent", "trigger", "--strategy", "plain_rsi")

    assert len(said) == 6
    for each in said:
        assert "'plain_rsi' would know the future: feature 'rsi' at bar" in each
        assert "Nothing was stored or started." in each
    assert [path.name for path in by_hand.iterdir()] == ["strategy.yaml"]
    assert client.get(f"{API}/operations").json()["operations"] == []
    assert list((workspace / ".ktrdr" / "attempts").glob("*")) == []
