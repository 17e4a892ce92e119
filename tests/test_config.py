"""Settings come from the environment, and a value that cannot be used is named."""

from dataclasses import asdict

import pytest

from ktrdr.config import load_settings
from ktrdr.database.engine import open_database
from ktrdr.errors import InvalidInput
from ktrdr.operations.store import migrate_database

VALUES = {
    "KTRDR_WORKSPACE": "/elsewhere",
    "KTRDR_DATABASE_URL": "postgresql+psycopg://host/name",
    "KTRDR_API_URL": "http://127.0.0.1:9000/",
    "KTRDR_GATE_PROFILE": "strict",
    "KTRDR_GATE_MIN_ACCURACY": "0.46",
    "KTRDR_GATE_MAX_FINAL_LOSS": "0.7",
    "KTRDR_GATE_MIN_PROFIT_FACTOR": "0.9",
    "KTRDR_GATE_MAX_DRAWDOWN": "0.3",
    "KTRDR_GATE_MIN_SHARPE_RATIO": "0.1",
    "KTRDR_AGENT_MAX_CONCURRENT_CYCLES": "2",
    "KTRDR_SWEEP_MAX_VARIANTS": "50",
    "KTRDR_TRAINING_START_TIMEOUT_S": "5",
    "KTRDR_DEVICE": "cpu",
}


@pytest.mark.parametrize("name", VALUES)
def test_every_variable_changes_a_setting(name):
    assert asdict(load_settings({name: VALUES[name]})) != asdict(load_settings({}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KTRDR_GATE_MAX_DRAWDOWN", "forty"),
        ("KTRDR_GATE_MIN_ACCURACY", "nan"),
        ("KTRDR_GATE_PROFILE", "lenient"),
        ("KTRDR_AGENT_MAX_CONCURRENT_CYCLES", "0"),
        ("KTRDR_TRAINING_START_TIMEOUT_S", "-1"),
        ("KTRDR_DEVICE", "gpu"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(name, value):
    with pytest.raises(InvalidInput, match=f"{name}.*{value}"):
        load_settings({name: value})


@pytest.mark.parametrize("name", ["we?ird", "per%20cent", "per cent", "hash#tag", "café"])
def test_a_workspace_of_any_name_has_its_database_inside(tmp_path, name):
    settings = load_settings({"KTRDR_WORKSPACE": str(tmp_path / name)})
    database = open_database(settings.database_url)
    migrate_database(database)
    database.close()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / ".ktrdr" / "state.sqlite").stat().st_size > 0
