import json
import signal
import socket
import subprocess
import sys
import threading

import pytest

from ktrdr.connect.server_file import find_server, register_server
from ktrdr.errors import Conflict, WorkspaceUnusable

SERVER = """
import sys, time
from pathlib import Path
from ktrdr.connect.server_file import register_server
registration = register_server(Path(sys.argv[1]))
if sys.argv[2] != "silent":
    registration.announce(sys.argv[2])
print("ready", flush=True)
time.sleep(60)
"""


def _start_server(folder, url):
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(folder), url], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def _kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_workspace_without_a_server_has_none_and_looking_for_one_creates_nothing(tmp_path):
    assert find_server(tmp_path / ".ktrdr") is None
    assert list(tmp_path.iterdir()) == []


def test_server_of_another_process_is_found_until_it_is_killed(tmp_path):
    server = _start_server(tmp_path, "http://127.0.0.1:8123")
    try:
        address = find_server(tmp_path)
        assert address is not None
        assert (address.url, address.pid) == ("http://127.0.0.1:8123", server.pid)
        with pytest.raises(Conflict, match=r"http://127\.0\.0\.1:8123") as caught:
            register_server(tmp_path)
        assert caught.value.reason == "server_exists"
    finally:
        _kill(server)
    assert (tmp_path / "server.json").exists()  # what a killed server leaves behind
    assert find_server(tmp_path) is None


def test_new_server_is_not_taken_for_its_killed_predecessor(tmp_path):
    (tmp_path / "server.json").write_text(
        json.dumps({"url": "http://127.0.0.1:1", "pid": 1, "host": socket.gethostname()})
    )
    registration = register_server(tmp_path)
    found = []
    looking = threading.Thread(target=lambda: found.append(find_server(tmp_path)))
    looking.start()
    looking.join(0.3)
    assert found == []  # it waits: the server holds the workspace and does not listen yet
    registration.announce("http://127.0.0.1:2")
    looking.join(5)
    assert found[0].url == "http://127.0.0.1:2"
    registration.release()
    assert find_server(tmp_path) is None
    assert not (tmp_path / "server.json").exists()


def test_crowd_that_looks_for_a_server_does_not_keep_one_from_starting(tmp_path):
    register_server(tmp_path).release()
    stop = threading.Event()

    def look():
        while not stop.is_set():
            find_server(tmp_path)

    crowd = [threading.Thread(target=look) for _ in range(4)]
    for member in crowd:
        member.start()
    try:
        for _ in range(20):
            registration = register_server(tmp_path)
            registration.announce("http://127.0.0.1:3")
            registration.release()
    finally:
        stop.set()
        for member in crowd:
            member.join()


def test_folder_that_cannot_hold_a_server_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceUnusable, match="--workspace"):
        register_server(tmp_path / "file" / ".ktrdr")


def test_server_of_another_machine_that_shares_the_folder_is_none_of_ours(tmp_path):
    registration = register_server(tmp_path)
    try:
        registration.announce("http://127.0.0.1:1234")
        assert find_server(tmp_path).url == "http://127.0.0.1:1234"
        announced = (tmp_path / "server.json").read_text()
        (tmp_path / "server.json").write_text(announced.replace(socket.gethostname(), "another-machine"))
        assert find_server(tmp_path) is None
    finally:
        registration.release()
