"""The worker's end of a job: a child process that is never left running and never believed after its time."""

import asyncio
import json
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from ktrdr.errors import OperationFailed
from ktrdr.telemetry.logs import relay_line

STDERR_LINES_KEPT = 20
MAX_LINE_BYTES = 4 * 1024 * 1024
_logger = logging.getLogger(__name__)


Report = Callable[[float, str], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class JobAnswer:
    """What a job answered, and what its stopwatch said.

    Attributes:
        result: The answer.
        timings: Objects with `name`, `start_ms`, `end_ms` (epoch, UTC) and `attributes`, in order of time.
        measures: Those that apply of `samples` and `training_s`, `bars` and `backtest_s`, `peak_memory_bytes`.
    """

    result: JsonValue
    timings: list[JsonValue]
    measures: dict[str, JsonValue]


async def run_job(
    module: str, request: dict[str, JsonValue], report: Report, *, environment: Mapping[str, str]
) -> JobAnswer:
    """Run `python -m module` with a request on its stdin and return the answer it speaks on stdout.

    The process is killed, with all it started, when this coroutine is cancelled.

    Raises:
        OperationFailed: The job says so, or it ends without a result (reason `process_died`).
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        start_new_session=True,  # a group of its own, so that a kill takes everything it started
        limit=MAX_LINE_BYTES,
    )
    _logger.info("%s runs as process %d", module, process.pid)
    errors = asyncio.create_task(_keep_stderr(process))
    try:
        return await _converse(process, request, report, errors)
    finally:
        _kill_group(process)
        await asyncio.gather(errors, process.wait(), return_exceptions=True)


async def _converse(
    process: asyncio.subprocess.Process,
    request: dict[str, JsonValue],
    report: Report,
    errors: "asyncio.Task[list[str]]",
) -> JobAnswer:
    assert process.stdin is not None
    assert process.stdout is not None
    # stdin stays open afterwards: its end tells the child that its worker is gone.
    process.stdin.write(json.dumps(request).encode() + b"\n")
    async for line in process.stdout:
        message = json.loads(line)
        match message["kind"]:
            case "progress":
                await report(message["percentage"], message["current_step"])
            case "result":
                return JobAnswer(message["result"], message["timings"], message["measures"])
            case "error":
                raise OperationFailed(message["message"], reason=message["reason"])
    code = await process.wait()
    raise OperationFailed(_describe_death(code, await errors), reason="process_died")


async def _keep_stderr(process: asyncio.subprocess.Process) -> list[str]:
    assert process.stderr is not None
    kept: deque[str] = deque(maxlen=STDERR_LINES_KEPT)
    async for line in process.stderr:
        kept.append(relay_line(line.decode(errors="replace").rstrip()))
    return list(kept)


def _kill_group(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _describe_death(code: int, errors: list[str]) -> str:
    last = f" Its last words: {errors[-1]}" if errors else ""
    if code == -signal.SIGKILL:
        return f"the job was killed from outside (signal 9); most often the machine was out of memory.{last}"
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"the job ended with {how} and without a result; see the worker's log.{last}"
