"""The deployment files, as far as they can be held to something without a Docker engine."""

import json
import re
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

from ktrdr.cli import __main__ as command_line

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def services():
    text = (ROOT / "deploy" / "compose.yaml").read_text()
    document = {key: value for key, value in yaml.safe_load(text).items() if not key.startswith("x-")}
    PyCompose.from_json(json.dumps(document))  # the whole of it against the Compose Specification
    return document["services"]


def test_compose_file_follows_the_specification_and_names_what_there_is(services):
    read = set(re.findall(r"KTRDR_[A-Z_]+", (ROOT / "ktrdr" / "config.py").read_text()))
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        assert service["healthcheck"]["test"]
        assert {name for name in service["environment"] if name.startswith("KTRDR_")} <= read
    assert services["worker"]["deploy"]["replicas"] == 2
    assert all(port.startswith("127.0.0.1:") for port in services["api"]["ports"])


def test_commands_of_the_services_are_commands_of_the_program(services, monkeypatch, capsys):
    for name in ("api", "worker"):
        monkeypatch.setattr("sys.argv", ["ktrdr", *services[name]["command"], "--help"])
        assert command_line.run_command() == 0
        options = [word for word in services[name]["command"] if word.startswith("--")]
        shown = capsys.readouterr().out
        assert all(option in shown for option in options)


def test_image_is_made_of_files_that_the_context_holds_and_runs_as_a_normal_user():
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source for line in lines if line.startswith("COPY ") for source in line.split()[1:-1]}
    assert copied == kept
    assert all((ROOT / source).exists() for source in copied)
    assert [line for line in lines if line.startswith("USER ")] == ["USER ktrdr"]
