"""A file is whole or absent, also when its writer is killed in the middle."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ktrdr.artifacts.attempt import discard_attempt, fresh_attempt, publish_files
from ktrdr.artifacts.files import canonical_json, write_bytes_atomically

WRITER = """
import sys
from pathlib import Path
from ktrdr.artifacts.files import write_bytes_atomically
target, size = Path(sys.argv[1]), 4_000_000
print("ready", flush=True)
for round in range(10_000):
    write_bytes_atomically(target, bytes([round % 256]) * size)
"""


def test_a_writer_killed_at_any_moment_leaves_one_whole_version(tmp_path):
    target = tmp_path / "file.bin"
    for pause_s in (0.011, 0.023, 0.037, 0.052):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE)
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(pause_s)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        if target.exists():
            content = target.read_bytes()
            assert len(content) == 4_000_000
            assert len(set(content)) == 1


def test_publishing_again_after_a_crash_moves_what_is_left_and_the_last_name_comes_last(tmp_path):
    attempt, place = tmp_path / "attempt", tmp_path / "place"
    fresh_attempt(attempt)
    for name in ("a", "b", "report"):
        write_bytes_atomically(attempt / name, name.encode())
    (attempt / "b").rename(tmp_path / "b_is_missing_yet")
    with pytest.raises(FileNotFoundError):
        publish_files(attempt, place, ("a", "b", "report"))
    assert [path.name for path in place.iterdir()] == ["a"]
    (tmp_path / "b_is_missing_yet").rename(attempt / "b")
    publish_files(attempt, place, ("a", "b", "report"))
    assert {path.name: path.read_text() for path in place.iterdir()} == {name: name for name in ("a", "b", "report")}
    discard_attempt(attempt)
    publish_files(attempt, place, ("a", "b", "report"))


def test_json_has_one_form_and_no_nan():
    assert canonical_json({"b": 0.1, "a": [1, None]}) == b'{\n  "b": 0.1,\n  "a": [\n    1,\n    null\n  ]\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))
