"""Workspaces with and without data, for all journeys."""

import shutil
import socket

import pytest
from user_workspace import Workspace


@pytest.fixture(scope="session")
def sampled_data(tmp_path_factory):
    """A data folder with the samples, installed once by the command."""
    workspace = Workspace(tmp_path_factory.mktemp("samples"))
    workspace.run("data", "samples")
    return workspace.folder / "data"


@pytest.fixture
def workspace(tmp_path, sampled_data):
    """A fresh workspace with the samples."""
    shutil.copytree(sampled_data, tmp_path / "data")
    workspace = Workspace(tmp_path)
    yield workspace
    workspace.close()


@pytest.fixture
def slow_workspace(workspace):
    """A workspace whose only strategy trains for some seconds, so that there is time to interrupt it."""
    text = """
schema: 1
name: slow_spx_trend
hypothesis: A slow training, for tests that interrupt it.
market: {symbols: [SPX], timeframe: 1d}
indicators: {rsi: {type: RSI, timeperiod: 14}, roc: {type: ROC, timeperiod: 20}}
fuzzy_sets:
  rsi: {input: rsi, partition: [low, middle, high]}
  roc: {input: roc, partition: [falling, flat, rising]}
labels: {type: forward_return, horizon: 5}
model: {type: mlp, hidden: [64, 64]}
training: {epochs: 120, patience: 120, batch_size: 128, seeds: 3}
"""
    folder = workspace.folder / "strategies" / "slow_spx_trend"
    folder.mkdir(parents=True)
    (folder / "strategy.yaml").write_text(text)
    return workspace


@pytest.fixture
def empty_workspace(tmp_path):
    """A fresh workspace with nothing in it."""
    workspace = Workspace(tmp_path)
    yield workspace
    workspace.close()


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
