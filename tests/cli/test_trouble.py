"""A workspace or database that cannot be used: one clear message, the right code, nothing half-written."""

import ctypes
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

KTRDR = [sys.executable, "-m", "ktrdr.cli"]
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
BUNDLED = Path(__file__).parents[2] / "ktrdr" / "market" / "bundled"


def _run(workspace, *arguments, variables=None, **options):
    own = {name: value for name, value in os.environ.items() if not name.startswith("KTRDR_")}
    environment = {**own, "KTRDR_WORKSPACE": str(workspace), "PYTHONDONTWRITEBYTECODE": "1", **(variables or {})}
    done = subprocess.run(
        [*KTRDR, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False, **options
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


@pytest.mark.parametrize("command", [("operations", "list"), ("worker",), ("serve", "--port", "0")])
def test_database_that_does_not_answer_is_one_message_without_the_password(tmp_path, command):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"postgresql+psycopg://ktrdr:secret-word@127.0.0.1:{probe.getsockname()[1]}/lab"
    done = _run(tmp_path, *command, variables={"KTRDR_DATABASE_URL": url})
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.strip().splitlines()) == 1
    assert "KTRDR_DATABASE_URL" in done.stderr
    assert "secret-word" not in done.stderr


@pytest.mark.parametrize("spoil", ["overwritten", "torn"])
def test_damaged_state_file_is_left_as_it_is_and_the_message_says_what_to_do(tmp_path, spoil):
    state = tmp_path / ".ktrdr" / "state.sqlite"
    if spoil == "overwritten":
        state.parent.mkdir()
        state.write_bytes(b"this is no database, " * 500)
    else:
        assert _run(tmp_path, "operations", "list").returncode == 0
        whole = state.read_bytes()
        state.write_bytes(whole[:4096] + b"\xee" * (len(whole) - 4096))
    before = state.read_bytes()
    done = _run(tmp_path, "operations", "list")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert f"mv {state} {state}.damaged" in done.stderr
    assert state.read_bytes() == before


def _give_up_roots_rights():
    """Before a program is run: let permissions count for it even if it is root's."""
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def test_read_only_workspace_is_said_to_be_that_and_stays_as_it_is(tmp_path):
    folder = tmp_path / "lab"
    folder.mkdir(mode=0o555)
    empty = _run(folder, "operations", "list", preexec_fn=_give_up_roots_rights)
    assert (empty.returncode, "--workspace" in empty.stderr) == (1, True)
    folder.chmod(0o755)
    assert _run(folder, "operations", "list").returncode == 0
    paths = [folder, *folder.rglob("*")]
    before = {path: path.read_bytes() for path in paths if path.is_file()}
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    for command in (("operations", "list"), ("worker",)):
        used = _run(folder, *command, preexec_fn=_give_up_roots_rights)
        assert used.returncode == 1
        assert "--workspace" in used.stderr
        assert len(used.stderr.strip().splitlines()) == 1
    for path in paths:
        path.chmod(0o755)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_disk_that_fills_up_during_an_import_leaves_no_half_of_it(tmp_path):
    assert _run(tmp_path, "operations", "list").returncode == 0
    command = ("data", "import", BUNDLED / "SPX_1d.parquet", "--symbol", "SPX", "--timeframe", "1d")
    state = (tmp_path / ".ktrdr" / "state.sqlite").stat().st_size
    # As a full disk does, a limit on what a file may grow to makes a write fail half-way.
    room = 64 * 1024
    assert room < state
    full = _run(tmp_path, *command, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)))
    assert (full.returncode, "full" in full.stderr) == (1, True), full.stderr
    assert len(full.stderr.strip().splitlines()) == 1
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file() and path.suffix != ".lock"]
    done = _run(tmp_path, *command)
    assert done.returncode == 0, done.stderr
