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
