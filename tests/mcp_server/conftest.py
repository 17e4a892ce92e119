"""Workspaces with the samples, served by the real command."""

import asyncio
import os
import shutil
import signal

import pytest
from mcp_processes import Laboratory

from ktrdr.market.samples import install_samples
from ktrdr.market.store import BarStore


@pytest.fixture(scope="session")
def sampled_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples") / "data"
    install_samples(BarStore(folder))
    return folder


@pytest.fixture
def laboratory(tmp_path, sampled_data):
    shutil.copytree(sampled_data, tmp_path / "workspace" / "data")
    laboratory = Laboratory(tmp_path)
    yield laboratory
    for pid in laboratory.processes():
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def run():
    """Run a coroutine, for two minutes at most."""

    def run_bounded(coroutine):
        return asyncio.run(asyncio.wait_for(coroutine, 120))

    return run_bounded
