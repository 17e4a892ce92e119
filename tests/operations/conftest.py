"""Laboratories of toy operations."""

import pytest
from laboratory import Laboratory


@pytest.fixture
def laboratory(tmp_path):
    laboratory = Laboratory(tmp_path, f"sqlite:///{tmp_path / 'state.sqlite'}")
    yield laboratory
    laboratory.close()


@pytest.fixture
def any_laboratory(tmp_path, database_url):
    """On SQLite and on PostgreSQL, one after the other."""
    laboratory = Laboratory(tmp_path, database_url)
    yield laboratory
    laboratory.close()
