"""A user's own strategy: the file in the manual, validated, trained, backtested and looked at."""

import json
import re
from pathlib import Path

import polars as pl

MANUAL = Path(__file__).parents[2] / "docs" / "strategy.md"


def test_the_strategy_in_the_manual_is_trained_and_backtested(workspace):
    (text,) = re.findall(r"```yaml\n(.*?)```", MANUAL.read_text(), flags=re.DOTALL)
    file = workspace.folder / "mine.yaml"
    file.write_text(text)
    assert "valid" in workspace.run("strategies", "validate", str(file)).stdout
    training = workspace.json("train", str(file), "--seed", "5")
    assert (training["type"], training["status"], training["parent_id"]) == ("training", "completed", None)
    backtest = workspace.json("backtest", "rsi_adx_reversion")
    folder = workspace.folder / "strategies" / "rsi_adx_reversion"
    assert backtest["result"]["metrics"] == json.loads((folder / "backtest.json").read_text())["metrics"]
    detail = workspace.json("strategies", "show", "rsi_adx_reversion")
    assert detail["n_trials"] == 2  # a training, and a backtest outside a cycle
    file.write_text(text.replace("timeperiod: 14", "timeperiod: 15"))
    assert "rsi_adx_reversion" in workspace.run("train", str(file), expect=1).stderr
    assert training["result"]["snapshot"] == json.loads((folder / "training.json").read_text())["snapshot"]


def test_two_symbols_go_through_a_cycle_and_a_changed_strategy_is_not_backtested(workspace):
    (text,) = re.findall(r"```yaml\n(.*?)```", MANUAL.read_text(), flags=re.DOTALL)
    text = re.sub(r"market: .*", "market: {symbols: [MSFT, AAPL], timeframe: 1d}", text)
    text = re.sub(r"epochs: \d+", "epochs: 5", re.sub(r" +rsi_4h:.*\n", "", text))
    folder = workspace.folder / "strategies" / "rsi_adx_reversion"
    folder.mkdir(parents=True)
    (folder / "strategy.yaml").write_text(text)
    cycle = workspace.json("agent", "trigger", "--strategy", "rsi_adx_reversion", "--bypass-gates")
    assert cycle["status"] == "completed"
    document = json.loads((folder / "backtest.json").read_text())
    assert [each["symbol"] for each in document["symbols"]] == ["AAPL", "MSFT"]
    trades = pl.read_parquet(folder / "trades.parquet")
    equity = pl.read_parquet(folder / "equity.parquet")
    assert round(trades["net"].sum(), 2) == round(equity["equity"][-1] - 100_000, 2)
    assert trades["symbol"].value_counts().height == 2
    assert "Fold 5, MSFT" in (folder / "report.html").read_text()
    (folder / "strategy.yaml").write_text(text.replace("0.55", "0.60"))
    refused = workspace.json("backtest", "rsi_adx_reversion", expect=1)
    assert refused["error"]["reason"] == "strategy_changed"
