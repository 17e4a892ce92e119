"""One command's life: connect, act, report what went wrong, end in order when interrupted."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import httpx
import typer

from ktrdr.cli.exit_codes import ExitCode
from ktrdr.cli.output import print_document, print_lines, say
from ktrdr.client.api_error import ErrorAnswer
from ktrdr.config import Settings, load_settings
from ktrdr.connect.connection import Connection, connect
from ktrdr.errors import InvalidInput, KtrdrError
from ktrdr.schemas.problem import Problem

Action = Callable[[Connection], Awaitable[int]]


def run_action(action: Action, *, as_json: bool, will_work: bool = False) -> None:
    """Run an action on a connection to the API and end the command with the code it returns.

    Ctrl-C and SIGTERM cancel the action, which may still put things in order; it then ends with code 130.

    Raises:
        KtrdrError: What went wrong. With `as_json` the API's answer has been printed, or a problem document like it.
        typer.Exit: Always, otherwise.
    """
    try:
        code = asyncio.run(_run(action, will_work))
    except KtrdrError as error:
        if as_json:
            _print_error(error)
        raise
    raise typer.Exit(code)


async def _run(action: Action, will_work: bool) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    settings = load_settings()
    try:
        async with connect(settings, _host, will_work=will_work) as connection:
            return await action(connection)
    except asyncio.CancelledError:
        say("ktrdr: interrupted")
        return ExitCode.INTERRUPTED


def _host(settings: Settings) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    from ktrdr.connect.hosted_app import hosted_app

    return hosted_app(settings)


def _print_error(error: KtrdrError) -> None:
    answer = error.__cause__
    if isinstance(answer, ErrorAnswer):
        print_lines([answer.body])
    else:
        print_document(Problem(title="Failed", status=None, detail=error.message, reason=error.reason))


def require_server(connection: Connection) -> None:
    """Return if the work would go on without this command.

    Raises:
        InvalidInput: It would end with it: there is no server.
    """
    if connection.is_embedded:
        raise InvalidInput(
            "--detach needs a server, which would go on with the work: start `ktrdr serve` first, or leave out "
            "--detach and wait here",
            reason="server_needed",
        )
