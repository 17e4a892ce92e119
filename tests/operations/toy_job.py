"""A job for the tests: counts its runs in a file, reports, sleeps, answers or fails as it is told."""

import os
import signal
import time
from pathlib import Path

from ktrdr.errors import OperationFailed
from ktrdr.operations.job_child import serve_job


def run(request, report, stopwatch):
    log = Path(request["log"])
    with log.open("a") as file:
        file.write(f"{os.getpid()}\n")
    (Path(request["attempt"]) / "half.txt").write_text(f"half-written by {os.getpid()}")
    stopwatch.lap("toy.write", {"files": 1})
    deadline = time.monotonic() + request["seconds"]
    while time.monotonic() < deadline:
        report(50.0, "half-way")
        time.sleep(0.05)
    if request["behaviour"] == "fail_once" and len(log.read_text().split()) == 1:
        raise OperationFailed("only the first time", reason="toy_reason")
    if request["behaviour"] == "fail":
        raise OperationFailed("need a reason, was none", reason="toy_reason")
    if request["behaviour"] == "break":
        raise ZeroDivisionError("secret-in-an-exception")
    if request["behaviour"] == "kill_worker":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(10)
    if request["behaviour"] == "die":
        os._exit(7)
    return {"answer": 42}


if __name__ == "__main__":
    serve_job("toy_job:run")
