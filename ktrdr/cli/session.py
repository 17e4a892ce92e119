"""One command's life: connect, act, end in order when interrupted."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import httpx
import typer

from ktrdr.cli.exit_codes import INTERRUPTED_REASON
from ktrdr.config import Settings, load_settings
from ktrdr.connect.connection import Connection, connect
from ktrdr.errors import InvalidInput, KtrdrError

Action = Callable[[Connection], Awaitable[int]]


def run_action(action: Action, *, will_work: bool = False) -> None:
    """Run an action on a connection to the API and end the command with the code it returns.

    Ctrl-C and SIGTERM cancel the action, which may still put things in order; it then ends with code 130.

    Raises:
        KtrdrError: What went wrong, an interruption (`interrupted`) that the action did not deal with included.
        typer.Exit: Always, otherwise.
    """
    raise typer.Exit(asyncio.run(_run(action, will_work)))


async def _run(action: Action, will_work: bool) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    settings = load_settings()
    try:
        async with connect(settings, host_app, will_work=will_work) as connection:
            return await action(connection)
    except asyncio.CancelledError:
        raise KtrdrError("interrupted", reason=INTERRUPTED_REASON) from None


def ask(question: str) -> bool:
    """Ask on the terminal, within an action. No answer, no terminal and Ctrl-C are a no."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    loop.remove_signal_handler(signal.SIGINT)  # a loop that waits for an answer would not hear it
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        return False
    finally:
        loop.add_signal_handler(signal.SIGINT, task.cancel)


def host_app(settings: Settings) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    """Return a context that serves a workspace in this process; the whole API is imported only then."""
    from ktrdr.connect.hosted_app import hosted_app

    return hosted_app(settings)


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
