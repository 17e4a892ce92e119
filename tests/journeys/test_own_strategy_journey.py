"""A user's own strategy: the file in the manual, validated, trained, backtested and looked at."""

import json
import re
from pathlib import Path

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


def test_a_strategy_changed_after_its_training_is_not_backtested(workspace):
    (text,) = re.findall(r"```yaml\n(.*?)```", MANUAL.read_text(), flags=re.DOTALL)
    file = workspace.folder / "mine.yaml"
    file.write_text(text)
    workspace.run("train", str(file))
    stored = workspace.folder / "strategies" / "rsi_adx_reversion" / "strategy.yaml"
    stored.write_text(stored.read_text().replace("0.55", "0.60"))
    refused = workspace.json("backtest", "rsi_adx_reversion", expect=1)
    assert refused["error"]["reason"] == "strategy_changed"
    assert not (stored.parent / "backtest.json").exists()
