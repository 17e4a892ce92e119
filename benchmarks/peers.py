"""Peers whose requirements contradict ours, in a process of another interpreter, asked one turn at a time.

`make .venv-peers/.made` installs `requirements/peers.txt`; without it the rows that need it are not measured.
"""

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
INTERPRETER = ROOT / ".venv-peers" / "bin" / "python"
SCRIPT = Path(__file__).parent / "peer_process.py"
ABSENT = "peer not installed"


def is_installed(package: str) -> bool:
    """Say whether the peers' interpreter can find a package."""
    if not INTERPRETER.exists():
        return False
    asked = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return subprocess.run([INTERPRETER, "-c", asked], check=False).returncode == 0


def peer_command(way: str, folder: Path) -> list[str]:
    """Return the command of a peer over the arrays of a folder."""
    return [str(INTERPRETER), "-W", "ignore", str(SCRIPT), way, str(folder)]


class PeerProcess:
    """A process that does one run for every line it is sent; it takes no processor while it is not its turn."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self) -> dict[str, Any]:
        """Return `seconds` of one run, what it counted, and `peak_bytes` of the process so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"need an answer from {self._process.args!r}, but it ended; its own error is above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def turn(self) -> Callable[[], float]:
        """Return the turn of `side_by_side.take_turns`."""
        return lambda: float(self.ask()["seconds"])

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
