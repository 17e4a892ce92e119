import pytest
from laboratory import Laboratory


@pytest.fixture
def laboratory(tmp_path):
    laboratory = Laboratory(tmp_path)
    yield laboratory
    laboratory.close()
