"""What the documents show must be true of the program."""

import re
import tomllib
from pathlib import Path

from ktrdr.config import load_settings
from ktrdr.indicators.catalogue import CATALOGUE
from ktrdr.strategy.validation import parse_strategy

ROOT = Path(__file__).parents[2]


def test_the_strategy_in_the_manual_is_valid_and_every_indicator_stands_there_with_its_ranges():
    text = (ROOT / "docs" / "strategy.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    assert parse_strategy(example).name == "rsi_adx_reversion"
    rows = {cells[1].split(":")[0].strip(): cells for line in text.splitlines() if len(cells := line.split("|")) == 6}
    assert set(CATALOGUE) <= set(rows)
    for name, kind in CATALOGUE.items():
        for parameter in kind.parameters:
            shown = f"{parameter.name} {parameter.minimum:g} to {parameter.maximum:g} ({parameter.default:g})"
            assert shown in rows[name][3]


def test_the_settings_in_the_readme_are_those_that_are_read():
    named = set(re.findall(r"KTRDR_[A-Z_]+", (ROOT / "README.md").read_text()))
    read = set(re.findall(r"KTRDR_[A-Z_]+", (ROOT / "ktrdr" / "config.py").read_text()))
    assert named == read
    gates = load_settings({}).gates
    assert (gates.min_accuracy, gates.max_final_loss, gates.min_profit_factor) == (0.45, 0.8, 0.8)


def test_the_locks_name_an_exact_version_of_every_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for lock, groups in {"runtime": ["dependencies"], "dev": ["dependencies", "dev"]}.items():
        lines = (ROOT / "requirements" / f"{lock}.txt").read_text().splitlines()
        locked = {line.partition("==")[0].replace("_", "-") for line in lines if "==" in line}
        wanted = [*project["dependencies"], *(project["optional-dependencies"]["dev"] if "dev" in groups else [])]
        names = {re.split(r"[\[<>=]", requirement)[0].lower().replace("_", "-") for requirement in wanted}
        assert names <= locked
    assert "torch==2.13.0" in (ROOT / "requirements" / "runtime.txt").read_text().splitlines()
