import os

import pytest

from ktrdr.cli.workspace_option import take_workspace
from ktrdr.errors import InvalidInput


@pytest.mark.parametrize(
    "arguments",
    [
        ["--workspace", "w", "agent", "status"],
        ["agent", "status", "--workspace", "w"],
        ["agent", "--workspace=w", "status"],
    ],
)
def test_workspace_may_be_named_anywhere_and_reaches_every_process(arguments, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KTRDR_WORKSPACE", "elsewhere")
    assert take_workspace(arguments) == ["agent", "status"]
    assert os.environ["KTRDR_WORKSPACE"] == str(tmp_path / "w")


def test_arguments_after_a_double_dash_are_left_alone(monkeypatch):
    monkeypatch.setenv("KTRDR_WORKSPACE", "here")
    assert take_workspace(["a", "--", "--workspace", "w"]) == ["a", "--", "--workspace", "w"]
    assert os.environ["KTRDR_WORKSPACE"] == "here"


@pytest.mark.parametrize("arguments", [["--workspace"], ["--workspace", "--json"], ["--workspace="]])
def test_workspace_without_a_folder_is_refused(arguments):
    with pytest.raises(InvalidInput, match="--workspace DIR"):
        take_workspace(arguments)
