"""The outermost frame of the command line: whatever happens ends in a clear message and the right exit code."""

import contextlib
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import typer

from ktrdr.cli.exit_codes import INTERRUPTED_REASON, ExitCode, exit_code_of_error
from ktrdr.cli.root import app
from ktrdr.cli.workspace_option import take_completed_workspace, take_workspace
from ktrdr.errors import InvalidInput, KtrdrError

# Set by the shell when it wants to know what could follow: click's own name for a program called `ktrdr`.
COMPLETION_VARIABLE = "_KTRDR_COMPLETE"


def main() -> NoReturn:
    """Run `ktrdr` with the arguments of this process and exit with its code."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run_command())


def run_command() -> int:
    """Run `ktrdr` with the arguments of this process and return its exit code. Raises nothing."""
    try:
        _refuse_undecodable(sys.argv[1:])
        if COMPLETION_VARIABLE in os.environ:
            take_completed_workspace()
        code = app(take_workspace(sys.argv[1:]), prog_name="ktrdr", standalone_mode=False)
        return _flush(code if isinstance(code, int) else ExitCode.OK)
    except typer.TyperException as error:  # a command line that is none
        _show_usage(error)
        return _fail(InvalidInput(error.format_message(), reason="usage"))
    except KtrdrError as error:
        _say(f"ktrdr: {error.message}")
        return _fail(error)
    except KeyboardInterrupt:
        _say("ktrdr: interrupted")
        return _fail(KtrdrError("interrupted", reason=INTERRUPTED_REASON))
    except SystemExit as end:  # which is how typer ends a command whose reader has gone
        return _flush(end.code if isinstance(end.code, int) else ExitCode.FAILED)
    except Exception as error:  # noqa: BLE001 - outermost frame of the process
        words = f"internal error, {type(error).__name__}: {error}\nThe trace is in {_keep_trace()}; please report it"
        _say(f"ktrdr: {words}")
        return _fail(KtrdrError(words, reason="internal_error"))


def _refuse_undecodable(arguments: Sequence[str]) -> None:
    """Refuse bytes that are no text: nothing here could print them, nor send them.

    Raises:
        InvalidInput: An argument holds some.
    """
    for argument in arguments:
        if any("\ud800" <= character <= "\udfff" for character in argument):
            raise InvalidInput(f"an argument is not UTF-8 text: {argument!r}. Rename the file, or type it again")


def _fail(error: KtrdrError) -> int:
    """Print the error as a document if the command line asks for one, and return the exit code for it."""
    if "--json" in sys.argv[1:]:
        from ktrdr.cli.error_document import print_error_document

        with contextlib.suppress(OSError):  # stdout itself may be what cannot be written; stderr has the words
            print_error_document(error)
    return _flush(exit_code_of_error(error))


def _show_usage(error: Any) -> None:  # noqa: ANN401 - click's classes are typer's secret
    error.show()


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
    except OSError:  # `ktrdr operations list | head`, or a full disk
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


if __name__ == "__main__":
    main()
