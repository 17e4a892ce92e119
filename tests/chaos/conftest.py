"""What every siege begins with."""

import sys
from pathlib import Path

import pytest

from ktrdr.market.samples import install_samples
from ktrdr.market.store import BarStore

sys.path.insert(0, str(Path(__file__).parent.parent / "journeys"))


@pytest.fixture(scope="session")
def stored_samples(tmp_path_factory):
    """A data folder with the samples."""
    folder = tmp_path_factory.mktemp("stored") / "data"
    install_samples(BarStore(folder))
    return folder
