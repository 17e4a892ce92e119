"""The command line in this process, on a workspace of its own."""

import json
import logging
import sys
from dataclasses import dataclass

import pytest

from ktrdr.cli import __main__ as command_line


@dataclass(frozen=True)
class Ended:
    code: int
    stdout: str
    stderr: str

    @property
    def document(self):
        return json.loads(self.stdout)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    folder = tmp_path / "workspace"
    monkeypatch.setenv("KTRDR_WORKSPACE", str(folder))
    monkeypatch.delenv("KTRDR_API_URL", raising=False)
    return folder


@pytest.fixture
def ktrdr(workspace, monkeypatch, capsys):
    """Run `ktrdr` with arguments; nothing that it prints may be a traceback."""

    def run(*arguments) -> Ended:
        monkeypatch.setattr(sys, "argv", ["ktrdr", *map(str, arguments)])
        code = command_line.run_command()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return Ended(int(code), captured.out, captured.err)

    handlers = logging.getLogger().handlers[:]
    yield run
    logging.getLogger().handlers[:] = handlers  # `serve` takes the log of its process over
