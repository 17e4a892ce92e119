"""The job's end of a job: reads one request, reports progress, answers once, dies with its worker.

Imports nothing heavy: it runs before anything else in every job process.
"""

import ctypes
import importlib
import json
import logging
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import JsonValue

from ktrdr.artifacts.trouble import storage_trouble
from ktrdr.clock import utc_now
from ktrdr.errors import KtrdrError
from ktrdr.telemetry.logs import configure_logging
from ktrdr.telemetry.stopwatch import Stopwatch

MIN_REPORT_INTERVAL_S = 0.5
_PR_SET_PDEATHSIG = 1
_logger = logging.getLogger(__name__)

Report = Callable[[float, str], None]
Job = Callable[[dict[str, JsonValue], Report, Stopwatch], JsonValue]


def serve_job(target: str) -> None:
    """Run a job on the request that stands on stdin and speak JSON lines on stdout. Ends the process.

    Args:
        target: `module:function` of the job. It is imported here, after this process is bound to its worker: what a
            job needs takes seconds to import, and a worker may die meanwhile. What its stopwatch says at the end goes
            with its result.
    """
    stopwatch = Stopwatch(utc_now)
    die_with_parent()
    # Only this file may speak on stdout; what a library prints goes to the log instead of into the protocol.
    voice = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    configure_logging()
    request = json.loads(_read_line(0))
    exit_at_end_of_stdin()
    module, _, function = target.partition(":")
    last_report = 0.0

    def speak(message: dict[str, JsonValue]) -> None:
        voice.write(json.dumps(message) + "\n")

    def report(percentage: float, current_step: str) -> None:
        nonlocal last_report
        if time.monotonic() - last_report >= MIN_REPORT_INTERVAL_S:
            last_report = time.monotonic()
            speak({"kind": "progress", "percentage": round(percentage, 1), "current_step": current_step})

    try:
        job: Job = getattr(importlib.import_module(module), function)
        stopwatch.lap("job.imports")
        result = job(request, report, stopwatch)
        stopwatch.measure(peak_memory_bytes=_peak_memory_bytes())
        speak({"kind": "result", "result": result, "timings": stopwatch.timings, "measures": stopwatch.measures})
    except KtrdrError as error:
        speak({"kind": "error", "reason": error.reason, "message": error.message})
    except Exception as error:  # the process's outermost frame
        _logger.exception("the job broke")
        trouble = storage_trouble(error) if isinstance(error, OSError) else None
        if trouble is not None:
            speak({"kind": "error", "reason": trouble.reason, "message": trouble.message})
        else:
            message = f"{type(error).__name__} in the job; `ktrdr operations logs` shows its trace"
            speak({"kind": "error", "reason": "internal_error", "message": message})
    voice.flush()
    os._exit(0)  # worker threads of the numeric libraries must not hold up a finished job


def _peak_memory_bytes() -> int:
    """Return the most memory that this process ever held in RAM."""
    try:
        # Not `getrusage`, whose figure a process inherits from the one that started it, even through an exec.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends."""
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):  # Linux; elsewhere the end of stdin does it
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def exit_at_end_of_stdin() -> None:
    """Start watching stdin: when whoever started this process is gone, so is this process."""
    threading.Thread(target=_exit_at_end_of_stdin, daemon=True).start()


def _exit_at_end_of_stdin() -> None:
    # os.read, not sys.stdin: a buffered read in a daemon thread aborts the interpreter at its exit.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def _read_line(handle: int) -> bytes:
    collected = bytearray()
    while not collected.endswith(b"\n"):
        byte = os.read(handle, 1)
        if not byte:
            break
        collected += byte
    return bytes(collected)
