"""A real Prometheus, and workspaces as the journeys have them."""

import shutil
import socket
import sys
from pathlib import Path

import prometheus_server
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "journeys"))
from user_workspace import Workspace


@pytest.fixture
def start_prometheus(tmp_path_factory):
    """A function that starts a Prometheus: `start_prometheus({"ktrdr": ["127.0.0.1:8000"]}, rules=[...])`."""
    if not prometheus_server.is_installed():
        pytest.skip(prometheus_server.HOW_TO_INSTALL)
    started = []

    def start(targets, **options):
        folder = tmp_path_factory.mktemp("prometheus")
        started.append(prometheus_server.PrometheusServer(folder, targets, **options))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture(scope="session")
def sampled_data(tmp_path_factory):
    """A data folder with the samples."""
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
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
