"""Dashboards, rules and alerts: made by the script, sound by Prometheus' own tool, referring to what there is."""

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from ktrdr.cli import __main__ as command_line

DEPLOY = Path(__file__).parents[2] / "deploy"
GRAFANA, PROMETHEUS = DEPLOY / "grafana", DEPLOY / "prometheus"


def read(path):
    return yaml.safe_load(path.read_text())


@pytest.fixture(scope="module")
def made():
    description = importlib.util.spec_from_file_location("make_dashboards", GRAFANA / "make_dashboards.py")
    script = importlib.util.module_from_spec(description)
    description.loader.exec_module(script)
    return script.make_files()


def promtool(*arguments):
    if shutil.which("promtool") is None:
        pytest.skip("no promtool on the PATH: apt-get install prometheus")
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_committed_files_are_what_the_script_makes(made):
    for place, text in made.items():
        assert (GRAFANA / place).read_text() == text, f"{place} is stale or was edited: run `make dashboards`"
    assert {path.name for path in GRAFANA.glob("dashboards/*")} == {p.name for p in made if p.suffix == ".json"}


def test_dashboards_are_documents_of_grafanas_model_and_overlap_nowhere(made):
    register_default_plugins()
    for place in (place for place in made if place.suffix == ".json"):
        document = json.loads(made[place])
        again = json.dumps(Dashboard.from_json(document), cls=JSONEncoder, sort_keys=True)
        assert json.loads(again) == document  # Grafana's model knows every key, and nothing is lost
        assert "null" not in made[place]
        cells = [
            (box["x"] + dx, box["y"] + dy)
            for box in (panel["gridPos"] for panel in document["panels"])
            for dx in range(box["w"])
            for dy in range(box["h"])
        ]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < 24
        assert all(panel["description"] and panel["targets"] for panel in document["panels"])
        documented = (DEPLOY.parent / "docs" / "observability.md").read_text()
        assert not [panel["title"] for panel in document["panels"] if f"| {panel['title']} |" not in documented]


def test_every_reference_to_a_datasource_resolves(made):
    known = {each["uid"] for each in read(GRAFANA / "provisioning/datasources/datasources.yaml")["datasources"]}
    used = {uid for text in made.values() for uid in re.findall(r'"uid": "([^"]+)"\n\s+\}', text)}
    alerts = yaml.safe_load(made[Path("provisioning/alerting/alerts.yaml")])
    asked = {query["datasourceUid"] for rule in alerts["groups"][0]["rules"] for query in rule["data"]}
    assert used == {"ktrdr-prometheus"} == asked - {"__expr__"}
    assert used <= known
    mounts = read(DEPLOY / "compose.observability.yaml")["services"]["grafana"]["volumes"]
    (provider,) = read(GRAFANA / "provisioning/dashboards/dashboards.yaml")["providers"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in mounts


def test_every_alert_says_what_to_do_with_commands_that_exist(monkeypatch, capsys):
    rules = [rule for group in read(PROMETHEUS / "alerts.yml")["groups"] for rule in group["rules"]]
    tested = (PROMETHEUS / "alerts_test.yml").read_text()
    for rule in rules:
        assert f'alertname="{rule["alert"]}"' in tested
        assert "$value" not in str(rule["annotations"])  # Grafana has another
        commands = set(re.findall(r"`ktrdr ([^`]+)`", rule["annotations"]["action"]))
        assert commands, rule["alert"]
        for command in commands:
            words = [word for word in command.split() if word != "ID"]
            monkeypatch.setattr("sys.argv", ["ktrdr", *words, "--help"])
            assert command_line.run_command() == 0, command
    capsys.readouterr()


def test_promtool_accepts_configuration_and_rules_and_the_alerts_pass_their_tests(tmp_path):
    shutil.copytree(PROMETHEUS, tmp_path, dirs_exist_ok=True)
    (tmp_path / "token").touch()
    configuration = tmp_path / "prometheus.yml"
    configuration.write_text(configuration.read_text().replace("/tmp/ktrdr_token", "token"))
    promtool("check", "config", configuration)  # and the rules that it names
    promtool("test", "rules", tmp_path / "alerts_test.yml")


def test_compose_file_follows_the_specification_pins_versions_and_opens_loopback_only():
    document = read(DEPLOY / "compose.observability.yaml")
    PyCompose.from_json(json.dumps(document))
    services = document["services"]
    assert set(services) == {"prometheus", "grafana", "jaeger"}
    for service in services.values():
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", service["image"])
        for source in (volume.split(":")[0] for volume in service.get("volumes", [])):
            assert (DEPLOY / source).is_dir() if source.startswith(".") else source in document["volumes"]
    (script,) = services["prometheus"]["command"]
    assert "--web.listen-address=127.0.0.1:9090" in script
    assert "/tmp/ktrdr_token" in script  # where prometheus.yml looks
    assert services["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert all(port.startswith("127.0.0.1:") for port in services["jaeger"]["ports"])
