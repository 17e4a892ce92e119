"""The outermost frame of the command line: whatever happens ends in a clear message and the right exit code."""

import os
import signal
import sys
import tempfile
import traceback
from types import FrameType
from typing import NoReturn

from ktrdr.cli.exit_codes import ExitCode, exit_code_of_error
from ktrdr.cli.root import app
from ktrdr.cli.workspace_option import take_workspace
from ktrdr.errors import KtrdrError


def main() -> NoReturn:
    """Run `ktrdr` with the arguments of this process and exit with its code."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run_command())


def run_command() -> int:
    """Run `ktrdr` with the arguments of this process and return its exit code. Raises nothing."""
    try:
        app(take_workspace(sys.argv[1:]), prog_name="ktrdr")
    except SystemExit as end:  # which is how typer ends a command, well or badly
        return _flush(end.code if isinstance(end.code, int) else ExitCode.OK)
    except KtrdrError as error:
        _say(f"ktrdr: {error.message}")
        return exit_code_of_error(error)
    except KeyboardInterrupt:
        _say("ktrdr: interrupted")
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - outermost frame of the process
        path = _keep_trace()
        _say(f"ktrdr: internal error, {type(error).__name__}: {error}\nThe trace is in {path}; please report it")
        return ExitCode.FAILED
    return _flush(ExitCode.OK)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt  # SIGTERM is Ctrl-C from afar


def _say(message: str) -> None:
    sys.stderr.write(message + "\n")


def _keep_trace() -> str:
    handle, path = tempfile.mkstemp(prefix="ktrdr-error-", suffix=".log")
    with os.fdopen(handle, "w") as file:
        traceback.print_exc(file=file)
    return path


def _flush(code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # `ktrdr operations list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


if __name__ == "__main__":
    main()
